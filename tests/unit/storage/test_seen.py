"""Files that runs have seen are not opened again while they are unchanged."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docflow.documents.content import read_content
from docflow.documents.sources import SourceItem, find
from docflow.runs.plan import Plan
from docflow.settings import DecodeLimits
from docflow.storage import parts
from docflow.storage.seen import SEEN, Seen, forget
from tests.unit.test_runs_plan import FakeStore

if TYPE_CHECKING:
    from docflow.storage.store import Store

ID = "00" * 31 + "01"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    parts.prepare(out)
    return out


def item(name: str, stamp: str = "s", changed: float = 0.0) -> SourceItem:
    return SourceItem(name, Path(f"/scans/{name}"), stamp=stamp, changed=changed)


@settings(deadline=None)  # files are written
@given(ids=st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40))
def test_what_was_remembered_is_known_before_and_after_saving(
    tmp_path_factory: pytest.TempPathFactory, ids: list[bytes]
) -> None:
    out = tmp_path_factory.mktemp("out")
    parts.prepare(out)
    seen = Seen(out)
    for number, one in enumerate(ids):
        seen.remember(item(str(number)), one.hex())
    assert [seen.document_id(item(str(number))) for number in range(len(ids))] == [one.hex() for one in ids]
    seen.save()
    for index in (seen, Seen(out)):
        assert [index.document_id(item(str(number))) for number in range(len(ids))] == [one.hex() for one in ids]
        assert index.document_id(item(str(len(ids)))) is None


def test_a_file_that_changed_is_not_known_and_its_entry_is_replaced(out: Path) -> None:
    seen = Seen(out)
    seen.remember(item("a", "old"), ID)
    seen.save()
    assert seen.document_id(item("a", "new")) is None
    other = "ff" * 32
    seen.remember(item("a", "new"), other)
    seen.save()
    assert Seen(out).document_id(item("a", "new")) == other
    assert Seen(out).document_id(item("a", "old")) is None


def test_a_file_that_changed_a_moment_ago_is_not_believed_to_be_settled(out: Path) -> None:
    seen = Seen(out)
    seen.remember(item("a", changed=time.time() - 0.5), ID)
    seen.remember(item("b", changed=time.time() + 3600), ID)
    seen.remember(item("c", changed=time.time() - 10), ID)
    assert [seen.document_id(item(name)) for name in "abc"] == [None, None, ID]


def test_two_runs_keep_what_both_found(out: Path) -> None:
    one, other = Seen(out), Seen(out)
    one.remember(item("a"), ID)
    other.remember(item("b"), ID)
    one.save()
    other.save()
    assert [Seen(out).document_id(item(name)) for name in "ab"] == [ID, ID]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"nonsense" * 100])
def test_a_damaged_index_is_as_good_as_none(out: Path, content: bytes) -> None:
    (out / SEEN).write_bytes(content)
    seen = Seen(out)
    assert seen.document_id(item("a")) is None
    seen.remember(item("a"), ID)
    seen.save()
    assert Seen(out).document_id(item("a")) == ID


def test_what_is_forgotten_is_no_longer_known(out: Path) -> None:
    seen = Seen(out)
    seen.remember(item("a"), ID)
    seen.remember(item("b"), ID)
    seen.remember(item("c"), "aa" * 32)
    seen.save()
    assert forget(out, [ID]) == 2
    assert forget(out, [ID]) == 0
    assert [Seen(out).document_id(item(name)) for name in "abc"] == [None, None, "aa" * 32]


def plan(folder: Path, out: Path, store: FakeStore, *, rehash: bool = False) -> Plan:
    known = cast("Store", store)
    return Plan(find(folder), known, DecodeLimits(), limit=None, retry_failed=False, seen=Seen(out), rehash=rehash)


def test_unchanged_files_that_are_done_are_not_opened(out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.png").write_bytes(name.encode() * 10)
        os.utime(folder / f"{name}.png", (1, 1))  # set back: the time of any change still tells
    first = plan(folder, out, FakeStore())
    [a, b] = [work.document_id for work in first.works(threading.Event())]
    assert not (out / SEEN).exists()  # both changed a moment ago
    time.sleep(2.1)
    list(plan(folder, out, FakeStore()).works(threading.Event()))
    done = FakeStore({("a.png", a), ("b.png", b)})

    opened: list[SourceItem] = []

    def counting(run: Plan) -> list[str]:
        def opening(item: SourceItem, limits: DecodeLimits) -> bytes:
            opened.append(item)
            return read_content(item, limits)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("docflow.runs.plan.read_content", opening)
            return [work.item.source for work in run.works(threading.Event())]

    second = plan(folder, out, done)
    assert (counting(second), second.skipped, len(opened)) == ([], 2, 0)
    third = plan(folder, out, done, rehash=True)
    assert (counting(third), third.skipped, len(opened)) == ([], 2, 2)
    opened.clear()
    (folder / "a.png").write_bytes(b"A" * 10)  # as long as before
    os.utime(folder / "a.png", (1, 1))
    fourth = plan(folder, out, done)
    assert (counting(fourth), fourth.skipped, len(opened)) == (["a.png"], 1, 1)
