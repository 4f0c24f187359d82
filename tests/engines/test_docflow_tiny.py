"""docflow-tiny on the real servers: a model that was trained, so that answers can be right, and end by themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from docflow.engines.server import ServerEngine
from docflow.engines.sglang import SglangEngine
from docflow.engines.vllm import VllmEngine
from tests.bench.on_engines.reading import MODEL
from tests.engines.conftest import ROOT, WANTED
from tests.engines.kit.environments import KINDS, Kind
from tests.engines.kit.servers import Server, close_all

sys.path.insert(0, str(MODEL.parents[1]))
sys.path.insert(0, str(MODEL))

from tiny_reader import evaluation

FIELDS = evaluation.PROGRAMS["till"][1]
COUNT = 16
WHOLE = 4
CLIENTS: dict[Kind, type[ServerEngine]] = {"sglang": SglangEngine, "vllm": VllmEngine}


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
def read(engine: ServerEngine) -> dict[evaluation.Look, list[evaluation.Reading]]:
    """The same receipts as the model learned them, and off the grid, where it reads little."""
    looks: tuple[evaluation.Look, ...] = ("grid", "off-grid")
    return {look: list(evaluation.read(engine, evaluation.held_out(COUNT), "till", look)) for look in looks}


def test_receipts_that_it_never_saw_are_read_right(read: dict[evaluation.Look, list[evaluation.Reading]]) -> None:
    right = [hit for reading in read["grid"] for hit, _ in reading.leaves()]
    assert len(right) == COUNT * len(FIELDS)
    assert sum(right) / len(right) >= 0.9


def test_what_is_right_is_more_probable_than_what_is_wrong(
    read: dict[evaluation.Look, list[evaluation.Reading]],
) -> None:
    leaves = [leaf for readings in read.values() for reading in readings for leaf in reading.leaves()]
    right = [confidence for hit, confidence in leaves if hit]
    wrong = [confidence for hit, confidence in leaves if not hit]
    assert len(wrong) > COUNT, "off the grid it reads little"
    assert sum(right) / len(right) > sum(wrong) / len(wrong) + 0.25


def test_an_answer_ends_where_the_record_ends(read: dict[evaluation.Look, list[evaluation.Reading]]) -> None:
    for reading in read["grid"]:
        assert reading.answer is not None
        assert reading.answer.stop == "stop"
        assert reading.answer.usage.output < evaluation.LIMITS.max_tokens / 3


def test_the_goods_of_a_receipt_are_read_in_their_order(engine: ServerEngine) -> None:
    score = evaluation.Score()
    for reading in evaluation.read(engine, evaluation.held_out(WHOLE)):
        assert reading.answer is not None
        assert reading.answer.stop == "stop"
        score.add(reading.receipt.record, reading.values)
    goods = [name for name in score.asked if name.startswith("items.")]
    assert sum(score.right[name] for name in goods) / sum(score.asked[name] for name in goods) >= 0.75
