"""vLLM in a process of its own kind: its environment has vLLM, and docflow from this checkout."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.engines.conftest import ROOT, WANTED
from tests.engines.kit import environments

CHECKOUT = Path(__file__).parents[2]
SECONDS = 800.0  # two engines, a minute or two each to start beside other work


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.skipif(not WANTED, reason="no engines: `make test-engines` starts them")
def test_vllm_in_its_own_process_generates_batches_and_streams(tmp_path: Path) -> None:
    python = environments.environment(ROOT, "vllm") / "bin" / "python"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCFLOW_", "PYTHON"))}
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_BLOCK_SIZE": "16",  # docflow's own variable: taken out before vLLM looks
        "PYTHONPATH": str(CHECKOUT),
        "TMPDIR": str(tmp_path),
    }
    script = CHECKOUT / "tests" / "engines" / "offline_vllm.py"
    ended = subprocess.run(
        [python, script, environments.model(ROOT)],
        env=kept | quiet,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    line = next(line for line in reversed(ended.stdout.splitlines()) if line.startswith("{"))
    found = json.loads(line)
    alone = found["alone"]
    assert len(found["sampled"]) == 3
    assert all(isinstance(text, str) and text for text in found["sampled"])
    assert found["together"] == alone, "in the order of the prompts"
    assert found["batches"] == [4, 1], "a full batch at once, the rest in its time"
    assert found["batched"][:3] == alone
    assert alone[0].startswith(found["batched"][3]), "each prompt has its own limit"
    assert len(found["batched"][3]) < len(alone[0])
    assert found["batched"][4] == alone[1]
    assert found["streamed"] == [*alone, alone[0]]
