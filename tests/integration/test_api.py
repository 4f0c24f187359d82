"""The Python API as its users call it: scripts, threads, event loops, with and without OUT."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel

import docflow
from docflow.api import _options, _Stream
from docflow.engines.base import Health
from docflow.settings import load_settings


class Ticket(BaseModel):
    company: docflow.Party | None = None
    total: docflow.Money | None = None


@pytest.fixture
def how() -> dict[str, Any]:
    """What every call of these tests says: a scripted engine, and no looking up."""
    return {
        "program": Ticket,
        "engine": docflow.ScriptedEngine(default={"company": "ACME", "total": "12.50"}),
        "settings": load_settings({"extraction.grounding": "off"}),
    }


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.png"
    Image.new("RGB", (40, 30), "white").save(path)
    return path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for n in range(30):
        Image.new("L", (20 + n, 20), n).save(folder / f"{n:02}.png")
    return folder


def test_every_kind_of_source_is_read(scan: Path, how: dict[str, Any]) -> None:
    content = scan.read_bytes()
    other = Image.new("L", (10, 10))
    for source in (str(scan), scan, content, io.BytesIO(content), other, f"{scan.parent}/*.png", [scan, other]):
        run = docflow.extract(source, **how)
        assert run.valid == len(run.results) == (2 if isinstance(source, list) else 1)
    with scan.open("rb") as file:
        assert docflow.extract(file, **how).results[0].source == "scan.png"


def test_a_result_carries_the_record_of_its_model(scan: Path, how: dict[str, Any]) -> None:
    [result] = docflow.extract(scan, **how).results
    assert result.record == Ticket(company="ACME", total=Decimal("12.50"))
    assert (result.status, result.engine, result.program) == ("valid", "scripted", "ticket")


def test_out_is_a_dataset_that_opens_again(scans: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    run = docflow.extract(scans, out=tmp_path / "out", **how)
    assert (run.valid, run.results, run.runner) == (30, [], "direct")
    dataset = docflow.open(tmp_path / "out")
    assert dataset.programs == ["ticket"]
    assert dataset.query("SELECT sum(record.total) AS total FROM ticket").to_pylist() == [{"total": Decimal(375)}]
    assert docflow.extract(scans, out=tmp_path / "out", **how).skipped == 30


def test_records_come_one_by_one_and_the_rest_waits(scans: Path, how: dict[str, Any]) -> None:
    records = docflow.iter_records(scans, **how, concurrency=2)
    first = next(records)
    assert first.record is not None
    assert first.record.company == "ACME"
    records.close()
    assert len(how["engine"].requests) < 30
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("docflow-run")]


def test_iterating_with_out_writes_the_rows_too(scans: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    assert len(list(docflow.iter_records(scans, out=tmp_path / "out", **how))) == 30
    assert len(docflow.open(tmp_path / "out")) == 30
    assert list(docflow.iter_records(scans, out=tmp_path / "out", **how)) == []


def test_what_stops_a_run_reaches_whoever_iterates(tmp_path: Path, how: dict[str, Any]) -> None:
    with pytest.raises(docflow.NothingToDo):
        list(docflow.iter_records(tmp_path / "nowhere", **how))
    with pytest.raises(docflow.NothingToDo):
        docflow.extract(tmp_path / "nowhere", **how)


def test_an_event_loop_goes_on_while_records_are_awaited(scans: Path, how: dict[str, Any]) -> None:
    async def main() -> tuple[int, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        count = 0
        async for result in docflow.aiter_records(scans, **how):
            count += result.status == "valid"
        ticking.cancel()
        return count, ticks

    count, ticks = asyncio.run(main())
    assert count == 30
    assert ticks > 30


def test_an_async_iteration_can_be_left_early(scans: Path, how: dict[str, Any]) -> None:
    async def main() -> str:
        async for result in docflow.aiter_records(scans, **how):
            return result.source
        return ""

    assert asyncio.run(asyncio.wait_for(main(), 60)).endswith(".png")


def test_extract_works_inside_a_running_event_loop(scan: Path, how: dict[str, Any]) -> None:
    async def main() -> int:
        return docflow.extract(scan, **how).valid

    assert asyncio.run(main()) == 1


def test_several_threads_extract_at_once(scans: Path, how: dict[str, Any]) -> None:
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: docflow.extract(scans, **how, limit=5), range(3)))
    assert [run.valid for run in runs] == [5, 5, 5]


SCRIPT = """
import sys
import docflow
from docflow.api import _options, _Stream
from docflow.engines.base import Health
from docflow.settings import load_settings

class Ticket(docflow.load_program("receipt").model):
    pass

run = docflow.extract(
    sys.argv[1],
    program=Ticket,
    engine=docflow.ScriptedEngine(default={"company": "ACME"}),
    settings=load_settings({"extraction.grounding": "off"}),
)
print(run.results[0].record.company)
"""


def test_a_plain_script_needs_no_main_guard(scan: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(scan)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ACME\n", "")


class _SlowToStart(docflow.ScriptedEngine):
    """An engine whose health takes until ``go``; ``asked`` is set when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__(default={"company": "ACME", "total": "12.50"})
        self.asked, self.go = threading.Event(), threading.Event()

    def health(self) -> Health:
        self.asked.set()
        assert self.go.wait(30)
        return super().health()


def test_a_run_that_is_left_while_it_is_made_ready_does_no_work(scans: Path, how: dict[str, Any]) -> None:
    engine = _SlowToStart()
    stream = _Stream(_options(scans, program=Ticket, engine=engine, settings=how["settings"], runner="direct"))
    assert engine.asked.wait(30)
    leaving = threading.Thread(target=stream.close)
    leaving.start()
    assert stream._closed.wait(30)
    engine.go.set()
    leaving.join(30)
    assert not leaving.is_alive()
    assert len(engine.requests) < 30
