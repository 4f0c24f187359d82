"""docflow-tiny on the real servers: a model that was trained, so that answers can be right, and end by themselves."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from docflow.documents import Decoder, from_bytes
from docflow.engines.base import Answer, Limits
from docflow.engines.bridge import run_program
from docflow.engines.server import ServerEngine
from docflow.engines.sglang import SglangEngine
from docflow.engines.vllm import VllmEngine
from tests.engines.conftest import ROOT, WANTED
from tests.engines.kit.environments import KINDS, Kind
from tests.engines.kit.servers import Server, close_all

MODEL = Path(__file__).parents[2] / "samples" / "models" / "docflow-tiny"
sys.path.insert(0, str(MODEL.parents[1]))
sys.path.insert(0, str(MODEL))

from tiny_reader import evaluation  # noqa: E402

COUNT = 16
WHOLE = 4
LIMITS = Limits(max_tokens=700, timeout_seconds=120)
CLIENTS: dict[Kind, type[ServerEngine]] = {"sglang": SglangEngine, "vllm": VllmEngine}


@dataclass(frozen=True)
class Reading:
    """What a server answered to one receipt, and what it should have."""

    answer: Answer
    truth: dict[str, str | None]

    def leaves(self) -> Iterator[tuple[bool, float]]:
        """Of every field whether it is right, and how probable the model found it."""
        found = json.loads(self.answer.text)
        for name, value in self.truth.items():
            confidence = self.answer.hints[name].confidence
            assert confidence is not None
            yield found[name] == value, confidence


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[Kind, Server]]:
    if not WANTED:
        pytest.skip("no servers: `make test-engines` starts them")
    started: dict[Kind, Server] = {}
    try:
        for kind in KINDS:
            started[kind] = Server(ROOT, kind, model=MODEL).start()
        yield {kind: server.wait_ready() for kind, server in started.items()}
    finally:
        close_all(list(started.values()))


@pytest.fixture(scope="module", params=KINDS)
def engine(request: pytest.FixtureRequest, servers: dict[Kind, Server]) -> Iterator[ServerEngine]:
    made = CLIENTS[request.param](servers[request.param].url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def read(engine: ServerEngine) -> dict[evaluation.Look, list[Reading]]:
    """The same receipts as the model learned them, and off the grid, where it reads little."""
    program, fields = evaluation.PROGRAMS["till"]
    found: dict[evaluation.Look, list[Reading]] = {"grid": [], "off-grid": []}
    with Decoder(workers=1) as decoder:
        for receipt in evaluation.held_out(COUNT):
            for look, readings in found.items():
                document = decoder.open(from_bytes(evaluation.png(receipt, look), name="receipt.png"))
                answer = run_program(program, document.pages, engine, LIMITS).answer("record")
                readings.append(Reading(answer, {name: receipt.record[name] for name in fields}))
    return found


def test_receipts_that_it_never_saw_are_read_right(read: dict[evaluation.Look, list[Reading]]) -> None:
    right = [hit for reading in read["grid"] for hit, _ in reading.leaves()]
    assert len(right) == COUNT * 8
    assert sum(right) / len(right) >= 0.9


def test_what_is_right_is_more_probable_than_what_is_wrong(read: dict[evaluation.Look, list[Reading]]) -> None:
    leaves = [leaf for readings in read.values() for reading in readings for leaf in reading.leaves()]
    right = [confidence for hit, confidence in leaves if hit]
    wrong = [confidence for hit, confidence in leaves if not hit]
    assert len(wrong) > COUNT, "off the grid it reads little"
    dice = random.Random(1)
    pairs = [(dice.choice(right), dice.choice(wrong)) for _ in range(5000)]
    assert sum(sure > unsure for sure, unsure in pairs) / len(pairs) > 0.8


def test_an_answer_ends_where_the_record_ends(read: dict[evaluation.Look, list[Reading]]) -> None:
    for reading in read["grid"]:
        assert reading.answer.stop == "stop"
        assert reading.answer.usage.output < LIMITS.max_tokens / 3


def test_the_goods_of_a_receipt_are_read_in_their_order(engine: ServerEngine) -> None:
    program, _ = evaluation.PROGRAMS["receipt"]
    score = evaluation.Score()
    with Decoder(workers=1) as decoder:
        for receipt in evaluation.held_out(WHOLE):
            document = decoder.open(from_bytes(evaluation.png(receipt), name="receipt.png"))
            answer = run_program(program, document.pages, engine, LIMITS).answer("record")
            assert answer.stop == "stop"
            score.add(receipt.record, json.loads(answer.text))
    goods = [name for name in score.asked if name.startswith("items.")]
    assert sum(score.right[name] for name in goods) / sum(score.asked[name] for name in goods) >= 0.75
