"""What docflow extract says while it runs and at its end."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from docflow.cli.progress import Lines, bar_of, line_of, rate
from docflow.cli.records import RecordWriter
from docflow.cli.summary import print_summary
from docflow.durations import duration
from docflow.extraction.result import ErrorInfo
from docflow.runs import FailedDocument, Progress, Run
from tests.unit.storage.results import Results


def progress(**changes: Any) -> Progress:
    return Progress(run_id="r", **changes)


def test_lines_come_about_every_ten_seconds() -> None:
    said: list[str] = []
    lines = Lines(said.append, set())
    for tenth in range(400):
        lines.show(progress(total=100, valid=tenth // 4, seconds=tenth / 10))
    assert len(said) == 3
    assert said[0] == "25 of 100 documents, 2.5/s, 30 s to go"


def test_a_note_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    said: set[str] = set()
    lines = Lines(told.append, said)
    for _ in range(3):
        lines.show(progress(note="the server starts"))
        lines.show(progress(note="running without Prefect"))
    assert told == ["note: the server starts", "note: running without Prefect"]
    print_summary(run(notes=["running without Prefect", "2 files passed over"]), said=said)
    shown = capsys.readouterr().err
    assert "note: 2 files passed over" in shown
    assert "running without Prefect" not in shown


def test_a_line_tells_what_is_not_valid() -> None:
    assert line_of(progress(found=1200, valid=7, invalid=2, failed=1, seconds=5)) == (
        "10 done, 1,200 documents found so far, 2.0/s, 2 invalid, 1 failed"
    )


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize(
    "state",
    [
        progress(),
        progress(found=12),
        progress(
            total=123456, found=123456, valid=100, invalid=10, failed=5, seconds=1000, note="a [bold]note\x1b[2J " * 9
        ),
    ],
)
def test_the_bar_fits_the_terminal(width: int, state: Progress) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(bar_of(state, width))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert len(shown.splitlines()) <= 2
    assert max(map(len, shown.splitlines())) <= width
    assert "\x1b" not in shown


def test_times_and_rates_are_said_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 60, 200, 3600, 7500)] == [
        "0 s", "59 s", "1 min", "3 min 20 s", "1 h", "2 h 5 min",
    ]  # fmt: skip
    assert [rate(number) for number in (12.34, 1, 0.5)] == ["12.3/s", "1.0/s", "30.0/min"]


def run(**changes: Any) -> Run:
    return Run(**{"id": "r", "program": "auto", "engine": "embedded", "runner": "direct", "out": Path("out")} | changes)


def test_the_end_says_how_many_how_fast_where_and_what_to_type_next(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(
        run(
            seconds=12.0,
            working_seconds=10.0,
            counts=Counter(valid=1198, invalid=1, failed=7),
            by_program=Counter(receipt=1000, invoice=199, auto=7),
            skipped=3,
            skipped_failed=2,
            errors=[
                FailedDocument(
                    source=f"{n}\x1b[2J.pdf",
                    error=ErrorInfo("decode", "BrokenDocument", "it is [red]damaged[/red]", "Get a new copy.", False),
                )
                for n in range(7)
            ],
        )
    )
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "\x1b" not in shown.err
    counts = {" ".join(words[:-1]): words[-1] for line in shown.err.splitlines() if (words := line.split())}
    assert counts["valid"] == "1,198"
    assert counts["invalid"] == "1"
    assert counts["failed"] == "7"
    assert counts["done before"] == "3"
    assert counts["failed before"] == "2"
    assert "1,206 documents in 12 s (120.6/s); 1,000 receipt, 199 invoice\n" in shown.err
    assert shown.err.count("it is [red]damaged[/red]") == 5
    assert "and 2 more failed" in shown.err
    assert "data  out/records" in shown.err
    assert "next  docflow show out\n" in shown.err
    assert "docflow show out --failed" in shown.err
    assert "--retry-failed" in shown.err


def test_an_interrupted_run_says_that_what_is_done_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(run(counts=Counter(valid=2), stopped=True, out=Path("my out")))
    shown = capsys.readouterr().err
    assert "Interrupted. What is done is kept in 'my out'" in shown
    assert "next  docflow show 'my out'" in shown


def test_where_all_failed_the_next_thing_is_to_see_why(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(run(counts=Counter(failed=1)))
    assert "next  docflow show out --failed" in capsys.readouterr().err


def test_a_record_is_a_line_of_json_with_its_evidence() -> None:
    stream = io.StringIO()
    writer = RecordWriter(stream)
    writer.write(Results.valid("caf\udce9\n.png", "a"))
    writer.write(Results.failed("b.png"))
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["record"] == {
        "company": "ACME", "date": "2024-03-12", "total": 12.5, "items": [{"name": "Tea", "count": 2.0}],
    }  # fmt: skip
    assert first["evidence"][0]["box"] == [1, 2, 30, 40]
    assert first["error"] is None
    assert second["status"] == "failed"
    assert second["record"] is None
    assert second["error"]["hint"] == "Get a new copy."
    assert stream.getvalue().isascii()


def test_when_the_reader_of_records_is_gone_the_run_goes_on() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        writer = RecordWriter(stream)
        writer.write(Results.valid("a.png"))
        writer.write(Results.valid("b.png"))
        stream.write("what is left in the buffer when Python ends")
        stream.flush()
        assert os.path.samestat(os.fstat(stream.fileno()), os.stat(os.devnull))
