"""``docflow engines up`` with the real engines, on the CPU, with the tiny model and the kit's environments."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docflow.deploy.local import process
from docflow.deploy.local.up import end
from docflow.engines.started import Register
from tests.engines.conftest import ROOT, SAMPLES, _must_be_wanted
from tests.engines.kit import environments
from tests.engines.kit.environments import KINDS, Kind

Docflow = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def docflow(tmp_path: Path) -> Iterator[Docflow]:
    _must_be_wanted()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "docflow", *arguments], capture_output=True, text=True, cwd=tmp_path, timeout=900
        )

    yield run
    for one in Register().all():
        end(one)


@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_comes_up_is_used_by_name_and_goes_without_a_trace(docflow: Docflow, kind: Kind) -> None:
    python = environments.environment(ROOT, kind) / "bin" / "python"
    model = environments.model(ROOT)
    shared_before = set(process.SHARED.iterdir())
    done = docflow(
        *("engines", "up", kind, str(model), "--device", "cpu", "--python", str(python), "--timeout", "800"),
        *("--", "--max-model-len" if kind == "vllm" else "--context-length", "4096"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "read a page of the samples" in done.stdout
    [one] = Register().all()
    assert one.ready

    tested = docflow("engines", "test", kind)
    assert tested.returncode == 0, tested.stdout
    checked = docflow("engines", "check", one.url)
    assert checked.returncode == 0, checked.stdout

    extracted = docflow(
        *("extract", str(SAMPLES / "receipt-001.jpg"), "--program", "receipt", "--engine", "auto", "--json")
    )
    record = json.loads(extracted.stdout.splitlines()[0])
    assert (record["engine"], record["model"]) == (kind, model.name)
    assert f"engine auto: {kind} at 127.0.0.1:{one.port}" in extracted.stderr

    seen = json.loads(docflow("engines", "monitor", "--once", "--json").stdout)
    assert seen["running"] == 0
    assert seen["memory_bytes"] > 500 << 20
    members = process.members(one.pid)
    assert len(members) > 1

    assert docflow("engines", "down", kind).returncode == 0
    assert process.members(one.pid) == []
    assert Register().all() == []
    assert not Path(one.scratch).exists()
    assert {path for path in process.SHARED.iterdir() if "sglang" in path.name} <= shared_before
