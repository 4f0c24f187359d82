"""Where on the pages a value stands.

Whatever engine answered, a value is looked up among the words of the pages: as it was printed, by its letters and
digits alone, by what it means (the same day, the same amount), and for longer texts by likeness.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from docflow.documents.model import Box, Page, Word
from docflow.engines.base import Piece
from docflow.extraction.result import Found
from docflow.reading.layout import on_one_line, printed_lines
from docflow.reading.orders import without_orders

FUZZY_LEAST = 82.0
"""Least likeness (rapidfuzz's partial ratio, 0 to 100) at which a longer text counts as found."""
FUZZY_LENGTH = 5
"""Texts of fewer letters and digits than this are never found by likeness: too much looks like them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was found, in pieces in reading order, and how."""

    pieces: tuple[Piece, ...]
    found: Found
    score: float
    """Mean score of the words it was read from, 0 to 1."""


NOT_FOUND = Place((), "not on the page", 0.0)


def squash(text: str) -> str:
    """Letters and digits alone, case folded: what two readings of the same print have in common."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text)).casefold()


@dataclass(eq=False)
class PageText:
    """The words of one page as strings to search, each character knowing its word.

    Lines that give orders to whoever reads the page by machine are left out: nothing is found there. Their words are
    ``orders``.
    """

    page: Page
    words: Sequence[Word] = field(init=False)
    orders: Sequence[Word] = field(init=False)

    def __post_init__(self) -> None:
        self.words, self.orders = without_orders(self.page.words)

    @cached_property
    def _exact(self) -> tuple[str, list[int]]:
        return _joined([unicodedata.normalize("NFKC", word.text).casefold() for word in self.words])

    @cached_property
    def _squashed(self) -> tuple[str, list[int]]:
        return _joined([squash(word.text) for word in self.words])

    def find_exact(self, raw: str) -> Iterator[tuple[int, int]]:
        """Runs of words, as (first, last), that spell the text, white space aside."""
        wanted = re.sub(r"\s+", "", unicodedata.normalize("NFKC", raw)).casefold()
        text, owner = self._exact
        for start in _occurrences(text, wanted):
            end = start + len(wanted)
            if not _cuts_a_token(text, owner, start, end):
                yield owner[start], owner[end - 1]

    def find_squashed(self, raw: str) -> Iterator[tuple[int, int]]:
        """Runs of words that spell the text's letters and digits, beginning and ending with a word."""
        wanted = squash(raw)
        text, owner = self._squashed
        for start in _occurrences(text, wanted):
            end = start + len(wanted)
            begins = start == 0 or owner[start - 1] != owner[start]
            ends = end == len(text) or owner[end] != owner[end - 1]
            if (begins and ends) or len(wanted) >= 8:
                yield owner[start], owner[end - 1]

    def find_like(self, raw: str) -> tuple[int, int, float] | None:
        """The run of words most like the text, with its likeness."""
        from rapidfuzz import fuzz

        wanted = squash(raw)
        text, owner = self._squashed
        if len(wanted) < FUZZY_LENGTH or len(text) < len(wanted) * 0.7:
            return None
        match = fuzz.partial_ratio_alignment(wanted, text, score_cutoff=FUZZY_LEAST)
        if match is None or match.dest_end <= match.dest_start:
            return None
        return owner[match.dest_start], owner[match.dest_end - 1], match.score

    def pieces(self, first: int, last: int) -> tuple[tuple[Piece, ...], float]:
        """A run of words as a piece a line, and the words' mean score."""
        words = self.words[first : last + 1]
        pieces = tuple(Piece(self.page.number, Box.around(word.box for word in line)) for line in printed_lines(words))
        return pieces, sum(word.score for word in words) / len(words)

    def under(self, box: Box) -> list[Word]:
        """The words that lie at least half in a box."""
        return _under(self.words, box)

    def is_ordered(self, box: Box) -> bool:
        """Whether what stands in a box are orders alone."""
        return bool(_under(self.orders, box)) and not self.under(box)


def _under(words: Iterable[Word], box: Box) -> list[Word]:
    return [
        word
        for word in words
        if word.box.y0 < box.y1 and word.box.y1 > box.y0  # spares most words the arithmetic: this is asked per value
        if word.box.intersection(box) >= 0.5 * word.box.area
    ]


def _joined(texts: Sequence[str]) -> tuple[str, list[int]]:
    owner = [index for index, text in enumerate(texts) for _ in text]
    return "".join(texts), owner


def _occurrences(text: str, wanted: str) -> Iterator[int]:
    start = text.find(wanted) if wanted else -1
    while start >= 0:
        yield start
        start = text.find(wanted, start + 1)


def _cuts_a_token(text: str, owner: Sequence[int], start: int, end: int) -> bool:
    """Whether a match begins or ends within a longer token: the 1 of 2019, the 12.5 of 112.50."""
    if start > 0 and owner[start - 1] == owner[start] and _glued(text[start - 1], text[start]):
        return True
    return end < len(text) and owner[end] == owner[end - 1] and _glued(text[end - 1], text[end])


def _glued(left: str, right: str) -> bool:
    if left.isdigit() or right.isdigit():
        # digits go on through marks within a number; a unit or currency beside them does not
        return (left.isdigit() and (right.isdigit() or right in ".,")) or (right.isdigit() and left in ".,")
    return left.isalnum() and right.isalnum()


@dataclass(eq=False)
class Grounder:
    """Looks values up among the words of a document's pages."""

    texts: Sequence[PageText]

    @classmethod
    def over(cls, pages: Sequence[Page]) -> Grounder:
        """Over the words of these pages. Raises ReadingError or DocumentError when a page cannot be read."""
        return cls([PageText(page) for page in pages])

    def check(self, raw: str, pieces: Sequence[Piece]) -> Place:
        """The place that an engine itself gave for a value, with what the words there say to it."""
        by_number = {text.page.number: text for text in self.texts}
        words = [word for piece in pieces if piece.page in by_number for word in by_number[piece.page].under(piece.box)]
        if not words:
            ordered = any(by_number[piece.page].is_ordered(piece.box) for piece in pieces if piece.page in by_number)
            return NOT_FOUND if ordered else Place(tuple(pieces), "fuzzy", 0.5)
        there = "".join(word.text for word in words)
        score = sum(word.score for word in words) / len(words)
        wanted = re.sub(r"[\s,]+", "", unicodedata.normalize("NFKC", raw)).casefold()
        if wanted in re.sub(r"[\s,]+", "", unicodedata.normalize("NFKC", there)).casefold():
            return Place(tuple(pieces), "exact", score)
        return Place(tuple(pieces), "normalised" if squash(raw) in squash(there) else "fuzzy", score)

    def find(self, raw: str, *, same: Callable[[str], bool] | None = None, last: bool = False) -> Place:
        """Look a printed value up.

        ``same`` tells for typed values (dates, amounts) whether another text means the same; such values are
        never found by likeness. ``last`` takes the last of several places, not the first (totals stand at the end).
        """
        for how, search in (("exact", PageText.find_exact), ("normalised", PageText.find_squashed)):
            if how == "normalised" and same is not None:
                break
            places = [(text, run) for text in self.texts for run in search(text, raw)]
            if places:
                text, run = places[-1 if last else 0]
                pieces, score = text.pieces(*run)
                return Place(pieces, "exact" if how == "exact" else "normalised", score)
        if same is not None:
            return self._find_meaning(same, last)
        return self._find_parts(raw) or self._find_like(raw)

    def _find_meaning(self, same: Callable[[str], bool], last: bool) -> Place:
        for text in reversed(self.texts) if last else self.texts:
            indexes = range(len(text.words))
            for index in reversed(indexes) if last else indexes:
                # a value may have been split by the reader: try up to four words on one line
                for end in range(index, min(index + 4, len(text.words))):
                    if end > index and not on_one_line(text.words[end - 1], text.words[end]):
                        break
                    joined = " ".join(word.text for word in text.words[index : end + 1])
                    if any(c.isdigit() for c in joined) and same(joined):
                        pieces, score = text.pieces(index, end)
                        return Place(pieces, "normalised", score)
        return NOT_FOUND

    def _find_parts(self, raw: str) -> Place | None:
        """A value over several lines whose lines do not follow each other among the words (columns side by side)."""
        parts = [part for part in re.split(r",\s+|\n", raw) if squash(part)]
        if len(parts) < 2:
            return None
        pieces: list[Piece] = []
        scores = []
        missing = 0
        for part in parts:
            place = next(
                ((text, run) for text in self.texts for run in (*text.find_exact(part), *text.find_squashed(part))),
                None,
            )
            if place is None:
                missing += len(squash(part))
                continue
            text, run = place
            found, score = text.pieces(*run)
            pieces += found
            scores.append(score)
        if not pieces or missing > 0.3 * len(squash(raw)):
            return None
        return Place(tuple(pieces), "fuzzy" if missing else "normalised", sum(scores) / len(scores))

    def _find_like(self, raw: str) -> Place:
        best: tuple[float, PageText, int, int] | None = None
        for text in self.texts:
            match = text.find_like(raw)
            if match is not None and (best is None or match[2] > best[0]):
                best = (match[2], text, match[0], match[1])
        if best is None:
            return NOT_FOUND
        likeness, text, first, last = best
        pieces, score = text.pieces(first, last)
        return Place(pieces, "fuzzy", score * likeness / 100)
