"""What docflow makes of a server that fails: an instant one behind a proxy that spoils answers."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import docflow
from docflow.engines import crew, pool
from docflow.errors import EngineError
from docflow.runs import extractor
from tests.engines.faults import (
    Body,
    CutShort,
    Drip,
    Dropped,
    Endless,
    Fault,
    FaultProxy,
    Gone,
    Half,
    Hang,
    ResetMidway,
    Said,
    Slow,
    Status,
)
from tests.engines.instant import InstantProcess, InstantServer
from tests.engines.scenes import VALUES, Ticket, extract, rows, scans, settings_for, statuses

TIMEOUT = 1.0
PATIENCE = 120.0
"""Seconds for what is to be answered, or to fail, at once, on whatever machine: far more than it takes."""

QUICK_FAULTS: dict[str, Fault] = {
    "500": Status(500),
    "502": Status(502, body=b"<html>Bad gateway</html>"),
    "503": Status(503),
    "429": Status(429),
    "dropped": Dropped(),
    "reset in mid-answer": ResetMidway(),
    "cut short": CutShort(),
}
BODY_FAULTS: dict[str, Fault] = {
    "half a JSON": Half(),
    "empty body": Body(b""),
    "another JSON": Body(b"[]"),
    "no choices": Body(b'{"object": "chat.completion", "choices": []}'),
    "endless": Endless(),
    "a web page": Body(b"<html>Welcome</html>"),
    "nothing said": Said(""),
}
SPOKEN_FAULTS: dict[str, Fault] = {
    "half said": Said(lambda text: text[: len(text) // 2]),
    "not JSON": Said("I cannot read this."),
    "white space": Said(" \n" * 200, "length"),
    "cut off": Said(lambda text: text[:-1], "length"),
}
LATE_FAULTS: dict[str, Fault] = {
    "slow": Slow(3 * TIMEOUT),
    "hung": Hang(),
    "dripping": Drip(every_seconds=0.05),
}
FAULTS = QUICK_FAULTS | BODY_FAULTS | SPOKEN_FAULTS | LATE_FAULTS


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor, "RETRY_SECONDS", (0.1, 0.1))
    monkeypatch.setattr(pool, "PAUSES", (0.05,) * pool.MOST_SENT)
    monkeypatch.setattr(crew, "LEAST_REST", 0.05)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with InstantServer("sglang", values=VALUES) as upstream, FaultProxy(upstream.url) as proxy:
        yield proxy


@pytest.fixture
def vllm() -> Iterator[InstantServer]:
    with InstantServer("vllm", values=VALUES) as server:
        yield server


def sglang_at(proxy: FaultProxy) -> str:
    return f"sglang={proxy.url}"


# --- one bad answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [QUICK_FAULTS, BODY_FAULTS, SPOKEN_FAULTS, LATE_FAULTS],
    ids=["quick", "body", "spoken", "late"],
)
def test_one_bad_answer_is_asked_for_again(faults: dict[str, Fault], proxy: FaultProxy, tmp_path: Path) -> None:
    for fault in faults.values():
        # After a body that is no answer the document is tried again at the end; after any other fault at once. A body
        # without end is none only where its bytes, and not its seconds, are too many: hence the patience with it.
        proxy.faults.extend([fault] if faults is BODY_FAULTS else [fault, None])
    run, seconds = extract(
        scans(tmp_path / "scans", len(faults)),
        tmp_path / "out",
        sglang_at(proxy),
        concurrency=1,
        settings={"timeout_seconds": TIMEOUT if faults is LATE_FAULTS else PATIENCE},
    )
    found = rows(tmp_path / "out")
    assert [row["status"] for row in found] == ["valid"] * len(faults)
    assert run.valid == len(faults)
    assert {row["record"]["company"] for row in found} == {"ACME"}
    assert not any(row["fallback"] for row in found)
    # What the model said amiss, it is told: that is another question, not the same one sent again.
    attempts = 1 if faults is SPOKEN_FAULTS else 2
    assert {name: row["attempts"] for name, row in zip(faults, found, strict=True)} == dict.fromkeys(faults, attempts)
    assert len(proxy.generations) == 2 * len(faults)
    assert seconds < PATIENCE  # nothing was waited for until it was given up


# --- nothing but bad answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["500", "reset in mid-answer", "nothing said", "white space", "hung"])
def test_a_server_of_bad_answers_costs_failed_rows_that_say_why_and_can_be_had_later(
    fault: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    folder, out = scans(tmp_path / "scans", 4), tmp_path / "out"
    proxy.always = FAULTS[fault]
    run, seconds = extract(folder, out, sglang_at(proxy), settings={"timeout_seconds": TIMEOUT})
    found = rows(out)
    assert (run.failed, len(found), run.exit_code) == (4, 4, 1)
    assert {row["error"]["stage"] for row in found} == {"engine"}
    assert all(row["error"]["message"] and row["error"]["hint"] for row in found)
    assert {row["error"]["type"] for row in found} <= {
        "EngineTimeout",
        "EngineUnavailable",
        "BadAnswer",
        "NoEngine",
    }
    assert len(proxy.generations) <= 4 * 9  # three attempts at a document, each with a few requests
    assert seconds < 30
    proxy.always = None
    assert extract(folder, out, sglang_at(proxy), retry_failed=True)[0].valid == 4
    assert statuses(rows(out)) == {"valid"}
    assert len(rows(out)) == 4


@pytest.mark.parametrize("fault", ["500", "half a JSON", "half said", "white space", "hung"])
def test_a_stand_in_answers_where_the_first_engine_gives_bad_answers(
    fault: str, proxy: FaultProxy, vllm: InstantServer, tmp_path: Path
) -> None:
    proxy.always = FAULTS[fault]
    run, seconds = extract(
        scans(tmp_path / "scans", 4),
        tmp_path / "out",
        sglang_at(proxy),
        f"vllm={vllm.url}",
        settings={"timeout_seconds": TIMEOUT},
    )
    found = rows(tmp_path / "out")
    assert (run.valid, len(found)) == (4, 4)
    assert {(row["engine"], row["requested_engine"], row["fallback"]) for row in found} == {("vllm", "sglang", True)}
    assert len(vllm.requests) == 4
    assert seconds < 20


def test_an_answer_just_in_time_counts(proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.always = Slow(0.7)
    run, _ = extract(
        scans(tmp_path / "scans", 2), tmp_path / "out", sglang_at(proxy), settings={"timeout_seconds": 1.5}
    )
    assert run.valid == 2
    assert {row["attempts"] for row in rows(tmp_path / "out")} == {1}
    assert len(proxy.generations) == 2


OTHER_SHAPES = {
    "an object for a text": '{"company": {"name": "ACME"}, "total": 3}',
    "other keys": '{"firm": "ACME"}',
    "a list": '["ACME"]',
}


@pytest.mark.parametrize("said", OTHER_SHAPES.values(), ids=OTHER_SHAPES)
def test_json_of_another_shape_is_asked_for_again(said: str, proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.faults.append(Said(said))
    run, _ = extract(scans(tmp_path / "scans", 1), tmp_path / "out", sglang_at(proxy))
    (row,) = rows(tmp_path / "out")
    assert (run.valid, row["record"]["company"], len(proxy.generations)) == (1, "ACME", 2)


@pytest.mark.parametrize("said", OTHER_SHAPES.values(), ids=OTHER_SHAPES)
def test_json_of_another_shape_is_asked_of_the_stand_in(
    said: str, proxy: FaultProxy, vllm: InstantServer, tmp_path: Path
) -> None:
    proxy.always = Said(said)
    run, _ = extract(scans(tmp_path / "scans", 1), tmp_path / "out", sglang_at(proxy), f"vllm={vllm.url}")
    (row,) = rows(tmp_path / "out")
    assert (run.valid, row["record"]["company"], row["fallback"], row["attempts"]) == (1, "ACME", True, 2)


def test_json_without_any_field_that_was_asked_for_is_no_record(proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.always = Said('{"firm": "ACME"}')
    extract(scans(tmp_path / "scans", 1), tmp_path / "out", sglang_at(proxy))
    (row,) = rows(tmp_path / "out")
    assert (row["status"], row["error"]["stage"], row["error"]["type"]) == ("failed", "engine", "BadAnswer")
    proxy.always = None
    extract(tmp_path / "scans", tmp_path / "out", sglang_at(proxy), retry_failed=True)
    assert statuses(rows(tmp_path / "out")) == {"valid"}


def test_what_stays_of_another_shape_is_unreadable_and_the_rest_is_kept(proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.always = Said(OTHER_SHAPES["an object for a text"])
    extract(scans(tmp_path / "scans", 1), tmp_path / "out", sglang_at(proxy))
    (row,) = rows(tmp_path / "out")
    company = next(entry for entry in row["evidence"] if entry["path"] == "company")
    assert (row["record"]["company"], company["reason"]) == (None, "unreadable")
    assert row["record"]["total"] == 3


# --- a server that wants to be left alone, one that cannot --------------------------------------------------------


def test_a_server_that_says_when_to_come_back_is_left_alone_until_then(proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.faults.append(Status(429, retry_after=1))
    run, _ = extract(
        scans(tmp_path / "scans", 3), tmp_path / "out", sglang_at(proxy), concurrency=1, settings={"timeout_seconds": 5}
    )
    assert (run.valid, len(rows(tmp_path / "out"))) == (3, 3)
    first, second = proxy.generations[:2]
    assert 1.0 <= second.at - first.at < 3.0


def test_meanwhile_the_stand_in_answers(proxy: FaultProxy, vllm: InstantServer, tmp_path: Path) -> None:
    proxy.always = Status(429, retry_after=30)
    run, seconds = extract(
        scans(tmp_path / "scans", 3), tmp_path / "out", sglang_at(proxy), f"vllm={vllm.url}", concurrency=1
    )
    assert (run.valid, len(vllm.requests), len(proxy.generations)) == (3, 3, 1)
    assert seconds < 5


def test_a_document_too_long_for_the_model_says_so_and_is_not_asked_again(tmp_path: Path) -> None:
    with InstantServer("sglang", values=VALUES, context=100) as server:
        run, _ = extract(scans(tmp_path / "scans", 2), tmp_path / "out", f"sglang={server.url}")
        assert (run.failed, len(server.requests)) == (2, 2)
    found = rows(tmp_path / "out")
    assert {(row["error"]["type"], row["error"]["retryable"]) for row in found} == {("EngineRefused", False)}
    assert all("context length" in row["error"]["message"] and row["error"]["hint"] for row in found)


def test_a_document_too_long_for_one_model_goes_to_a_stand_in_with_more_room(
    vllm: InstantServer, tmp_path: Path
) -> None:
    with InstantServer("sglang", values=VALUES, context=100) as server:
        run, _ = extract(scans(tmp_path / "scans", 2), tmp_path / "out", f"sglang={server.url}", f"vllm={vllm.url}")
    assert run.valid == 2
    assert {row["fallback"] for row in rows(tmp_path / "out")} == {True}


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
def test_a_model_that_the_server_does_not_have_is_said_before_anything_is_asked(kind: str, tmp_path: Path) -> None:
    with InstantServer(kind) as server:  # type: ignore[arg-type]
        with pytest.raises(EngineError, match="other-model"):
            extract(scans(tmp_path / "scans", 2), tmp_path / "out", f"{kind}={server.url}?model=other-model")
        assert server.requests == []


# --- a server that dies -------------------------------------------------------------------------------------------


def test_a_server_frozen_killed_and_started_again_costs_no_document(vllm: InstantServer, tmp_path: Path) -> None:
    """One run through it all: documents wait for whoever takes the results, so it can be held where it is."""
    folder, out = scans(tmp_path / "scans", 80), tmp_path / "out"
    seen: list[tuple[str, bool]] = []

    def until(engine: str) -> float:
        """Take results until one comes from this engine; the seconds of the slowest."""
        slowest = 0.0
        while True:
            before = time.monotonic()
            result = next(stream)
            slowest = max(slowest, time.monotonic() - before)
            assert result.status == "valid", result.error
            seen.append((result.engine, result.fallback))
            time.sleep(0.02)  # no faster than the server is looked at
            if result.engine == engine:
                return slowest

    with InstantProcess("sglang", "--values", '{"company": "ACME"}') as sglang:
        settings = settings_for(f"sglang={sglang.url}", f"vllm={vllm.url}", timeout_seconds=TIMEOUT)
        stream = docflow.iter_records(folder, program=Ticket, out=out, concurrency=1, settings=settings)
        until("sglang")
        sglang.send(signal.SIGSTOP)
        assert until("vllm") < 5 * TIMEOUT
        sglang.send(signal.SIGCONT)
        until("sglang")
        sglang.send(signal.SIGKILL)
        assert until("vllm") < 5 * TIMEOUT
        sglang.start()
        until("sglang")
        seen += [(result.engine, result.fallback) for result in stream]
    assert len(seen) == len(rows(out)) == 80
    assert statuses(rows(out)) == {"valid"}
    assert all(fallback == (engine == "vllm") for engine, fallback in seen)


def test_a_server_that_is_away_for_a_moment_costs_no_document(proxy: FaultProxy, tmp_path: Path) -> None:
    folder, out = scans(tmp_path / "scans", 20), tmp_path / "out"
    proxy.faults.extend([Slow(0.05)] * 200)

    def away() -> None:
        while len(proxy.generations) < 6:
            time.sleep(0.01)
        proxy.refuse()
        time.sleep(0.5)
        proxy.listen()

    thread = threading.Thread(target=away)
    thread.start()
    run, seconds = extract(folder, out, sglang_at(proxy), concurrency=2)
    thread.join()
    assert (run.valid, len(rows(out))) == (20, 20)
    assert seconds < 30


def test_a_server_that_is_gone_for_good_ends_the_run_with_rows_that_a_later_one_completes(
    proxy: FaultProxy, tmp_path: Path
) -> None:
    folder, out = scans(tmp_path / "scans", 20), tmp_path / "out"
    proxy.faults.extend([None] * 6)
    proxy.always = Gone()
    run, seconds = extract(folder, out, sglang_at(proxy), concurrency=2)
    found = rows(out)
    assert len(found) == 20
    assert (run.valid, run.failed, run.exit_code) == (6, 14, 1)
    assert all(row["error"]["hint"] for row in found if row["status"] == "failed")
    assert len(proxy.requests) < 60  # it is left alone, not stormed
    assert seconds < 40
    proxy.always, proxy.everything = None, False
    assert extract(folder, out, sglang_at(proxy), retry_failed=True)[0].valid == 14
    assert len(rows(out)) == 20


def test_a_server_that_dies_again_and_again_is_not_stormed(
    proxy: FaultProxy, vllm: InstantServer, tmp_path: Path
) -> None:
    folder, out = scans(tmp_path / "scans", 60), tmp_path / "out"
    proxy.faults.extend(itertools.chain.from_iterable([None, Dropped(), Dropped(), Dropped()] for _ in range(60)))
    run, _ = extract(folder, out, sglang_at(proxy), f"vllm={vllm.url}", concurrency=4)
    found = rows(out)
    assert (run.valid, len(found)) == (60, 60)
    spoiled = [seen for seen in proxy.generations if seen.fault is not None]
    assert 0 < len(spoiled) < 20
    assert sum(row["fallback"] for row in found) > 20


def test_a_kind_chosen_on_one_server_is_read_on_another_when_the_first_dies_between(tmp_path: Path) -> None:
    folder, out = scans(tmp_path / "scans", 3), tmp_path / "out"
    with (
        InstantServer("sglang", choose="invoice") as sglang,
        InstantServer("vllm", choose="receipt") as vllm,
        FaultProxy(sglang.url) as proxy,
    ):
        proxy.faults.append(None)  # the kind of the first document
        proxy.always = Dropped()
        run, _ = extract(folder, out, sglang_at(proxy), f"vllm={vllm.url}", program="auto", concurrency=1, limit=1)
        assert len(vllm.requests) == 1  # the kind is not asked for again
    (row,) = rows(out)
    assert run.documents == 1
    assert (row["program"], row["requested_program"]) == ("invoice", "auto")
    assert (row["engine"], row["fallback"]) == ("vllm", True)


# --- on the command line ------------------------------------------------------------------------------------------


def command(folder: Path, out: Path, *flags: str) -> list[str]:
    given = ["--program", "receipt", "--grounding", "off", "--runner", "direct", "--out", str(out), *flags]
    return [sys.executable, "-m", "docflow", "extract", str(folder), *given]


def test_no_server_at_all_is_exit_code_3_and_a_sentence(proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.refuse()
    started = time.monotonic()
    ran = subprocess.run(
        command(scans(tmp_path / "scans", 2), tmp_path / "out", "--engine", sglang_at(proxy)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 3
    assert "Traceback" not in ran.stderr
    assert f"127.0.0.1:{proxy.port}" in ran.stderr
    assert "hint" in ran.stderr
    assert time.monotonic() - started < 15
    assert not (tmp_path / "out" / "records").exists()


def test_a_dead_server_with_a_stand_in_that_lives_is_no_reason_to_stop(
    proxy: FaultProxy, vllm: InstantServer, tmp_path: Path
) -> None:
    proxy.refuse()
    flags = ("--engine", sglang_at(proxy), "--fallback", f"vllm={vllm.url}")
    ran = subprocess.run(
        command(scans(tmp_path / "scans", 3), tmp_path / "out", *flags), capture_output=True, text=True, timeout=60
    )
    assert ran.returncode in (0, 1), ran.stderr
    assert "Traceback" not in ran.stderr
    found = rows(tmp_path / "out")
    assert [(row["engine"], row["fallback"]) for row in found] == [("vllm", True)] * 3


def test_ctrl_c_does_not_wait_for_a_hung_server(proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.always = Hang()
    process = subprocess.Popen(
        command(scans(tmp_path / "scans", 4), tmp_path / "out", "--engine", sglang_at(proxy)),
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"DOCFLOW_EXTRACTION__TIMEOUT_SECONDS": "120"},
    )
    deadline = time.monotonic() + 30
    while not proxy.generations and time.monotonic() < deadline:
        time.sleep(0.05)
    interrupted = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - interrupted < 10
    assert "Traceback" not in said
