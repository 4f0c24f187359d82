"""A circuit breaker, by a clock that stands still until it is told."""

from __future__ import annotations

from docflow.engines.breaker import LONGEST_REST, STEADY_SECONDS, Breaker


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(3, 5.0, clock)
    assert [breaker.failed(breaker.era, "refused") for _ in range(3)] == [False, False, True]
    return breaker


def test_failures_in_a_row_open_it_and_an_answer_between_them_does_not_count() -> None:
    breaker = Breaker(3, 5.0, Clock())
    for _ in range(4):
        breaker.failed(breaker.era, "refused")
        breaker.failed(breaker.era, "refused")
        breaker.worked(breaker.era)
    assert breaker.state == "closed"
    assert opened(Clock()).state == "open"


def test_it_is_due_after_its_rest_and_a_good_look_lets_a_trial_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    assert not breaker.due
    clock.now += 5
    assert breaker.due
    breaker.looked_at(False, "still starting")
    assert (breaker.state, breaker.reason) == ("open", "still starting")
    breaker.looked_at(True)
    assert breaker.state == "half-open"
    assert breaker.worked(breaker.era)
    assert breaker.state == "closed"


def test_a_trial_that_fails_opens_it_for_twice_as_long_up_to_a_bound() -> None:
    clock = Clock()
    breaker = opened(clock)
    rests = []
    for _ in range(8):
        start = clock.now
        while not breaker.due:
            clock.now += 1
        rests.append(clock.now - start)
        breaker.looked_at(True)
        assert breaker.failed(breaker.era, "died again")
    assert rests == [5, 10, 20, 40, LONGEST_REST, LONGEST_REST, LONGEST_REST, LONGEST_REST]


def test_a_server_that_was_well_for_long_starts_afresh() -> None:
    clock = Clock()
    breaker = opened(clock)
    for well, rest in ((1.0, 10.0), (STEADY_SECONDS, 5.0)):
        clock.now += LONGEST_REST
        breaker.looked_at(True)
        breaker.worked(breaker.era)
        clock.now += well
        breaker.open("refused")
        clock.now += rest - 1
        assert not breaker.due
        clock.now += 1
        assert breaker.due


def test_what_was_sent_before_it_opened_counts_no_more() -> None:
    clock = Clock()
    breaker = Breaker(3, 5.0, clock)
    before = breaker.era
    for _ in range(3):
        breaker.failed(before, "refused")
    clock.now += 5
    breaker.looked_at(True)
    assert not breaker.failed(before, "late")
    assert not breaker.worked(before)
    assert breaker.state == "half-open"
