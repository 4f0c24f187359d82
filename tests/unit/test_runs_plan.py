from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from docflow.documents.sources import SourceItem, find, from_bytes
from docflow.runs.documents import copied_results
from docflow.runs.plan import Plan, Work
from docflow.settings import DecodeLimits
from docflow.storage.store import Store
from tests.unit.storage.results import Results


class FakeStore:
    """What a plan asks a store."""

    def __init__(self, done: set[tuple[str, str]] = frozenset(), failed: set[tuple[str, str]] = frozenset()) -> None:  # type: ignore[assignment]
        self.done, self.failed = done, failed

    def is_done(self, source: str, document_id: str) -> bool:
        return (source, document_id) in self.done

    def is_done_elsewhere(self, document_id: str) -> bool:
        return document_id in {known for _, known in self.done}

    def has_failed(self, source: str, document_id: str) -> bool:
        return (source, document_id) in self.failed


def plan_of(items: list[SourceItem], store: FakeStore | None = None, **how: Any) -> tuple[Plan, list[Work]]:
    plan = Plan(
        find(items), cast("Store | None", store), DecodeLimits(), **({"limit": None, "retry_failed": False} | how)
    )
    return plan, list(plan.works(threading.Event()))


A, B, C = (from_bytes(letter.encode() * 10, name=f"{letter}.png") for letter in "abc")


def ids(*items: SourceItem) -> list[str]:
    return [work.document_id for work in plan_of(list(items))[1]]


def test_what_is_done_is_left_out_and_counted() -> None:
    [a] = ids(A)
    plan, works = plan_of([A, B], FakeStore({("a.png", a)}))
    assert [work.item.source for work in works] == ["b.png"]
    assert (plan.skipped, plan.skipped_failed) == (1, 0)


def test_what_failed_waits_for_retry_failed() -> None:
    [a] = ids(A)
    store = FakeStore(failed={("a.png", a)})
    plan, works = plan_of([A, B], store)
    assert [work.item.source for work in works] == ["b.png"]
    assert plan.skipped_failed == 1
    assert len(plan_of([A, B], store, retry_failed=True)[1]) == 2


def test_a_changed_file_is_a_new_document() -> None:
    [a] = ids(A)
    changed = from_bytes(b"new", name="a.png")
    assert len(plan_of([changed], FakeStore({("a.png", a)}))[1]) == 1


def test_identical_bytes_are_extracted_for_the_first_source_only() -> None:
    again = from_bytes(b"a" * 10, name="copy.png")
    _, [first, copy] = plan_of([A, again])
    assert not first.copied
    assert copy.copied
    assert copy.leader is first


def test_bytes_that_are_done_under_another_name_are_copied() -> None:
    [a] = ids(A)
    _, [copy] = plan_of([A], FakeStore({("elsewhere.png", a)}))
    assert copy.copied
    assert copy.leader is None


def test_a_document_that_is_named_twice_is_done_once() -> None:
    _, works = plan_of([A, A, B])
    assert [work.item.source for work in works] == ["a.png", "b.png"]


@pytest.mark.parametrize("limit", [1, 2])
def test_the_limit_counts_documents_to_do(limit: int) -> None:
    [a] = ids(A)
    _, works = plan_of([A, B, C], FakeStore({("a.png", a)}), limit=limit)
    assert [work.item.source for work in works] == ["b.png", "c.png"][:limit]


def test_a_file_that_cannot_be_read_is_still_to_do(tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    _, [work] = plan_of([SourceItem("empty.png", empty)])
    assert work.document_id == ""


def test_a_copy_of_a_file_that_changed_meanwhile_is_read_itself() -> None:
    leader = Work(from_bytes(b"old", name="a.png"), "1" * 64)
    copy = Work(from_bytes(b"old", name="b.png"), "1" * 64, copied=True, leader=leader)
    leader.finish()
    leader.results = [dataclasses.replace(Results.valid("a.png"), document_id="1" * 64)]
    assert copied_results(copy, None, threading.Event()) is leader.results
    leader.results = [dataclasses.replace(Results.valid("a.png"), document_id="2" * 64)]
    assert not copied_results(copy, None, threading.Event())
