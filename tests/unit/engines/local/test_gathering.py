"""Requests of several threads gathered into batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from docflow.engines.local.gathering import Gathering


class Job:
    def __init__(self, kind: str = "text") -> None:
        self.kind = kind
        self.future: Future[int] = Future()

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def test_what_waits_goes_together_the_oldest_first_and_of_one_kind() -> None:
    sizes: list[list[str]] = []
    free, begun = threading.Event(), threading.Event()

    def work(jobs: Sequence[Job]) -> None:
        sizes.append([job.kind for job in jobs])
        begun.set()
        assert free.wait(30)
        for job in jobs:
            job.future.set_result(len(jobs))

    gathering: Gathering[Job] = Gathering(work, 3, 0.0)
    first = Job()
    gathering.add(first)
    assert begun.wait(30)  # the others come while it is at work
    jobs = [Job(kind) for kind in ("text", "image", "text", "text", "text", "image")]
    for job in jobs:
        assert gathering.add(job)
    free.set()
    assert [job.future.result(30) for job in jobs] == [3, 2, 3, 3, 1, 2]
    assert sizes[0] == ["text"]
    assert sizes[1:] in ([["text"] * 3, ["image"] * 2, ["text"]], [["text"] * 3, ["text"], ["image"] * 2])
    gathering.close(RuntimeError("closed"))


def test_a_batch_that_fails_fails_its_jobs_and_no_others() -> None:
    def work(jobs: Sequence[Job]) -> None:
        if jobs[0].kind == "bad":
            raise ValueError("no")
        for job in jobs:
            job.future.set_result(1)

    gathering: Gathering[Job] = Gathering(work, 3, 0.0)
    bad, good = Job("bad"), Job("good")
    gathering.add(bad)
    gathering.add(good)
    with pytest.raises(ValueError, match="no"):
        bad.future.result(30)
    assert good.future.result(30) == 1
    gathering.close(RuntimeError("closed"))


def test_closing_fails_who_waits_and_takes_nothing_more() -> None:
    begun, free = threading.Event(), threading.Event()

    def work(jobs: Sequence[Job]) -> None:
        begun.set()
        assert free.wait(30)
        for job in jobs:
            job.future.set_result(1)

    gathering: Gathering[Job] = Gathering(work, 1, 0.0)
    at_work, waits = Job(), Job()
    gathering.add(at_work)
    assert begun.wait(30)
    gathering.add(waits)
    closing = threading.Thread(target=gathering.close, args=(RuntimeError("closed"),))
    closing.start()
    with pytest.raises(RuntimeError, match="closed"):
        waits.future.result(30)
    free.set()
    closing.join(30)
    assert at_work.future.result(30) == 1
    assert not gathering.add(Job())
