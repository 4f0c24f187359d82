"""The register of the engines that were started, and the engine called auto."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from docflow.engines.started import Register, Started, born_of, choose, engines_folder, is_auto, key_for
from docflow.errors import ConfigError
from tests.engines.instant import InstantServer


def one(name: str = "vllm", *, port: int = 40_001, pid: int | None = None, **more: object) -> Started:
    pid = pid or os.getpid()
    started = Started(
        name=name,
        kind="vllm",
        url=f"http://127.0.0.1:{port}",
        pid=pid,
        born=born_of(pid),
        model="some/model",
        served="some/model",
        device="cpu",
        command=("python", "-m", "vllm"),
        log="/nowhere/log",
        scratch="/nowhere/scratch",
        at=1.0,
        key="secret",
    )
    return replace(started, **more)  # type: ignore[arg-type]


def test_what_is_put_in_comes_out_and_only_its_owner_reads_it() -> None:
    register = Register()
    assert register.all() == []
    register.put(one())
    register.put(one("sglang", port=40_002))
    assert register.all() == [one(), one("sglang", port=40_002)]
    path = engines_folder() / "started.json"
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    assert "secret" not in repr(register.all())
    register.remove(one())
    assert [there.name for there in register.all()] == ["sglang"]


def test_another_engine_of_its_name_is_not_forgotten_in_its_place() -> None:
    Register().put(one())
    Register().remove(one(pid=1))
    assert Register().find("vllm") == one()


def test_a_process_that_has_the_number_by_chance_is_not_taken_for_the_engine() -> None:
    assert one().alive
    assert not one(born="a time long ago").alive
    assert not one(pid=2**22 + 1, born="").alive
    ended = subprocess.Popen([sys.executable, "-c", ""])
    born = born_of(ended.pid)
    ended.wait()
    assert not one(pid=ended.pid, born=born).alive


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "print('up', flush=True)"], stdout=subprocess.PIPE)
    started = one(pid=child.pid)
    assert child.stdout is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked yet
    assert not started.alive
    child.wait()
    child.stdout.close()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99, "engines": []}', '{"format": 1, "engines": [{"a": 1}]}']
)
def test_a_damaged_file_counts_as_empty_and_is_replaced(text: str) -> None:
    Register().put(one())
    (engines_folder() / "started.json").write_text(text)
    assert Register().all() == []
    Register().put(one())
    assert Register().all() == [one()]


def test_several_writers_lose_nothing() -> None:
    program = (
        "import sys\nfrom tests.unit.engines.test_started import one\n"
        "from docflow.engines.started import Register\n"
        "for n in range(20): Register().put(one(f'{sys.argv[1]}-{n}'))"
    )
    root = Path(__file__).parents[3]
    writers = [subprocess.Popen([sys.executable, "-c", program, name], cwd=root) for name in ("a", "b", "c")]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(Register().all()) == 60
    json.loads((engines_folder() / "started.json").read_text())


def test_the_key_goes_to_the_engine_that_was_started_here_and_to_nobody_else() -> None:
    Register().put(one())
    assert key_for("http://127.0.0.1:40001") == "secret"
    assert key_for("http://localhost:40001/v1") == "secret"
    for other in ("http://127.0.0.1:40002", "http://gpu1:40001", "http://me@127.0.0.1:40001", "http://[", "x.gguf"):
        assert key_for(other) == ""
    Register().put(one(born="long ago"))
    assert key_for("http://127.0.0.1:40001") == ""


# --- auto ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[InstantServer]:
    with InstantServer("vllm", model="some/model") as server:
        yield server


def test_auto_is_the_engine_that_runs_and_answers(server: InstantServer) -> None:
    Register().put(one(port=server.port))
    chosen = choose("auto")
    assert chosen.engines == (f"vllm={server.url}",)
    assert f"vllm at 127.0.0.1:{server.port} (some/model)" in chosen.note


def test_auto_leaves_out_what_does_not_answer_and_says_so(server: InstantServer) -> None:
    Register().put(one(port=server.port))
    Register().put(one("other", port=1, ready=True))
    Register().put(one("third", port=2))
    chosen = choose(["auto", "vllm=http://gpu3:8000"])
    assert chosen.engines == (f"vllm={server.url}", "vllm=http://gpu3:8000")
    assert chosen.note == (
        f"engine auto: vllm at 127.0.0.1:{server.port} (some/model); vllm at 127.0.0.1:1 (some/model) does not answer,"
        " not used; vllm at 127.0.0.1:2 (some/model) is starting, not used"
    )


def test_auto_says_that_the_only_engine_is_starting_and_not_that_there_is_none() -> None:
    Register().put(one(port=1))
    chosen = choose("auto")
    assert chosen.engines == ("embedded",)
    assert chosen.note == (
        "engine auto: vllm at 127.0.0.1:1 (some/model) is starting, not used, so the embedded one answers"
        " (docflow engines list says when one is ready)"
    )


def test_without_any_auto_is_the_fallback_and_then_the_embedded_engine() -> None:
    assert choose("auto").engines == ("embedded",)
    assert "docflow engines up" in choose("auto").note
    chosen = choose("auto", "vllm=http://gpu3:8000")
    assert (chosen.engines, chosen.fallbacks) == (("vllm=http://gpu3:8000",), ())
    Register().put(one(born="long ago"))
    assert choose("auto").engines == ("embedded",)


def test_auto_is_named_once() -> None:
    assert is_auto("auto;embedded")
    assert not is_auto("embedded")
    with pytest.raises(ConfigError, match="named twice"):
        choose("auto;auto")
