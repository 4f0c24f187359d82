"""Whole runs over servers on loopback that go away and come back: every document has its row, and says who answered."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel

import docflow
from docflow.cli import main
from docflow.errors import ConfigError, NoEngine
from docflow.fields.kinds import Money, Party
from docflow.runs import Progress, Run, RunOptions, execute
from docflow.settings import Settings, load_settings
from docflow.storage import Dataset
from tests.engines.faults import FaultProxy, Hang, Status
from tests.engines.instant import InstantServer

COUNT = 30


class Ticket(BaseModel):
    company: Party | None = None
    total: Money | None = None


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(COUNT):
        Image.new("RGB", (60 + number, 56), (number, 0, 0)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def servers() -> Iterator[tuple[InstantServer, InstantServer, InstantServer]]:
    """Two that share the work and one that stands in for them."""
    with ExitStack() as stack:
        yield (
            stack.enter_context(InstantServer("sglang", seconds=0.01)),
            stack.enter_context(InstantServer("sglang", seconds=0.01)),
            stack.enter_context(InstantServer("vllm", seconds=0.01)),
        )


def quick(**servers: Any) -> Settings:
    """Without OCR, and with servers that are soon tried again."""
    ways = {"rest_seconds": 0.05, "health_seconds": 0.05} | servers
    return load_settings({"extraction.grounding": "off"} | {f"servers.{key}": value for key, value in ways.items()})


def options(scans: Path, engine: Any, fallback: Any = None, **how: Any) -> RunOptions:
    given = {"program": Ticket, "settings": quick(), "concurrency": 4} | how
    return RunOptions(sources=(scans,), engine=engine, fallback=fallback, **given)


def rows(out: Path) -> list[dict[str, Any]]:
    return list(Dataset(out).records())


class After:
    """Does something once, as soon as so many documents are done."""

    def __init__(self, count: int, what: Any) -> None:
        self._count, self._what, self._done, self._lock = count, what, 0, threading.Lock()

    def __call__(self, result: Any) -> None:
        with self._lock:
            self._done += 1
            if self._done == self._count:
                self._what()


def test_two_servers_share_a_run(scans: Path, tmp_path: Path, servers: Any) -> None:
    a, b, c = servers
    run = execute(options(scans, [f"sglang={a.url}", f"sglang={b.url}"], f"vllm={c.url}", out=tmp_path / "out"))
    assert (run.valid, run.fallback, run.notes) == (COUNT, 0, [])
    assert len(a.requests) + len(b.requests) == COUNT
    assert min(len(a.requests), len(b.requests)) >= COUNT // 3
    assert not c.requests
    assert {(row["engine"], row["model"], row["attempts"], row["fallback"]) for row in rows(tmp_path / "out")} == {
        ("sglang", "tiny", 1, False)
    }


def test_servers_that_die_in_the_middle_cost_no_document(scans: Path, tmp_path: Path, servers: Any) -> None:
    a, b, c = servers
    out = tmp_path / "out"
    engine, fallback = [f"sglang={a.url}", f"sglang={b.url}"], f"vllm={c.url}"

    def die() -> None:
        a.refuse()
        b.refuse()

    notes: list[str] = []
    run = execute(options(scans, engine, fallback, out=out), on_result=After(COUNT // 3, die))
    assert (run.valid, run.documents) == (COUNT, COUNT)
    assert run.fallback == Counter(row["fallback"] for row in rows(out))[True] > 0
    assert len({row["document_id"] for row in rows(out)}) == COUNT
    for row in rows(out):
        assert (row["requested_engine"], row["requested_model"]) == ("sglang", "tiny")
        assert row["engine"] == ("vllm" if row["fallback"] else "sglang")
    assert max(row["attempts"] for row in rows(out)) > 1
    assert f"answered by a fallback, vllm at {c.url.removeprefix('http://')}" in run.notes[-1]
    kept = json.loads((out / "runs" / f"{run.id}.json").read_text())
    assert kept["fallback"] == run.fallback

    a.listen()
    a.seconds = 1.0  # the note is told a few times a second: a run that ends sooner tells none
    told = docflow.extract(
        scans,
        program=Ticket,
        engine=engine,
        fallback=fallback,
        out=out,
        redo_fallback=True,
        settings=quick(),
        progress=lambda progress: notes.append(progress.note or ""),
    )
    assert (told.documents, told.valid, told.fallback) == (run.fallback, run.fallback, 0)
    assert Counter(row["engine"] for row in rows(out)) == {"sglang": COUNT}
    assert any("is away" in note and "goes on" in note for note in notes)
    assert execute(options(scans, engine, fallback, out=out, redo_fallback=True)).skipped == COUNT


def test_a_server_that_is_of_another_kind_than_named_is_said_with_what_to_do(
    scans: Path, tmp_path: Path, servers: Any
) -> None:
    a, _, c = servers
    run = execute(options(scans, [f"sglang={a.url}", f"sglang={c.url}"], out=tmp_path / "out", limit=3))
    assert (run.valid, run.fallback) == (3, 0)
    place = c.url.removeprefix("http://")
    assert run.notes == [f"not used, sglang at {place}: says that it is vllm: name it with vllm=URL"]


@pytest.mark.parametrize("fallback", ["vllm=http://127.0.0.1:1", "http://127.0.0.1:1"])
def test_a_fallback_for_an_engine_that_is_never_away_is_refused(scans: Path, fallback: str) -> None:
    with pytest.raises(ConfigError, match="the embedded engine is never away"):
        execute(options(scans, None, fallback))


def test_what_a_fallback_gave_stands_until_it_is_replaced(scans: Path, tmp_path: Path, servers: Any) -> None:
    a, _, c = servers
    out = tmp_path / "out"
    a.refuse()
    with FaultProxy(a.url) as proxy:
        engine = f"sglang={proxy.url}?model=tiny"
        how: dict[str, Any] = {"out": out, "limit": 3}
        assert execute(options(scans, engine, f"vllm={c.url}", **how)).fallback == 3
        assert execute(options(scans, engine, f"vllm={c.url}", **how)).fallback == 3  # three others
        again = execute(options(scans, engine, f"vllm={c.url}", out=out, redo_fallback=True, limit=3))
        assert (again.fallback, len(rows(out))) == (3, 6)
        a.listen()
        proxy.always = Status(400)
        refused = execute(options(scans, engine, **how, redo_fallback=True))
        assert (refused.documents, refused.failed) == (3, 3)
        assert [(row["status"], row["engine"]) for row in rows(out)] == [("valid", "vllm")] * 6
        proxy.always = None
        execute(options(scans, engine, **how, redo_fallback=True))
        assert Counter(row["engine"] for row in rows(out)) == {"vllm": 3, "sglang": 3}


def test_a_server_that_hangs_is_found_out_long_before_the_time_out(
    scans: Path, tmp_path: Path, servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docflow.engines.crew.SILENT_SECONDS", 0.3)
    monkeypatch.setattr("docflow.engines.server._HEALTH_SECONDS", 0.3)
    a, _, c = servers

    def hang() -> None:
        proxy.always, proxy.everything = Hang(), True

    with FaultProxy(a.url) as proxy:
        began = time.monotonic()
        run = execute(
            options(scans, f"sglang={proxy.url}", f"vllm={c.url}", out=tmp_path / "out"), None, After(5, hang)
        )
    assert time.monotonic() - began < 30
    assert (run.valid, run.documents) == (COUNT, COUNT)
    assert COUNT // 2 < run.fallback < COUNT


def test_a_run_waits_for_its_only_server_to_start_again(scans: Path, tmp_path: Path, servers: Any) -> None:
    a, _, _ = servers

    def restart() -> None:
        a.refuse()
        threading.Timer(0.7, a.listen).start()

    run = execute(options(scans, f"sglang={a.url}", out=tmp_path / "out"), on_result=After(5, restart))
    assert (run.valid, run.failed) == (COUNT, 0)


def test_when_no_server_comes_back_documents_fail_and_can_be_tried_again(
    scans: Path, tmp_path: Path, servers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docflow.runs.extractor.RETRY_SECONDS", (0.01, 0.01))
    a, _, _ = servers
    how: dict[str, Any] = {"out": tmp_path / "out", "settings": quick(wait_seconds=0.3)}
    run = execute(options(scans, f"sglang={a.url}", **how), on_result=After(5, a.refuse))
    assert run.documents == COUNT
    assert run.failed >= COUNT - 10
    failed = next(row["error"] for row in rows(tmp_path / "out") if row["status"] == "failed")
    assert failed["retryable"]
    assert "sglang at 127.0.0.1" in failed["message"]
    a.listen()
    again = execute(options(scans, f"sglang={a.url}", **how, retry_failed=True))
    assert (again.valid, again.failed) == (run.failed, 0)
    assert {row["status"] for row in rows(tmp_path / "out")} == {"valid"}


def test_ctrl_c_ends_a_run_that_waits_for_a_server(scans: Path, tmp_path: Path, servers: Any) -> None:
    a, _, _ = servers
    waiting = threading.Event()
    stopped: list[Run] = []

    def tell(progress: Progress) -> None:
        if progress.note and "waiting for it" in progress.note:
            waiting.set()

    from docflow.runs.execution import Execution

    with Execution(options(scans, f"sglang={a.url}", out=tmp_path / "out"), tell, After(5, a.refuse)) as execution:
        thread = threading.Thread(target=lambda: stopped.append(execution.run_direct()))
        thread.start()
        assert waiting.wait(20)
        execution.stop()
        thread.join(20)
    assert stopped[0].stopped
    assert all(row["status"] == "valid" for row in rows(tmp_path / "out"))


def test_with_no_server_up_a_run_does_not_begin(scans: Path, tmp_path: Path, servers: Any) -> None:
    a, b, _ = servers
    a.refuse()
    b.refuse()
    engine = [f"sglang={a.url.replace('://', '://me:hunter2@')}", f"sglang={b.url}"]
    with pytest.raises(NoEngine) as raised:
        execute(options(scans, engine, out=tmp_path / "out"))
    assert all(url.removeprefix("http://") in raised.value.message for url in (a.url, b.url))
    assert "hunter2" not in raised.value.message
    assert not (tmp_path / "out" / "records").exists()


def test_credentials_are_sent_and_kept_nowhere(scans: Path, tmp_path: Path, servers: Any) -> None:
    a, _, _ = servers
    settings = quick()
    settings = settings.model_copy(update={"engine": f"sglang={a.url.replace('://', '://me:hunter2@')}"})
    run = execute(options(scans, None, out=tmp_path / "out", settings=settings, limit=2))
    assert run.valid == 2
    assert all(request.headers["authorization"].startswith("Basic ") for request in a.requests)
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes()


def test_the_command_line_takes_several_engines_and_says_who_stood_in(
    scans: Path, servers: Any, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = servers
    a.refuse()
    b.refuse()
    command = ["extract", str(scans), "-p", "receipt", "--grounding", "off", "--runner", "direct", "--limit", "2"]
    command += ["--engine", f"sglang={a.url}?model=tiny", "--engine", f"sglang={b.url}"]
    assert run_cli([*command, "--fallback", f"vllm={c.url}"]) == 0
    said = capsys.readouterr().err.replace("\n", " ")
    assert "2 documents were answered by a fallback, vllm at" in said
    assert run_cli(command) == 3
    assert "no engine is usable" in capsys.readouterr().err


def run_cli(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)
