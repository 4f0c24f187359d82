from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.errors import ConfigError
from docflow.telemetry.logs import MOST_CHARACTERS, Lines, StructuredLogger, json_line


@given(st.dictionaries(st.text(max_size=20), st.text() | st.integers() | st.none() | st.booleans()))
def test_whatever_a_record_holds_it_is_one_line_of_json(record: dict[str, str | int | None]) -> None:
    line = json_line(dict(record))
    assert len(line.splitlines()) == 1
    assert line.isprintable() or all(ord(character) > 0x9F for character in line if not character.isprintable())
    read = json.loads(line)
    assert {key: value for key, value in read.items() if not isinstance(value, str)} == {
        key: value for key, value in record.items() if not isinstance(value, str)
    }


def test_a_text_that_would_begin_a_line_of_its_own_stays_in_its_field() -> None:
    forged = 'x"}\n{"event":"response"}\u2028{"event":"error"}\x85\x1b[2J'
    line = json_line({"model": forged})
    assert len(line.splitlines()) == 1
    assert json.loads(line)["model"] == forged
    assert "\x1b" not in line


def test_a_long_text_is_cut() -> None:
    assert len(json.loads(json_line({"model": "x" * 100_000}))["model"]) == MOST_CHARACTERS + 1


def test_records_of_requests_responses_and_errors_have_their_fields() -> None:
    lines: list[str] = []
    logger = StructuredLogger("test", lines.append)
    logger.log_request("r1", 12, key="team")
    logger.log_response("r1", 0.25, 7, language="한국어")
    logger.log_error("r1", "boom")
    request, response, error = map(json.loads, lines)
    assert (request["event"], request["prompt_length"], request["key"]) == ("request", 12, "team")
    assert (response["event"], response["latency_ms"], response["tokens_generated"]) == ("response", 250.0, 7)
    assert "한국어" in lines[1]
    assert (error["event"], error["error"]) == ("error", "boom")
    for record in (request, response, error):
        assert record["request_id"] == "r1"
        assert datetime.fromisoformat(record["timestamp"]).utcoffset() == timedelta(0)


def test_a_logger_that_is_made_twice_writes_once(capfd: pytest.CaptureFixture[str]) -> None:
    StructuredLogger("docflow.test.twice").log_request("r1", 1)
    StructuredLogger("docflow.test.twice").log_request("r2", 1)
    written = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["request_id"] for line in written] == ["r1", "r2"]


def test_lines_are_written_in_order_and_all_of_them_by_the_end(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "logs" / "requests.log")
    for number in range(1_000):
        lines.put(str(number))
    lines.close()
    written = (tmp_path / "logs" / "requests.log").read_text().splitlines()
    assert written == [str(number) for number in range(1_000)]


def test_a_log_that_was_rotated_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "requests.log"
    lines = Lines(path)
    path.rename(tmp_path / "requests.log.1")
    lines.put("after")
    lines.close()
    assert path.read_text() == "after\n"


def test_lines_that_cannot_be_written_are_counted_and_hold_nobody_up() -> None:
    lost: list[int] = []
    lines = Lines(Path("/dev/full"), lost.append)
    lines.put("one")
    lines.put("two")
    lines.close()
    assert sum(lost) == 2


def test_a_log_file_that_cannot_be_there_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="log_file"):
        Lines(tmp_path / "file" / "requests.log")
