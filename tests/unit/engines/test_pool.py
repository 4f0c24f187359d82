"""The pool over engines that do as they are told, by a clock that stands still until it is told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from docflow.documents.model import Page
from docflow.engines import crew as crew_module
from docflow.engines import pool as pool_module
from docflow.engines.base import Answer, Health, Limits, Request, Turn, WantJson, WantText
from docflow.engines.crew import HANGS_AFTER, SILENT_SECONDS
from docflow.engines.pool import Pool
from docflow.engines.specs import EngineSpec
from docflow.engines.turns import HOME_SECONDS
from docflow.errors import (
    BadAnswer,
    BrokenDocument,
    DocflowError,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    NoEngine,
)
from docflow.settings import ServerSettings
from tests.unit.engines.test_breaker import Clock

LONG = "Read this receipt. " * 20


class Fake:
    """An engine that answers ``yes``, raises what it is told to, or does what it is told."""

    def __init__(self, name: str = "sglang", model: str = "tiny") -> None:
        self.name, self.model = name, model
        self.asked: list[str] = []
        self.says = "yes"
        self.down = self.gone = False
        self.does: Callable[[Request], DocflowError | None] | None = None
        self.drop: Callable[[], None] = lambda: None
        self.closed = False

    def answer(self, request: Request) -> Answer:
        self.asked.append(request.pages[0].document_id if request.pages else "")
        error: DocflowError | None = EngineUnavailable("http://host:1 cannot be reached") if self.down else None
        if self.does is not None:
            error = self.does(request)
        if error is not None:
            raise error
        return Answer(self.says, engine=self.name, model=self.model)

    def health(self) -> Health:
        model = "" if self.down else self.model
        return Health(not self.down, model, "http://host:1 cannot be reached", gone=self.gone)

    def close(self) -> None:
        self.closed = True


BLANK = Image.new("RGB", (10, 10))


def ask(document: str = "d", *, system: str = "") -> Request:
    page = Page(document, 1, 10, 10, "px", lambda page, side, pixels: BLANK)
    turns = (Turn("system", (system,)), Turn("user", (page, "read")))
    return Request(turns, WantText(), limits=Limits(timeout_seconds=5))


def error(kind: type[EngineError], **what: Any) -> EngineError:
    made = kind("http://host:1 did badly")
    for name, value in what.items():
        setattr(made, name, value)
    return made


class Made:
    """Pools of a test, with their clock; closed at its end."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pools: list[Pool] = []
        self.threads = ThreadPoolExecutor(16)

    def __call__(self, *tiers: dict[str, Fake], **how: Any) -> Pool:
        named = [[(EngineSpec.parse(name), engine) for name, engine in tier.items()] for tier in tiers]
        # Nobody looks after servers here but the test, by ``look``.
        settings = ServerSettings(**({"health_seconds": 1000, "failures": 1} | how))
        pool = Pool(named, settings, clock=self.clock)
        self.pools.append(pool)
        return pool

    def start(self, pool: Pool, request: Request) -> Future[Answer]:
        return self.threads.submit(pool.answer, request)

    def pass_time(self, pool: Pool, seconds: float) -> None:
        self.clock.now += seconds
        pool.look()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    monkeypatch.setattr(pool_module, "PAUSES", (0.0,) * 8)
    made = Made()
    yield made
    for pool in made.pools:
        pool.close()
    made.threads.shutdown()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pool-")]


def until(true: Callable[[], object]) -> None:
    """Wait until something is true that another thread brings about."""
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# --- who is asked -------------------------------------------------------------------------------------------------


def test_equals_share_the_documents_by_their_weights(made: Made) -> None:
    a, b = Fake(), Fake()
    pool = made({"sglang=http://a:1?weight=2": a, "sglang=http://b:1": b})
    for number in range(300):
        pool.answer(ask(f"d{number}"))
    assert (len(a.asked), len(b.asked)) == (200, 100)


def test_a_documents_calls_go_to_the_server_that_has_its_page(made: Made) -> None:
    a, b = Fake(), Fake()
    pool = made({"sglang=http://a:1": a, "sglang=http://b:1": b})
    for _ in range(5):
        for number in range(20):
            pool.answer(ask(f"d{number}"))
    assert len(a.asked) == len(b.asked) == 50
    assert not set(a.asked) & set(b.asked)


def test_when_a_server_dies_its_documents_move_and_the_others_stay(made: Made) -> None:
    servers = [Fake(), Fake(), Fake()]
    pool = made({f"sglang=http://h{number}:1": server for number, server in enumerate(servers)})
    for number in range(30):
        pool.answer(ask(f"d{number}"))
    homes = [set(server.asked) for server in servers]
    servers[0].down = True
    for _ in range(3):
        for number in range(30):
            pool.answer(ask(f"d{number}"))
    assert len(servers[0].asked) == 11  # ten documents of its own, and the one by which it was found out
    assert homes[1] <= set(servers[1].asked)
    assert not set(servers[1].asked) & set(servers[2].asked)
    assert 13 <= len(set(servers[1].asked)) <= 17


def test_a_document_in_the_middle_of_its_program_goes_before_a_new_one(made: Made) -> None:
    gate = threading.Event()
    engine = Fake()
    pool = made({"sglang=http://a:1": engine}, requests=1)
    pool.answer(ask("begun"))
    engine.does = lambda request: gate.wait(5) and None
    futures = [made.start(pool, ask("running"))]
    until(lambda: len(engine.asked) == 2)
    for document in ("new", "begun"):
        futures.append(made.start(pool, ask(document)))
        until(lambda: len(pool._turns.waiting) == len(futures) - 1)
    gate.set()
    for future in futures:
        future.result(5)
    assert engine.asked == ["begun", "running", "begun", "new"]


def test_no_more_requests_are_at_a_server_than_it_may_have(made: Made) -> None:
    lock, now, most = threading.Lock(), Counter[str](), Counter[str]()

    def busy(request: Request) -> None:
        with lock:
            now["in"] += 1
            most["in"] = max(most["in"], now["in"])
        time.sleep(0.002)
        with lock:
            now["in"] -= 1

    engine = Fake()
    engine.does = busy
    pool = made({"sglang=http://a:1": engine}, requests=3)
    for future in [made.start(pool, ask(f"d{number}")) for number in range(60)]:
        future.result(5)
    assert most["in"] == 3


def test_a_full_servers_document_moves_to_one_that_stands_empty(made: Made) -> None:
    gate = threading.Event()
    a, b = Fake(), Fake()
    pool = made({"sglang=http://a:1": a, "sglang=http://b:1": b}, requests=4)
    first = ask("first")
    pool.answer(first)
    home, other = (a, b) if a.asked else (b, a)
    other.down = True
    home.does = lambda request: gate.wait(5) and None
    waiting = [made.start(pool, ask("first")) for _ in range(4)]
    until(lambda: len(home.asked) == 5)
    other.down = False
    assert made.start(pool, first).result(5).text == "yes"
    assert other.asked == ["first"]
    gate.set()
    for future in waiting:
        future.result(5)


def test_the_shared_beginning_is_sent_once_before_the_crowd(made: Made) -> None:
    gate = threading.Event()
    engine = Fake()
    engine.does = lambda request: gate.wait(5) and None
    pool = made({"sglang=http://a:1": engine})
    futures = [made.start(pool, ask(f"d{number}", system=LONG)) for number in range(8)]
    until(lambda: len(pool._turns.waiting) == 7)
    assert len(engine.asked) == 1
    assert made.start(pool, ask("other", system=LONG.upper())) is not None
    until(lambda: len(engine.asked) == 2)  # another beginning waits for nobody
    gate.set()
    for future in futures:
        future.result(5)


def test_the_first_call_of_a_page_goes_before_its_forks(made: Made) -> None:
    gate = threading.Event()
    engine = Fake()
    pool = made({"sglang=http://a:1": engine})
    pool.answer(ask("another", system=LONG))
    engine.does = lambda request: gate.wait(5) and None
    forks = [made.start(pool, ask("page", system=LONG)) for _ in range(4)]
    until(lambda: len(pool._turns.waiting) == 3)
    assert engine.asked == ["another", "page"]
    gate.set()
    for fork in forks:
        fork.result(5)


# --- what fails ---------------------------------------------------------------------------------------------------


def test_a_request_that_fails_is_answered_by_the_next_and_the_answer_says_so(made: Made) -> None:
    a, b, c = Fake(), Fake(), Fake("vllm", "other")
    pool = made({"sglang=http://a:1": a, "sglang=http://b:1": b}, {"vllm=http://c:1": c})
    assert pool.health().ok
    a.down = b.down = True
    answer = pool.answer(ask())
    assert (answer.engine, answer.model, answer.attempts, answer.fallback) == ("vllm", "other", 3, True)
    assert pool.answer(ask("e")).attempts == 1
    assert (pool.name, pool.model) == ("sglang", "tiny")


def test_the_primary_gets_one_trial_and_then_its_work_again(made: Made) -> None:
    a, c = Fake(), Fake("vllm")
    pool = made({"sglang=http://a:1": a}, {"vllm=http://c:1": c})
    a.down = True
    assert pool.answer(ask("d0")).fallback
    a.down = False
    assert pool.answer(ask("d1")).fallback  # it rests
    made.pass_time(pool, 5)
    gate = threading.Event()
    a.does = lambda request: gate.wait(5) and None
    trial = made.start(pool, ask("d2"))
    until(lambda: len(a.asked) == 2)
    assert pool.answer(ask("d3")).fallback  # one at a time
    gate.set()
    assert not trial.result(5).fallback
    assert not pool.answer(ask("d4")).fallback
    assert pool.answer(ask("d1")).fallback  # begun there, its page is there
    assert pool.note == "sglang at a:1 is back"
    made.pass_time(pool, HOME_SECONDS)
    assert not pool.answer(ask("d1")).fallback


def test_a_server_that_asks_to_be_left_alone_is(made: Made) -> None:
    a, b = Fake(), Fake()
    pool = made({"sglang=http://a:1": a, "sglang=http://b:1": b})
    a.does = lambda request: error(EngineUnavailable, retry_after=30.0)
    for number in range(10):
        assert pool.answer(ask(f"d{number}")).text == "yes"
    assert len(a.asked) == 1
    assert [server.state for server in pool.status()] == ["closed", "closed"]
    a.does = None
    made.clock.now += 30
    for number in range(10):
        pool.answer(ask(f"e{number}"))
    assert len(a.asked) > 1


def test_a_lone_server_that_asks_to_be_left_alone_is_waited_for(made: Made) -> None:
    a = Fake()
    pool = made({"sglang=http://a:1": a})
    errors = [error(EngineUnavailable, retry_after=30.0)]
    a.does = lambda request: errors.pop() if errors else None
    future = made.start(pool, ask())
    until(lambda: len(pool._turns.waiting) == 1 and not errors)
    made.pass_time(pool, 29)
    assert len(a.asked) == 1
    made.pass_time(pool, 1)
    assert future.result(5).attempts == 2


def test_a_server_without_room_that_says_no_time_rests_longer_each_time_and_is_not_away(made: Made) -> None:
    a = Fake()
    pool = made({"sglang=http://a:1": a})
    errors = [error(EngineUnavailable, no_room=True) for _ in range(3)]
    a.does = lambda request: errors.pop() if errors else None
    future = made.start(pool, ask())
    for asked, seconds in ((1, 1), (2, 2), (3, 4)):
        until(lambda asked=asked: len(pool._turns.waiting) == 1 and len(a.asked) == asked)
        made.pass_time(pool, seconds - 0.1)
        assert len(pool._turns.waiting) == 1
        made.pass_time(pool, 0.1)
    assert future.result(5).attempts == 4
    assert [server.state for server in pool.status()] == ["closed"]
    errors.append(error(EngineUnavailable, no_room=True))  # after an answer, the first rest is the shortest again
    future = made.start(pool, ask("e"))
    until(lambda: len(pool._turns.waiting) == 1 and len(a.asked) == 5)
    made.pass_time(pool, 1)
    assert future.result(5).attempts == 2


def test_a_server_that_never_has_room_is_waited_for_as_long_as_a_restart_may_take(made: Made) -> None:
    a = Fake()
    pool = made({"sglang=http://a:1": a}, wait_seconds=10)
    a.does = lambda request: error(EngineUnavailable, no_room=True)
    future = made.start(pool, ask())
    for asked, seconds in ((1, 1), (2, 2), (3, 4), (4, 8)):
        until(lambda asked=asked: len(pool._turns.waiting) == 1 and len(a.asked) == asked)
        made.pass_time(pool, seconds)
    with pytest.raises(EngineUnavailable) as raised:
        future.result(5)
    assert raised.value.attempts == 5


def test_what_one_server_has_no_room_for_is_answered_by_another(made: Made) -> None:
    a, c = Fake(), Fake("vllm")
    pool = made({"sglang=http://a:1": a}, {"vllm=http://c:1": c})
    a.does = lambda request: error(EngineUnavailable, no_room=True)
    assert pool.answer(ask()).fallback
    assert [server.state for server in pool.status()] == ["closed", "closed"]


def test_what_a_server_refuses_is_not_sent_elsewhere(made: Made) -> None:
    a, b = Fake(), Fake()
    pool = made({"sglang=http://a:1": a, "sglang=http://b:1": b})
    a.does = b.does = lambda request: error(EngineRefused)
    with pytest.raises(EngineRefused) as raised:
        pool.answer(ask())
    assert len(a.asked) + len(b.asked) == raised.value.attempts == 1


def test_what_only_one_server_cannot_do_is_asked_of_the_others(made: Made) -> None:
    a, c = Fake(), Fake("vllm")
    pool = made({"sglang=http://a:1": a}, {"vllm=http://c:1": c})
    first = error(EngineRefused, elsewhere=True)
    a.does = lambda request: first
    assert pool.answer(ask()).engine == "vllm"
    c.does = lambda request: error(EngineRefused, elsewhere=True)
    with pytest.raises(EngineRefused) as raised:
        pool.answer(ask("e"))
    assert raised.value is first
    assert raised.value.attempts == 2


def test_a_bad_answer_is_asked_for_once_more_elsewhere(made: Made) -> None:
    servers = [Fake(), Fake(), Fake()]
    pool = made({f"sglang=http://h{number}:1": server for number, server in enumerate(servers)})
    for server in servers:
        server.does = lambda request: error(BadAnswer)
    with pytest.raises(BadAnswer) as raised:
        pool.answer(ask())
    assert sum(len(server.asked) for server in servers) == raised.value.attempts == 2
    lone = made({"sglang=http://a:1": servers[0]})
    with pytest.raises(BadAnswer) as raised:
        lone.answer(ask())
    assert raised.value.attempts == 1


def test_a_server_whose_answers_are_bad_where_anothers_are_good_is_left_alone(made: Made) -> None:
    a, c = Fake(), Fake("vllm")
    pool = made({"sglang=http://a:1": a}, {"vllm=http://c:1": c}, failures=2)
    a.does = lambda request: error(BadAnswer)
    assert [pool.answer(ask(f"d{number}")).engine for number in range(5)] == ["vllm"] * 5
    assert len(a.asked) == 2
    assert pool.status()[0].state == "open"
    assert "did badly" in pool.note
    made.pass_time(pool, 5)  # it says that it is well: one request tries it, and is answered as badly
    assert pool.answer(ask("e0")).engine == "vllm"
    assert pool.answer(ask("e1")).engine == "vllm"
    assert len(a.asked) == 3
    a.does = None
    made.pass_time(pool, 10)
    assert pool.answer(ask("f0")).engine == "sglang"
    assert [pool.answer(ask(f"f{number}")).engine for number in range(1, 4)] == ["sglang"] * 3


def test_a_server_that_loses_its_grammar_is_left_alone(made: Made) -> None:
    a, c = Fake(), Fake("vllm")
    pool = made({"sglang=http://a:1": a}, {"vllm=http://c:1": c}, failures=2)
    schema = {"type": "object", "properties": {}, "required": []}

    def asked(document: str) -> Request:
        return replace(ask(document), want=WantJson(schema))

    c.says = "{}"
    assert [pool.answer(asked(f"d{number}")).engine for number in range(4)] == ["vllm"] * 4
    assert len(a.asked) == 2
    made.pass_time(pool, 5)
    assert [pool.answer(asked(f"e{number}")).engine for number in range(3)] == ["vllm"] * 3
    assert len(a.asked) == 3
    a.says = "{}"
    made.pass_time(pool, 10)
    assert pool.answer(asked("f")).engine == "sglang"


def test_what_every_server_answers_badly_is_the_requests_fault(made: Made) -> None:
    a, c = Fake(), Fake("vllm")
    pool = made({"sglang=http://a:1": a}, {"vllm=http://c:1": c})
    a.does = c.does = lambda request: error(BadAnswer)
    for number in range(5):
        with pytest.raises(BadAnswer):
            pool.answer(ask(f"d{number}"))
    assert [server.state for server in pool.status()] == ["closed", "closed"]


def test_two_times_without_an_answer_are_enough(made: Made) -> None:
    servers = [Fake(), Fake(), Fake()]
    pool = made({f"sglang=http://h{number}:1": server for number, server in enumerate(servers)}, failures=5)
    for server in servers:
        server.does = lambda request: error(EngineTimeout)
    with pytest.raises(EngineTimeout):
        pool.answer(ask())
    assert sum(len(server.asked) for server in servers) == 2


def test_a_lone_server_that_drops_connections_is_asked_again_within_bounds(made: Made) -> None:
    a = Fake()
    pool = made({"sglang=http://a:1": a}, failures=100)
    errors: list[EngineError] = [error(EngineUnavailable) for _ in range(3)]
    a.does = lambda request: errors.pop() if errors else None
    assert pool.answer(ask()).attempts == 4
    a.down, a.does = True, None
    with pytest.raises(EngineUnavailable) as raised:
        pool.answer(ask())
    assert raised.value.attempts == pool_module.MOST_SENT


def test_what_is_wrong_with_the_page_says_nothing_of_the_server(made: Made) -> None:
    a = Fake()
    pool = made({"sglang=http://a:1": a})
    a.does = lambda request: BrokenDocument("truncated")
    with pytest.raises(BrokenDocument):
        pool.answer(ask())
    [status] = pool.status()
    assert (status.state, status.in_flight) == ("closed", 0)


def test_credentials_do_not_show_in_errors_and_reasons(made: Made) -> None:
    a = Fake()
    pool = made({"sglang=http://me:hunter2@a:1": a})
    a.does = lambda request: EngineUnavailable(
        "http://me:hunter2@a:1 said hunter2", hint="not hunter2", retryable=False
    )
    with pytest.raises(EngineUnavailable) as raised:
        pool.answer(ask())
    assert "hunter2" not in f"{raised.value.message} {raised.value.hint} {pool.status()} {pool.note}"


# --- nobody is left -----------------------------------------------------------------------------------------------


def test_with_all_away_requests_wait_and_go_on_when_one_is_back(made: Made) -> None:
    a = Fake()
    pool = made({"sglang=http://a:1": a})
    a.down = True
    futures = [made.start(pool, ask(f"d{number}")) for number in range(8)]
    until(lambda: a.asked and len(pool._turns.waiting) == 8)
    made.pass_time(pool, 60)
    assert not any(future.done() for future in futures)
    a.down = False
    made.pass_time(pool, 30)
    assert [future.result(5).text for future in futures] == ["yes"] * 8


def test_with_all_away_for_long_nobody_waits_any_more_until_one_is_back(made: Made) -> None:
    a, c = Fake(), Fake("vllm")
    pool = made({"sglang=http://me:hunter2@a:1": a}, {"vllm=http://c:1": c})
    a.down = c.down = True
    future = made.start(pool, ask())
    until(lambda: a.asked and len(pool._turns.waiting) == 1)
    made.pass_time(pool, 120)
    with pytest.raises(NoEngine) as raised:
        future.result(5)
    assert "sglang at a:1: http://host:1 cannot be reached; vllm at c:1" in raised.value.message
    assert "hunter2" not in raised.value.message
    assert raised.value.retryable
    with pytest.raises(NoEngine):
        pool.answer(ask())
    c.down = False
    made.pass_time(pool, 60)
    assert pool.answer(ask()).engine == "vllm"


def test_a_server_that_hangs_loses_what_it_has_to_the_others(made: Made) -> None:
    a, c = Fake(), Fake("vllm")
    pool = made({"sglang=http://a:1": a}, {"vllm=http://c:1": c})
    dropped = threading.Event()

    def hang(request: Request) -> EngineError:
        assert dropped.wait(5)
        return EngineUnavailable("the connections are closed")

    a.does, a.drop = hang, dropped.set
    futures = [made.start(pool, ask(f"d{number}")) for number in range(3)]
    until(lambda: len(a.asked) == 3)
    made.pass_time(pool, 1)
    for _ in range(HANGS_AFTER):  # it is well as long as it says so, however long an answer takes
        made.pass_time(pool, SILENT_SECONDS)
    assert not dropped.is_set()
    a.down = True
    made.pass_time(pool, SILENT_SECONDS)
    made.pass_time(pool, 1)
    assert not dropped.is_set()
    made.pass_time(pool, 1)
    assert [future.result(5).engine for future in futures] == ["vllm"] * 3
    assert pool.status()[0].state == "open"


def test_closing_ends_the_waiting(made: Made) -> None:
    a = Fake()
    pool = made({"sglang=http://a:1": a})
    a.down = True
    future = made.start(pool, ask())
    until(lambda: a.asked and len(pool._turns.waiting) == 1)
    pool.close()
    with pytest.raises(EngineUnavailable):
        future.result(1)
    assert a.closed


def test_the_last_resort_answers_only_when_servers_stay_away(made: Made) -> None:
    a, last = Fake(), Fake("embedded", "rules")
    pool = made({"sglang=http://a:1": a}, {"embedded": last})
    a.down = True
    future = made.start(pool, ask())
    until(lambda: a.asked and len(pool._turns.waiting) == 1)
    assert not last.asked
    made.pass_time(pool, 30)
    answer = future.result(5)
    assert (answer.engine, answer.fallback) == ("embedded", True)
    a.down = False
    made.pass_time(pool, 30)
    assert pool.answer(ask("e")).engine == "sglang"
    assert pool.model == "tiny"


def test_the_last_resort_answers_at_once_where_nobody_was_ever_there(made: Made) -> None:
    a, last = Fake(), Fake("embedded", "rules")
    pool = made({"sglang=http://a:1": a}, {"embedded": last})
    a.down = a.gone = True
    assert pool.health().ok
    assert pool.note.endswith("; the embedded engine takes over")
    assert pool.answer(ask()).engine == "embedded"
    a.down = a.gone = False
    made.pass_time(pool, 5)
    assert pool.answer(ask("e")).engine == "sglang"
    a.down = a.gone = True  # it was there: a restart is waited for
    future = made.start(pool, ask("f"))
    until(lambda: len(a.asked) == 2 and len(pool._turns.waiting) == 1)
    made.pass_time(pool, 10)
    assert not future.done()
    made.pass_time(pool, 20)
    assert future.result(5).engine == "embedded"


def test_at_the_start_the_model_is_the_first_engines_and_else_another_servers(made: Made) -> None:
    a, c, last = Fake(model="first"), Fake("vllm", "second"), Fake("embedded", "rules")
    tiers = ({"sglang=http://a:1": a}, {"vllm=http://c:1": c}, {"embedded": last})
    assert made(*tiers).model == "first"
    a.down = True
    pool = made(*tiers)
    assert pool.health().ok
    assert pool.note == "sglang at a:1 is away (http://host:1 cannot be reached); vllm at c:1 takes over"
    a.down = False
    made.pass_time(pool, 5)
    assert pool.answer(ask()).model == "first"
    assert pool.model == "second"
    c.down = a.down = True
    assert made(*tiers[:2]).health() == Health(
        False, detail="sglang at a:1: http://host:1 cannot be reached; vllm at c:1: http://host:1 cannot be reached"
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["yes", "down", "slow", "bad", "refused", "elsewhere", "busy", "full"]), max_size=60))
def test_whatever_servers_do_every_request_ends_and_no_place_is_lost(script: list[str]) -> None:
    kinds: dict[str, Callable[[], EngineError | None]] = {
        "yes": lambda: None,
        "down": lambda: error(EngineUnavailable),
        "slow": lambda: error(EngineTimeout),
        "bad": lambda: error(BadAnswer),
        "refused": lambda: error(EngineRefused),
        "elsewhere": lambda: error(EngineRefused, elsewhere=True),
        "busy": lambda: error(EngineUnavailable, retry_after=0.0),
        "full": lambda: error(EngineUnavailable, no_room=True),
    }
    lock, ends = threading.Lock(), list(script)

    def do(request: Request) -> EngineError | None:
        with lock:
            return kinds[ends.pop()]() if ends else None

    servers = [Fake(), Fake(), Fake("vllm")]
    for server in servers:
        server.does = do
    specs = [EngineSpec.parse(f"{server.name}=http://h{number}:1") for number, server in enumerate(servers)]
    ways = ServerSettings(requests=2, failures=2, rest_seconds=0.001, health_seconds=0.001, wait_seconds=5)
    pauses, pool_module.PAUSES = pool_module.PAUSES, (0.0,) * 8
    rest, crew_module.LEAST_REST = crew_module.LEAST_REST, 0.0
    pool = Pool([list(zip(specs[:2], servers[:2], strict=True)), [(specs[2], servers[2])]], ways)
    try:
        with ThreadPoolExecutor(8) as threads:
            futures = [threads.submit(pool.answer, ask(f"d{number % 5}", system=LONG)) for number in range(16)]
            errors = [future.exception(20) for future in futures]
        assert all(isinstance(raised, EngineError) for raised in errors if raised is not None)
        assert all(server.in_flight == 0 for server in pool.status())
        assert pool._turns.waiting == []
        assert all(not server.gate._leads and server.trial is None for server in pool._servers)
    finally:
        pool.close()
        pool_module.PAUSES, crew_module.LEAST_REST = pauses, rest
