"""The words cache: what goes in comes out, and whatever happens to its files costs no more than reading again."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.documents.model import Box, Word
from docflow.reading.cache import WordsCache

number = st.floats(-1e6, 1e6, allow_nan=False)
boxes = st.builds(Box, number, number, number, number)
words = st.lists(
    st.builds(
        Word,
        text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
        box=boxes,
        score=st.floats(0, 1),
        segment=st.integers(0, 10_000),
        levelled=st.none() | boxes,
    ),
    max_size=6,
).map(tuple)
SOME = (Word("Total", Box(1, 2, 30, 12), 0.98, 0), Word("12,50 €", Box(40, 2, 70, 12), 0.91, 1, Box(41, 3, 71, 13)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> WordsCache:
    return WordsCache(tmp_path_factory.mktemp("cache"), "reader 1", 10)


@given(words=words, legibility=st.floats(0, 1), document=st.text(max_size=80), page=st.integers(1, 99_999))
def test_words_come_out_as_they_went_in(
    shared: WordsCache, words: tuple[Word, ...], legibility: float, document: str, page: int
) -> None:
    shared.put(document, page, words, legibility)
    assert shared.get(document, page) == (words, legibility)


def test_pages_documents_and_readers_are_kept_apart(tmp_path: Path) -> None:
    cache = WordsCache(tmp_path, "reader 1", 10)
    cache.put("a" * 64, 1, SOME, 1.0)
    assert cache.get("a" * 64, 2) is None
    assert cache.get("b" * 64, 1) is None
    assert WordsCache(tmp_path, "reader 2", 10).get("a" * 64, 1) is None
    assert WordsCache(tmp_path, "reader 1", 10).get("a" * 64, 1) == (SOME, 1.0)


DAMAGE = {
    "empty": b"",
    "cut off": zlib.compress(json.dumps([1.0, [["Total", [1, 2, 3, 4], 1, 0, None]]]).encode())[:-6],
    "not compressed": b"[1.0, []]",
    "not JSON": zlib.compress(b"[1.0, ["),
    "not UTF-8": zlib.compress(b'[1.0, [["\xff", [1, 2, 3, 4], 1, 0, null]]]'),
    "another shape": zlib.compress(b'{"words": []}'),
    "a box of three": zlib.compress(b'[1.0, [["Total", [1, 2, 3], 1, 0, null]]]'),
    "a number for a text": zlib.compress(b"[1.0, [[5, [1, 2, 3, 4], 1, 0, null]]]"),
    "a list for a score": zlib.compress(b'[1.0, [["Total", [1, 2, 3, 4], [], 0, null]]]'),
    "nested without end": zlib.compress(b"[" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_entry_is_not_known_and_is_written_anew(tmp_path: Path, damage: bytes) -> None:
    cache = WordsCache(tmp_path, "reader 1", 10)
    cache.put("a" * 64, 1, SOME, 1.0)
    (entry,) = tmp_path.rglob("*.words")
    entry.write_bytes(damage)
    assert cache.get("a" * 64, 1) is None
    cache.put("a" * 64, 1, SOME, 1.0)
    assert cache.get("a" * 64, 1) == (SOME, 1.0)


def test_a_document_can_be_forgotten(tmp_path: Path) -> None:
    cache = WordsCache(tmp_path, "reader 1", 10)
    for page in (1, 2, 3):
        cache.put("a" * 64, page, SOME, 1.0)
    WordsCache(tmp_path, "reader 2", 10).put("a" * 64, 1, SOME, 1.0)
    cache.put("b" * 64, 1, SOME, 1.0)
    assert cache.forget("a" * 64) == 4
    assert cache.get("a" * 64, 1) is None
    assert cache.get("b" * 64, 1) == (SOME, 1.0)
    assert cache.forget("a" * 64) == 0


def test_only_the_owner_can_read_the_words(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        WordsCache(tmp_path / "cache", "reader 1", 10).put("a" * 64, 1, SOME, 1.0)
    finally:
        os.umask(before)
    (entry,) = tmp_path.rglob("*.words")
    for path in (entry, entry.parent, entry.parent.parent):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_the_pages_not_used_for_longest_go_first(tmp_path: Path) -> None:
    text = "".join(chr(0x4E00 + number * 37 % 20_000) for number in range(3_000))
    large = (Word(text, Box(0, 0, 1, 1)),)
    one = WordsCache(tmp_path / "one", "reader 1", 100)
    one.put("x", 1, large, 1.0)
    (entry,) = (tmp_path / "one").rglob("*.words")
    cache = WordsCache(tmp_path / "ten", "reader 1", 10 * entry.stat().st_size / 1024 / 1024)
    for page in range(1, 10):
        cache.put("x", page, large, 1.0)
        for path in (tmp_path / "ten").rglob(f"*-{page}-*.words"):
            os.utime(path, (1_000_000 + page, 1_000_000 + page))
    assert cache.get("x", 1) is not None, "used just now"
    for page in range(10, 14):
        cache.put("x", page, large, 1.0)
    assert sum(path.stat().st_size for path in (tmp_path / "ten").rglob("*.words")) <= 10 * entry.stat().st_size
    assert cache.get("x", 1) is not None
    assert cache.get("x", 2) is None
    assert cache.get("x", 13) is not None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("a file where the folder should be")
    cache = WordsCache(tmp_path, "reader 1", 10)
    cache.put("a" * 64, 1, SOME, 1.0)
    assert cache.get("a" * 64, 1) is None
    assert cache.forget("a" * 64) == 0


def test_a_cache_on_a_read_only_disk_still_gives_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = WordsCache(tmp_path, "reader 1", 10)
    cache.put("a" * 64, 1, SOME, 1.0)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.get("a" * 64, 1) == (SOME, 1.0)


def test_processes_share_a_cache(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from docflow.documents.model import Box, Word\n"
        "from docflow.reading.cache import WordsCache\n"
        "cache = WordsCache(Path(sys.argv[1]), 'reader 1', 0.01)\n"
        "for turn in range(150):\n"
        "    words = (Word(f'word{turn % 5}' * 40, Box(0, 0, 1, 1)),)\n"
        "    cache.put('x', turn % 5, words, 1.0)\n"
        "    known = cache.get('x', turn % 5)\n"
        "    assert known in (None, (words, 1.0)), known\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert not list(tmp_path.rglob(".new-*")), "no temporary file is left"


def test_what_a_kill_left_is_swept_once_it_is_old(tmp_path: Path) -> None:
    WordsCache(tmp_path, "reader 1", 10).put("a" * 64, 1, SOME, 1.0)
    (kept,) = tmp_path.rglob("*.words")
    old, fresh = kept.parent / ".new-old", kept.parent / ".new-fresh"
    for path in (old, fresh):
        path.touch()
    os.utime(old, (0, 0))
    WordsCache(tmp_path, "reader 1", 10).put("b" * 64, 1, SOME, 1.0)
    assert not old.exists()
    assert fresh.exists()
    assert kept.exists()
