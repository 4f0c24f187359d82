"""``docflow engines up`` and what follows it: real processes, with a stand-in for the engine that serves at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import docflow
from docflow.cli import main
from docflow.deploy.local import process
from docflow.engines.started import Register, Started, born_of
from tests.engines.instant import InstantServer
from tests.engines.stand_in import Guarded

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "starter" / "documents" / "receipt-001.jpg"
PATIENCE = 120.0

pytestmark = pytest.mark.timeout(600)


@dataclass
class Place:
    """A folder with a model and an environment of one's own, and the command that uses them."""

    folder: Path
    model: Path
    python: Path

    def docflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(*arguments), capture_output=True, text=True, cwd=self.folder, timeout=300)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            preexec_fn=_as_from_a_terminal,
        )

    def up(self, *arguments: str, kind: str = "vllm", becomes: str = "ready") -> list[str]:
        """The arguments of a start of the stand-in."""
        given = [kind, str(self.model), "--device", "cpu", "--python", str(self.python), *arguments]
        return ["engines", "up", *given, "--", "--stand-in", becomes]

    def told(self) -> dict[str, Any]:
        """What the stand-in was told, once it is there."""
        until(lambda: (self.folder / "told.json").exists())
        found: dict[str, Any] = json.loads((self.folder / "told.json").read_text())
        return found

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "docflow", *arguments]


def _as_from_a_terminal() -> None:
    """Where the tests run in the background these are ignored, and a child would inherit that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def nothing_is_left(told: dict[str, Any]) -> bool:
    until(lambda: not any(is_there(pid) for pid in told["pids"]))
    return not Path(told["shared"]).exists()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    model = tmp_path / "small"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"vision_config": {}, "max_position_embeddings": 8192}))
    (model / "model.safetensors").write_bytes(b"weights")
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncd {ROOT}\nexec {sys.executable} -m tests.engines.stand_in {tmp_path} "$@"\n', encoding="utf-8"
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    yield Place(tmp_path, model, python)
    for one in Register().all():
        process.end(one.pid, 0)
        shutil.rmtree(one.scratch, ignore_errors=True)


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
def test_from_up_over_a_first_record_to_down(place: Place, kind: str) -> None:
    done = place.docflow(*place.up(kind=kind))
    assert done.returncode == 0, done.stderr
    assert "read a page of the samples" in done.stdout
    told = place.told()
    assert told["key"]
    assert told["key"] not in " ".join(told["arguments"])
    assert told["key"] not in done.stdout + done.stderr
    assert not any(name.startswith("DOCFLOW_") for name in told["environment"])

    [line] = place.docflow("engines", "list", "--json").stdout.splitlines()
    seen = json.loads(line)
    assert (seen["name"], seen["state"], seen["model"]) == (kind, "ready", "small")
    assert seen["memory_bytes"] > 0
    assert told["key"] not in line
    assert "ready" in place.docflow("engines", "list").stdout

    extracted = place.docflow("extract", str(SAMPLE), "--program", "receipt", "--engine", "auto", "--json")
    assert f"engine auto: {kind} at 127.0.0.1:{seen['url'].rpartition(':')[2]} (small)" in extracted.stderr
    record = json.loads(extracted.stdout.splitlines()[0])
    assert record["engine"] == kind

    tested = place.docflow("engines", "test", kind)
    assert tested.returncode == 0, tested.stdout
    assert "6 of 6 steps passed" in tested.stdout
    assert "the stand-in is loading" in place.docflow("engines", "logs", kind).stdout
    watched = json.loads(place.docflow("engines", "monitor", "--once", "--json").stdout)
    assert watched["name"] == kind
    if kind == "vllm":  # the stand-in's figures are in vLLM's words
        assert watched["running"] == 0
        assert watched["prompt_tokens_per_second"] == 0

    ended = place.docflow("engines", "down", kind)
    assert ended.returncode == 0
    assert nothing_is_left(told)
    assert "No engine" in place.docflow("engines", "list").stdout
    assert place.docflow("engines", "down", kind).returncode == 2
    assert "the stand-in is loading" in place.docflow("engines", "logs", kind).stdout


def test_a_second_up_of_the_same_says_that_it_runs(place: Place) -> None:
    assert place.docflow(*place.up("--no-wait")).returncode == 0
    again = place.docflow(*place.up())
    assert again.returncode == 2
    assert "already: vllm at http://127.0.0.1:" in again.stderr
    other = place.folder / "other"
    shutil.copytree(place.model, other)
    another = place.docflow("engines", "up", "vllm", str(other), "--device", "cpu", "--python", str(place.python))
    assert another.returncode == 2
    assert "with another model: small" in another.stderr
    beside = place.docflow(*place.up("--name", "second", "--no-wait"))
    assert beside.returncode == 0, beside.stderr
    first, second = Register().all()
    assert first.port != second.port
    down = place.docflow("engines", "down", "--all")
    assert down.returncode == 0
    assert Register().all() == []


def test_two_at_the_same_moment_start_one(place: Place) -> None:
    both = [place.start(*place.up("--no-wait")) for _ in range(2)]
    said = [one.communicate(timeout=PATIENCE)[0] for one in both]
    assert sorted(one.returncode for one in both) == [0, 2], said
    assert len(Register().all()) == 1


def test_one_that_dies_at_its_start_is_explained_and_forgotten(place: Place) -> None:
    done = place.docflow(*place.up(becomes="dies"))
    assert done.returncode == 3
    assert "vllm ran out of memory while it loaded small" in done.stderr
    assert "hint:" in done.stderr
    assert nothing_is_left(place.told())
    assert Register().all() == []
    assert "CUDA out of memory" in place.docflow("engines", "logs", "vllm").stdout


def test_one_that_never_gets_ready_is_ended(place: Place) -> None:
    done = place.docflow(*place.up("--timeout", "2", becomes="never"))
    assert done.returncode == 3
    assert "was not ready in time" in done.stderr
    assert "the stand-in is loading" in done.stderr
    assert nothing_is_left(place.told())
    assert Register().all() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_one_that_is_interrupted_leaves_nothing(place: Place, number: signal.Signals, code: int) -> None:
    running = place.start(*place.up(becomes="never"))
    told = place.told()
    running.send_signal(number)
    said, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == code, said
    assert "Traceback" not in said
    assert nothing_is_left(told)
    assert Register().all() == []


def test_one_that_heeds_no_signal_is_killed(place: Place) -> None:
    assert place.docflow(*place.up("--no-wait", becomes="deaf")).returncode == 0
    told = place.told()
    [one] = Register().all()
    process.kill(one.pid, signal.SIGSTOP)
    assert process.end(one.pid, 0.5)
    assert nothing_is_left(told)
    gone = place.docflow("engines", "down", "vllm")
    assert gone.returncode == 0
    assert "had ended already" in gone.stdout


def test_a_port_that_is_in_use_is_said_with_its_holder(place: Place) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        done = place.docflow(*place.up("--port", str(port)))
    assert done.returncode == 3
    assert f"port {port} is in use by" in done.stderr
    assert str(os.getpid()) in done.stderr


def test_one_that_was_killed_is_listed_as_ended_and_not_used(place: Place) -> None:
    assert place.docflow(*place.up()).returncode == 0
    told = place.told()
    os.kill(told["pids"][0], signal.SIGKILL)
    until(lambda: not is_there(told["pids"][0]))
    assert json.loads(place.docflow("engines", "list", "--json").stdout)["state"] == "ended"
    extracted = place.docflow("extract", str(SAMPLE), "--program", "receipt", "--engine", "auto", "--json")
    assert "no engine that docflow started runs here, so the embedded one answers" in extracted.stderr
    assert json.loads(extracted.stdout.splitlines()[0])["engine"] == "embedded"
    assert Path(told["shared"]).exists()  # killed, it has left it
    assert place.docflow(*place.up("--no-wait")).returncode == 0  # a new one takes its name
    assert nothing_is_left(told)
    assert place.docflow("engines", "down", "vllm").returncode == 0


def test_what_one_that_was_killed_left_in_shared_memory_goes_with_it(place: Place) -> None:
    assert place.docflow(*place.up()).returncode == 0
    told = place.told()
    for pid in told["pids"]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(is_there(pid) for pid in told["pids"]))
    assert Path(told["shared"]).exists()
    assert place.docflow("engines", "down", "vllm").returncode == 0
    assert nothing_is_left(told)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("up", "vllm", "/no/such/folder"), 3, "there is no folder"),
        (("up", "vllm", "some.gguf"), 2, "llama_cpp"),
        (("up", "vllm", "--", "--host", "0.0.0.0"), 2, "--host is docflow's to say"),
        (("up", "vllm", "--python", "/no/python"), 2, "no Python that can be run"),
        (("up", "vllm", "--name", "../elsewhere"), 2, "is no name for an engine"),
        (("down",), 2, "name one engine, or --all"),
        (("down", "nobody"), 2, "there is no engine 'nobody' here"),
        (("logs", "nobody"), 2, "there is no engine 'nobody'"),
        (("test", "nobody"), 2, "there is no engine 'nobody' here"),
        (("monitor", "--once"), 2, "no engine was started here"),
    ],
)
def test_what_cannot_be_is_said_with_the_next_step(
    place: Place, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = place.docflow("engines", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "hint:" in done.stderr
    assert Register().all() == []


def test_an_empty_log_is_said_to_be_empty(place: Place) -> None:
    silent = place.docflow("engines", "up", "vllm", str(place.model), "--device", "cpu", "--python", "/bin/true")
    assert silent.returncode == 3
    assert "before it was ready, and wrote nothing" in silent.stderr
    assert "vllm has written nothing" in place.docflow("engines", "logs", "vllm").stderr


def test_tables_of_engines_are_whole_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    url = "http://127.0.0.1:30001"  # where nobody answers, or somebody else
    Register().put(replace(registered(url), served="a-model-with-a-name-of-40-characters-or-so"))
    for arguments, parts in (
        (["list"], (url, "vllm", "memory")),
        (["monitor", "--once"], ("running", "waiting", "read/s", "write/s", "memory", "CPU", "starting")),
    ):
        with pytest.raises(SystemExit):
            main(["engines", *arguments])
        said = capsys.readouterr().out
        assert "…" not in said
        for part in parts:
            assert part in said


def registered(url: str, key: str = "") -> Started:
    """An engine in the register: this process, as if it were one."""
    pid = os.getpid()
    started = Started(
        name="vllm",
        kind="vllm",
        url=url,
        pid=pid,
        born=born_of(pid),
        model="small",
        served="small",
        device="cpu",
        command=("python",),
        log="",
        scratch="",
        at=0.0,
        key=key,
    )
    Register().put(started)
    return started


def test_python_names_auto_as_the_command_line_does() -> None:
    with InstantServer("vllm", model="small") as server:
        registered(server.url)
        run = docflow.extract(SAMPLE, program="receipt", engine="auto")
    assert run.engine == "vllm"
    assert run.results[0].model == "small"
    assert run.notes[0] == f"engine auto: vllm at 127.0.0.1:{server.port} (small)"


def test_the_service_names_auto_and_knows_the_key() -> None:
    with Guarded("a key", kind="vllm", model="small") as server:
        registered(server.url, "a key")
        command = [sys.executable, "-m", "docflow", "serve", "--engine", "auto", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout is not None
            try:
                assert service.stdout.readline().strip() == f"engine auto: vllm at 127.0.0.1:{server.port} (small)"
                url = service.stdout.readline().split()[3]
                body = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}
                request = urllib.request.Request(
                    f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
                )
                with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                    assert json.load(answer)["model"] == "small"
            finally:
                service.terminate()


def test_a_dry_run_prints_the_command_and_starts_nothing(place: Place) -> None:
    arguments = ["engines", "up", "vllm", str(place.model), "--device", "cpu", "--dry-run", "--", "--max-num-seqs", "4"]
    done = place.docflow(*arguments)
    assert done.returncode == 0
    assert "vllm.entrypoints.openai.api_server" in done.stdout
    assert done.stdout.rstrip().endswith("--max-num-seqs 4")
    assert Register().all() == []


def test_a_dry_run_shows_the_context_that_is_in_effect(place: Place) -> None:
    arguments = ["engines", "up", "vllm", str(place.model), "--device", "cpu", "--dry-run", "--"]
    done = place.docflow(*arguments, "--max-model-len", "1536")
    assert done.returncode == 0
    assert "# context 1,536 tokens (your --max-model-len), 1 page a request" in done.stderr
    assert done.stdout.count("--max-model-len") == 1
    assert done.stdout.rstrip().endswith("--max-model-len 1536")
    refused = place.docflow(*arguments, "--max-model-len", "1k")
    assert (refused.returncode, "--max-model-len 1k is no number of tokens" in refused.stderr) == (2, True)
