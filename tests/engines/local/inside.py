"""Runs a script in the environment that has torch, Transformers and vLLM, with docflow's own packages behind them."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from tests.engines.kit import environments

CHECKOUT = Path(__file__).parents[3]
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "OMP_NUM_THREADS": "1",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def environment_for(scratch: Path) -> dict[str, str]:
    """The environment of such a process: what engines' packages lack is taken from docflow's own environment."""
    site = scratch / "site"
    site.mkdir(exist_ok=True)
    own = sysconfig.get_path("purelib")
    (site / "sitecustomize.py").write_text(f"import site\nsite.addsitedir({own!r})\n", encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCFLOW_", "PYTHON"))}
    path = os.pathsep.join((str(CHECKOUT), str(site)))
    return kept | QUIET | {"PYTHONPATH": path, "TMPDIR": str(scratch), "DOCFLOW_CACHE_DIR": str(scratch / "cache")}


def facts_of(script: Path, scratch: Path, seconds: float, *arguments: str) -> dict[str, Any]:
    """The JSON object that a script prints last. Asserts that it ends well."""
    from tests.engines.conftest import ROOT  # here: importing it takes variables out of the environment

    python = environments.environment(ROOT, "vllm") / "bin" / "python"
    ended = subprocess.run(
        [python, script, environments.model(ROOT), *arguments],
        env=environment_for(scratch),
        cwd=scratch,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-6000:]
    line = next(line for line in reversed(ended.stdout.splitlines()) if line.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found
