"""Who goes to a server when: room, and the first of a crowd alone."""

from __future__ import annotations

from docflow.documents.model import Page
from docflow.engines.admission import KEPT_SECONDS, Gate, Ticket, beginnings_of
from docflow.engines.base import Request, Turn, WantText
from tests.unit.engines.test_breaker import Clock


def page(document: str, number: int = 1) -> Page:
    return Page(document, number, 10, 10, "px", lambda page, side, pixels: None)  # type: ignore[arg-type, return-value]


def request(system: str, *pages: Page, question: str = "read", **how: str) -> Request:
    turns = (Turn("system", (system,)), Turn("user", (*pages, question)))
    return Request(turns, WantText(), **how)  # type: ignore[arg-type]


LONG = "Read this receipt. " * 20


def ticket(*beginnings: bytes) -> Ticket:
    return Ticket("d", beginnings, 0, False, 60.0)


def test_documents_of_one_program_begin_alike_and_calls_of_one_page_go_on_alike() -> None:
    first, other = beginnings_of(request(LONG, page("a"))), beginnings_of(request(LONG, page("b")))
    assert first[0] == other[0]
    assert first[1] != other[1]
    assert beginnings_of(request(LONG, page("a"), question="and the total?")) == first
    assert beginnings_of(request(LONG, page("a", 2)))[1] != first[1]
    assert beginnings_of(request(LONG + "!", page("a")))[0] != first[0]


def test_a_short_text_before_the_page_is_not_worth_a_wait() -> None:
    assert len(beginnings_of(request("Be brief.", page("a")))) == 1
    assert beginnings_of(request("Be brief.")) == ()
    assert len(beginnings_of(request(LONG))) == 1


def test_the_first_goes_alone_and_the_crowd_follows_its_answer() -> None:
    gate = Gate(64, Clock())
    first, second = ticket(b"shared"), ticket(b"shared")
    assert not gate.holds_back(first)
    gate.enter(first)
    assert gate.holds_back(second)
    assert not gate.holds_back(ticket(b"another"))
    gate.leave(first, answered=True)
    assert not gate.holds_back(second)
    gate.enter(second)
    assert not gate.holds_back(ticket(b"shared"))


def test_a_first_one_that_fails_leaves_the_lead_to_the_next() -> None:
    gate = Gate(64, Clock())
    first, second, third = ticket(b"shared"), ticket(b"shared"), ticket(b"shared")
    gate.enter(first)
    gate.leave(first, answered=False)
    gate.enter(second)
    assert gate.holds_back(third)


def test_the_crowd_does_not_wait_for_ever() -> None:
    clock = Clock()
    gate = Gate(64, clock)
    gate.enter(ticket(b"shared"))
    clock.now += 60
    assert not gate.holds_back(ticket(b"shared"))


def test_what_a_server_has_is_forgotten_after_idle_minutes_and_when_it_was_away() -> None:
    clock = Clock()
    gate = Gate(64, clock)
    for forget in (lambda: setattr(clock, "now", clock.now + KEPT_SECONDS), gate.forget):
        first, second = ticket(b"shared"), ticket(b"shared")
        gate.enter(first)
        gate.leave(first, answered=True)
        gate.enter(second)
        gate.leave(second, answered=True)
        assert not gate.holds_back(ticket(b"shared"))
        forget()
        gate.enter(first)
        assert gate.holds_back(second)
        gate.leave(first, answered=True)


def test_a_server_without_room_gets_half_as_many_and_slowly_more_again() -> None:
    gate = Gate(8, Clock())
    there = [ticket() for _ in range(8)]
    for one in there:
        gate.enter(one)
    assert gate.full
    gate.narrow()
    assert int(gate.window) == 4
    for one in there:
        gate.leave(one, answered=True)
    assert 5 <= gate.window < 8
    for _ in range(40):
        gate.enter(there[0])
        gate.leave(there[0], answered=True)
    assert gate.window == 8
