"""What docflow makes of real servers that fail: killed, frozen, and behind a proxy that spoils their answers.

The other faults, and these ones again in more ways, are in tests/integration with a server that answers at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import sglang as sgl
from pydantic import BaseModel, Field

import docflow
from docflow.errors import EngineError
from docflow.program import ask_as, images, program, program_for
from tests.engines.conftest import ROOT, WANTED, _must_be_wanted
from tests.engines.faults import (
    CutShort,
    Drip,
    Dropped,
    Fault,
    FaultProxy,
    Half,
    Hang,
    ResetMidway,
    Said,
    Status,
)
from tests.engines.kit.environments import KitError
from tests.engines.kit.servers import Server
from tests.engines.loopback import Received
from tests.engines.scenes import extract, rows, scans, settings_for, statuses

TIMEOUT = 6.0
"""Seconds for an answer: twenty times what one takes on an idle machine."""


class Look(BaseModel):
    """Leaves that a grammar ends by itself: a model of random weights would fill a text to the last token."""

    signed: bool | None = None
    paper: Literal["white", "yellow", "blue"] | None = None


class Stamp(BaseModel):
    round: bool | None = None


class Wordy(BaseModel):
    signed: bool | None = Field(None, description="whether a hand has signed it " * 1_000)


look = program_for(Look, "look")
stamp = program_for(Stamp, "stamp")


@program(kinds=(look, stamp))
def either(s: Any, pages: Any) -> None:
    s += sgl.user(images(pages) + "What is this?")
    s += sgl.assistant(sgl.select("kind", choices=["look", "stamp"]))
    ask_as(s, look if s["kind"] == "look" else stamp)


@pytest.fixture(scope="module", autouse=True)
def _own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of our own to kill; it comes up while the first tests are at work with the shared ones."""
    server = Server(ROOT, "sglang")
    if WANTED and any("victim" in getattr(item, "fixturenames", ()) for item in request.session.items):
        server.start()
    yield server
    server.close()


@pytest.fixture
def victim(_own_server: Server) -> Server:
    """The server to kill, well."""
    _must_be_wanted()
    try:
        return _own_server.wait_ready()
    except KitError:  # a test has killed it
        return _own_server.restart().wait_ready()


@dataclass(frozen=True)
class KilledMidway(Fault):
    """The server is killed while it has the request."""

    server: Server

    async def apply(self, request: Received, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        self.server.stop()  # else it might have answered before the signal comes
        answer = asyncio.create_task(proxy.forward(request))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(self.server.kill)
        writer.write(await answer)


FAULTS: dict[str, Fault] = {
    "500": Status(500),
    "429": Status(429, retry_after=1),
    "dropped": Dropped(),
    "reset in mid-answer": ResetMidway(),
    "cut short": CutShort(),
    "half a JSON": Half(),
    "nothing said": Said(""),
    "half said": Said(lambda text: text[: len(text) // 2]),
    "white space": Said(" \n" * 200, "length"),
    "dripping": Drip(every_seconds=0.05),
    "hung": Hang(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_one_bad_answer_costs_no_document(fault: Fault, sglang_url: str, tmp_path: Path) -> None:
    with FaultProxy(sglang_url) as proxy:
        proxy.faults.extend([None, fault])
        run, seconds = extract(
            scans(tmp_path / "scans", 2),
            tmp_path / "out",
            f"sglang={proxy.url}",
            program=look,
            concurrency=1,
            settings={"timeout_seconds": 2.0},
        )
        assert len(proxy.generations) == 3
    assert (run.valid, len(rows(tmp_path / "out"))) == (2, 2)
    assert seconds < 20


def test_a_server_of_nothing_but_faults_leaves_the_work_to_its_stand_in(
    sglang_url: str, vllm_url: str, tmp_path: Path
) -> None:
    with FaultProxy(sglang_url) as proxy:
        proxy.always = ResetMidway()
        run, _ = extract(
            scans(tmp_path / "scans", 6),
            tmp_path / "out",
            f"sglang={proxy.url}",
            f"vllm={vllm_url}",
            program=look,
            settings={"timeout_seconds": TIMEOUT},
        )
        assert len(proxy.generations) <= 6
    found = rows(tmp_path / "out")
    assert (run.valid, len(found)) == (6, 6)
    assert {(row["requested_engine"], row["engine"], row["fallback"]) for row in found} == {("sglang", "vllm", True)}


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
def test_a_model_that_the_server_does_not_have_is_said_at_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    with pytest.raises(EngineError, match="another-model"):
        extract(scans(tmp_path / "scans", 1), tmp_path / "out", f"{kind}={url}?model=another-model", program=look)


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
def test_a_prompt_longer_than_the_context_is_a_failed_row_that_says_so(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    run, _ = extract(
        scans(tmp_path / "scans", 1), tmp_path / "out", f"{kind}={url}", program=program_for(Wordy, "wordy")
    )
    (row,) = rows(tmp_path / "out")
    assert (run.failed, row["error"]["type"], row["error"]["retryable"]) == (1, "EngineRefused", False)
    assert "context" in row["error"]["message"] + row["error"]["hint"]


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
def test_an_answer_cut_off_by_its_limit_is_no_record(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    run, _ = extract(
        scans(tmp_path / "scans", 1),
        tmp_path / "out",
        f"{kind}={url}",
        program=look,
        settings={"extraction.max_tokens": 3},
    )
    (row,) = rows(tmp_path / "out")
    assert (run.failed, row["error"]["type"]) == (1, "BadAnswer")
    assert row["error"]["hint"]


def test_an_answer_that_takes_longer_than_allowed_is_a_failed_row(sglang_url: str, tmp_path: Path) -> None:
    run, seconds = extract(
        scans(tmp_path / "scans", 1),
        tmp_path / "out",
        f"sglang={sglang_url}",
        program=look,
        settings={"timeout_seconds": 0.02},
    )
    (row,) = rows(tmp_path / "out")
    assert (run.failed, row["error"]["type"] in ("EngineTimeout", "NoEngine")) == (1, True)
    assert "did not answer within" in row["error"]["message"]
    assert seconds < 30


@pytest.mark.timeout(900)  # two starts of a server, on a machine that may have other work
def test_a_server_frozen_killed_and_started_again_costs_no_document(
    victim: Server, vllm_url: str, tmp_path: Path
) -> None:
    """One run through it all: documents wait for whoever takes the results, so it can be held where it is."""
    folder, out = scans(tmp_path / "scans", 60), tmp_path / "out"
    settings = settings_for(f"sglang={victim.url}", f"vllm={vllm_url}", timeout_seconds=TIMEOUT)
    stream = docflow.iter_records(folder, program=look, out=out, concurrency=1, settings=settings)
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
            if result.engine == engine:
                return slowest

    until("sglang")
    victim.stop()
    assert until("vllm") < 3 * TIMEOUT
    victim.cont()
    until("sglang")  # back at the first engine, once it was seen to be well
    victim.kill()
    assert until("vllm") < 3 * TIMEOUT
    victim.restart().wait_ready()
    until("sglang")
    for result in stream:
        seen.append((result.engine, result.fallback))
    assert len(seen) == 60
    assert all(fallback == (engine == "vllm") for engine, fallback in seen)
    found = rows(out)
    assert (len(found), statuses(found)) == (60, {"valid"})


@pytest.mark.timeout(900)
def test_a_kind_chosen_before_the_kill_is_read_by_the_stand_in(victim: Server, vllm_url: str, tmp_path: Path) -> None:
    folder = scans(tmp_path / "scans", 1)
    with FaultProxy(victim.url) as proxy:
        proxy.faults.extend([None, KilledMidway(victim)])
        run, _ = extract(
            folder,
            tmp_path / "out",
            f"sglang={proxy.url}",
            f"vllm={vllm_url}",
            program=either,
            settings={"timeout_seconds": TIMEOUT},
        )
        assert len(proxy.generations) == 2
    (row,) = rows(tmp_path / "out")
    assert (run.valid, row["requested_program"], row["engine"], row["fallback"]) == (1, "either", "vllm", True)
    with pytest.raises(EngineError, match=str(victim.port)):
        extract(folder, tmp_path / "none", f"sglang={victim.url}", program=look)
