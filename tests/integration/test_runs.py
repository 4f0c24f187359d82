"""Whole runs over real files: decoder processes, threads, parts; a scripted engine answers."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from PIL import Image
from pydantic import BaseModel

from docflow.engines.base import Answer, Request
from docflow.engines.scripted import ScriptedEngine
from docflow.errors import EngineTimeout, EngineUnavailable, NothingToDo, UsageError
from docflow.fields.kinds import Money, Party
from docflow.runs import Progress, RunOptions, execute
from docflow.runs.execution import Execution
from docflow.settings import Settings, load_settings
from docflow.storage import Dataset


class Ticket(BaseModel):
    company: Party | None = None
    total: Money | None = None


ANSWER = {"company": "ACME", "total": "12.50"}


def quick() -> Settings:
    """Without OCR: what is answered is not looked up."""
    return load_settings({"extraction.grounding": "off"})


def options(*sources: Any, **how: Any) -> RunOptions:
    given: dict[str, Any] = {"program": Ticket, "engine": ScriptedEngine(default=ANSWER), "settings": quick()}
    return RunOptions(sources=sources, **(given | how))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images, all different."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (40 + number, 30), (number, 0, 0)).save(folder / f"{number}.png")
    return folder


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {row["source"]: row for row in Dataset(out).records()}


def test_a_folder_becomes_rows_and_a_second_run_has_nothing_to_do(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = execute(options(folder, out=out))
    assert (run.valid, run.documents, run.exit_code) == (5, 5, 0)
    assert sorted(rows(out)) == [f"{n}.png" for n in range(5)]
    assert {row["record"]["company"] for row in rows(out).values()} == {"ACME"}
    assert {row["run_id"] for row in rows(out).values()} == {run.id}
    assert [path.stem for path in (out / "runs").iterdir()] == [run.id]
    engine = ScriptedEngine()
    again = execute(options(folder, out=out, engine=engine))
    assert (again.documents, again.skipped, again.exit_code) == (0, 5, 0)
    assert engine.requests == []


def test_plain_readers_open_a_programs_folder(folder: Path, tmp_path: Path) -> None:
    execute(options(folder, out=tmp_path / "out"))
    table = ds.dataset(tmp_path / "out" / "records" / "program=ticket", format="parquet").to_table()
    assert table.num_rows == 5


def test_a_broken_document_is_a_failed_row_and_its_neighbours_are_valid(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[:60])
    (folder / "3.png").write_bytes(b"")
    (folder / "notes.png").write_text("only text")
    run = execute(options(folder, out=out))
    assert run.counts == Counter(valid=3, failed=3)
    assert run.exit_code == 1
    assert {document.source for document in run.errors} == {"2.png", "3.png", "notes.png"}
    stored = rows(out)
    assert {stored[name]["error"]["type"] for name in ("2.png", "3.png")} == {"BrokenDocument"}
    assert stored["notes.png"]["error"]["type"] == "UnsupportedDocument"
    assert [stored[name]["media_type"] for name in ("2.png", "3.png", "notes.png")] == ["image/png", "", ""]
    assert all(
        stored[name]["error"]["hint"] and stored[name]["error"]["stage"] == "decode" for name in ("2.png", "3.png")
    )

    (folder / "2.png").write_bytes(whole)
    waiting = execute(options(folder, out=out))
    assert (waiting.valid, waiting.skipped, waiting.skipped_failed) == (1, 3, 2)  # 2.png is another document now
    retried = execute(options(folder, out=out, retry_failed=True))
    assert (retried.failed, retried.skipped) == (2, 4)
    assert Counter(row["status"] for row in Dataset(out)) == Counter(valid=4, failed=2)


def test_identical_bytes_are_asked_once_and_have_a_row_each(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    engine = ScriptedEngine(default=ANSWER)
    run = execute(options(folder, out=out, engine=engine))
    assert run.valid == 6
    assert len(engine.requests) == 5
    (folder / "late.png").write_bytes((folder / "0.png").read_bytes())
    later = execute(options(folder, out=out, engine=engine))
    assert (later.valid, later.skipped) == (1, 6)
    assert len(engine.requests) == 5
    stored = rows(out)
    assert stored["late.png"]["document_id"] == stored["0.png"]["document_id"]
    assert stored["late.png"]["run_id"] == later.id
    assert stored["late.png"]["record"] == stored["0.png"]["record"]


def test_the_limit_stops_after_so_many_and_the_next_run_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert execute(options(folder, out=out, limit=2)).documents == 2
    rest = execute(options(folder, out=out))
    assert (rest.documents, rest.skipped) == (3, 2)


def test_without_out_results_are_only_given_out(folder: Path, in_tmp: Path) -> None:
    given: list[Any] = []
    before = set(in_tmp.rglob("*"))
    run = execute(options(folder), on_result=given.append)
    assert sorted(result.source for result in given) == [f"{n}.png" for n in range(5)]
    assert all(isinstance(result.record, Ticket) for result in given)
    assert run.valid == 5
    assert set(in_tmp.rglob("*")) == before


def test_an_engine_that_fails_for_a_while_is_asked_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docflow.runs.extractor.RETRY_SECONDS", (0.0, 0.0))
    engine = ScriptedEngine([EngineTimeout("slow"), EngineTimeout("slow")], default=ANSWER)
    run = execute(options(folder, out=tmp_path / "out", engine=engine, concurrency=1))
    assert run.valid == 5
    assert sorted(row["attempts"] for row in Dataset(tmp_path / "out")) == [1, 1, 1, 2, 2]


def test_an_engine_that_stays_away_costs_failed_rows_that_say_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docflow.runs.extractor.RETRY_SECONDS", (0.0, 0.0))
    engine = ScriptedEngine(default=EngineTimeout("no answer within 1 s"))
    run = execute(options(folder, out=tmp_path / "out", engine=engine))
    assert run.failed == 5
    stored = rows(tmp_path / "out")["0.png"]
    assert (stored["attempts"], stored["error"]["stage"], stored["error"]["retryable"]) == (3, "engine", True)


class DeadEngine(ScriptedEngine):
    def health(self) -> Any:
        return dataclasses.replace(super().health(), ok=False, detail="connection refused")


def test_an_engine_that_is_not_usable_is_said_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="connection refused"):
        execute(options(folder, out=tmp_path / "out", engine=DeadEngine()))
    assert not (tmp_path / "out").exists()


def test_no_document_is_an_error_that_names_what_was_passed_over(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "notes.txt").write_text("hello")
    with pytest.raises(NothingToDo) as caught:
        execute(options(tmp_path / "scans", out=tmp_path / "out"))
    assert "1 file was passed over" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="int"):
        execute(options(3, out=tmp_path / "out"))


def test_an_out_that_fills_up_ends_the_run_and_keeps_what_was_there(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    execute(options(folder, out=out, limit=2))
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "from tests.integration.test_runs import *\n"
        "from docflow.errors import StorageError\n"
        "try:\n"
        "    execute(options(Path(sys.argv[1]), out=Path(sys.argv[2])))\n"
        "except StorageError as error:\n"
        "    print(error.hint)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(out)], capture_output=True, text=True, check=True, timeout=120
    )
    assert "run the same command again" in ended.stdout
    assert len(rows(out)) == 2
    assert not list(out.rglob("*.tmp"))
    assert execute(options(folder, out=out)).documents == 3


def test_a_fault_of_the_callers_callback_ends_the_run_with_it(folder: Path, tmp_path: Path) -> None:
    def fall(result: Any) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        execute(options(folder, out=tmp_path / "out"), on_result=fall)


def test_progress_ends_with_what_the_run_came_to(folder: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    run = execute(options(folder, out=tmp_path / "out"), told.append)
    assert (told[-1].done, told[-1].total, told[-1].valid) == (5, 5, 5)
    assert told[-1].run_id == run.id


def test_a_run_in_a_thread_leaves_signals_alone(folder: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    runs: list[Any] = []
    thread = threading.Thread(target=lambda: runs.append(execute(options(folder, out=tmp_path / "out"))))
    thread.start()
    thread.join(60)
    assert runs[0].valid == 5
    assert signal.getsignal(signal.SIGINT) is before


SLOW = """
import sys, time
from tests.integration.test_runs import *

def slowly(request):
    time.sleep(0.3)
    return ANSWER

run = execute(options(Path(sys.argv[1]), out=Path(sys.argv[2]), engine=ScriptedEngine(default=slowly), concurrency=1))
sys.exit(run.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_writes_what_is_done_and_the_next_goes_on(tmp_path: Path, number: int) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    for n in range(40):
        Image.new("L", (20 + n, 20), n).save(folder / f"{n:02}.png")
    child = subprocess.Popen([sys.executable, "-c", SLOW, str(folder), str(out)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / "records").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)
    os.kill(child.pid, number)
    _, said = child.communicate(timeout=30)
    assert (child.returncode, said) == (130, "")
    done = len(Dataset(out))
    assert 1 <= done < 40
    rest = execute(options(folder, out=out))
    assert (rest.skipped, rest.documents) == (done, 40 - done)
    assert len(Dataset(out)) == 40


def test_a_killed_run_leaves_whole_parts_and_the_next_goes_on(tmp_path: Path) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    for n in range(40):
        Image.new("L", (20 + n, 20), n).save(folder / f"{n:02}.png")
    code = "import docflow.runs.chunks\ndocflow.runs.chunks.MOST_SECONDS = 0.5\n" + SLOW
    child = subprocess.Popen([sys.executable, "-c", code, str(folder), str(out)])
    deadline = time.monotonic() + 60
    while not list(out.glob("records/*/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    child.kill()
    child.wait()
    done = len(Dataset(out))
    assert 1 <= done < 40
    rest = execute(options(folder, out=out))
    assert (rest.skipped, rest.documents) == (done, 40 - done)
    assert sorted(rows(out)) == [f"{n:02}.png" for n in range(40)]


def answer_for_size(request: Request) -> Answer | dict[str, Any]:
    """A different answer for every image, to tell rows apart."""
    return {"company": f"Shop {request.pages[0].width:.0f}", "total": None}


def test_many_documents_at_once_keep_their_own_answers(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for n in range(60):
        Image.new("L", (20 + n, 20), n).save(folder / f"{n:02}.png")
    execute(options(folder, out=tmp_path / "out", engine=ScriptedEngine(default=answer_for_size), concurrency=8))
    companies = {source: row["record"]["company"] for source, row in rows(tmp_path / "out").items()}
    assert companies == {f"{n:02}.png": f"Shop {20 + n}" for n in range(60)}


def test_what_was_passed_over_is_noted_once(folder: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("hello")
    told: list[Progress] = []
    run = execute(options(folder, out=tmp_path / "out"), told.append)
    assert run.notes == ["2 files were passed over, because neither name nor content is a document's."]
    assert {progress.note for progress in told} == {None}


def test_a_run_that_stops_does_not_wait_for_the_end_of_a_list(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.write(writing, f"{folder}\n".encode())
    with open(reading) as listed:
        monkeypatch.setattr("sys.stdin", listed)
        try:
            with Execution(options("-", out=tmp_path / "out")) as execution:
                threading.Timer(0.5, execution.stop).start()
                assert not execution.more_than(1000)
                assert execution.run_direct().stopped
        finally:
            os.close(writing)
