"""Whether a document begins on a page, or goes on from the page before: what both of them show, weighed."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from docflow.engines.embedded.classify import choose, profiles
from docflow.engines.embedded.context import Context
from docflow.engines.embedded.figures import figures
from docflow.engines.embedded.headings import headings_of
from docflow.engines.embedded.labels import regions
from docflow.engines.embedded.lexicon import lexicon
from docflow.engines.embedded.vocabulary import is_title, is_total, opens_with, read_data, squash, total_words
from docflow.fields.kinds import Kind
from docflow.fields.text import plain
from docflow.reading.layout import Layout, Line

_EDGE_LINES = 4
"""How many lines from the top or bottom of a page its number may stand."""
_HEAD_LINES = 8
"""Lines that make the head of a page."""
_OWN_NUMBERS = ("invoice_number", "receipt_number", "order_number", "reference", "contract_number", "delivery_number")
"""Concepts that number the document itself, and not who it is from or for."""


class PageNumber(NamedTuple):
    """What a page says of its place: its number, and how many there are where it says so."""

    number: int
    of: int | None


@dataclass(frozen=True)
class Signs:
    """What one page shows that tells a first page from one that goes on."""

    empty: bool
    number: PageNumber | None
    titled: bool
    carries_in: bool
    carries_out: bool
    opens_with_table: bool
    opens_with_sums: bool
    opens_inside: bool
    """Its text begins in the middle of a sentence."""
    ends_with_sums: bool
    labelled: int
    """Labels with their values in the upper part: a number, a date, an address."""
    own_numbers: frozenset[str]
    codes: frozenset[str]
    """Words of four digits and more: bank accounts, tax numbers, telephone numbers, customers' numbers."""
    dates: frozenset[str]
    head: tuple[str, ...]
    foot: frozenset[str]
    words: frozenset[str]
    kinds: Mapping[str, float]
    size: tuple[float, float]
    text_layer: bool
    letters: float
    """Typical height of its words, as a share of the page's."""
    top: float
    """Where its text begins, as a share of the page's height."""


def signs_of(context: Context) -> Signs:
    """The signs of the last page that a context holds. Raises ReadingError or DocumentError."""
    layout = context.layouts[-1]
    page = layout.page
    lines = layout.lines
    kinds = choose(tuple(profiles()), "", context) if lines else {}
    upper = [line for line in lines if line.box.y0 < lines[0].box.y0 + 0.45 * max(page.height, 1)] if lines else []
    own, labelled = _numbers(context)
    return Signs(
        empty=not lines,
        number=_page_number(layout),
        titled=any(_is_headline(line, layout) for line in upper),
        carries_in=any(_carries(line.text) for line in lines[: _HEAD_LINES + 2]),
        carries_out=any(_carries(line.text) for line in lines[-5:]),
        opens_with_table=_opens_with_table(lines),
        opens_with_sums=any(is_total(line.text) and _has_amount(line) for line in lines[:2]),
        opens_inside=bool(lines) and len(lines[0].words) > 3 and lines[0].text[:1].islower(),
        ends_with_sums=any(is_total(line.text) and _has_amount(line) for line in lines[-25:]),
        labelled=labelled,
        own_numbers=own,
        codes=frozenset(word for line in lines for word in map(squash, line.text.split()) if _is_code(word)),
        dates=frozenset(date.value.isoformat() for found in context.dates.values() for date in found),
        head=tuple(_without_digits(line.text) for line in lines[:_HEAD_LINES]),
        foot=frozenset(_without_digits(line.text) for line in lines[-3:] if len(line.text) > 8),
        words=frozenset(word for line in lines for word in map(squash, line.text.split()) if len(word) > 3),
        kinds=kinds,
        size=(page.width, page.height),
        text_layer=page.text_layer,
        letters=layout.height / max(page.height, 1.0),
        top=(lines[0].box.y0 / max(page.height, 1.0)) if lines else 0.0,
    )


# --- weighing -----------------------------------------------------------------------------------------------------


def begins(before: Signs | None, page: Signs) -> float:
    """The probability that a document begins on a page; ``before`` are the signs of the page before, where known."""
    known = weights()
    score = known["bias"] + sum(known[name] * value for name, value in features(before, page).items())
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


@cache
def weights() -> Mapping[str, float]:
    """How much each feature speaks for a beginning (or against it, below 0)."""
    found: Mapping[str, float] = read_data("boundaries.toml")["weights"]
    return found


def features(before: Signs | None, page: Signs) -> dict[str, float]:
    """What speaks for and against a beginning, each from 0 to 1."""
    found = {
        "numbered_first": float(_is_first(page)),
        "numbered_later": float(page.number is not None and page.number.number > 1),
        "titled": float(page.titled),
        "carries_in": float(page.carries_in),
        "opens_with_table": float(page.opens_with_table),
        "opens_with_sums": float(page.opens_with_sums),
        "opens_inside": float(page.opens_inside),
        "labelled": min(page.labelled, 4) / 4,
        "own_number": float(bool(page.own_numbers)),
        "starts_low": float(page.top > 0.12),
    }
    if before is None:
        return found
    shared_head = _shared(before.head, page.head)
    return found | {
        "counts_on": float(_counts_on(before, page)),
        "counted_out": float(before.number is not None and before.number.number == before.number.of),
        "count_open": float(_is_open(before, page)),
        "count_restarts": float(_is_first(before) and _is_first(page)),
        "count_given_up": float(before.number is not None and page.number is None),
        "count_taken_up": float(before.number is None and page.number is not None),
        "carries_out": float(before.carries_out and not page.titled),
        "sums_before": float(before.ends_with_sums),
        "sums_only_here": float(page.ends_with_sums and not before.ends_with_sums),
        "untitled_table_after_table": float(page.opens_with_table and not before.ends_with_sums),
        "same_number": float(bool(before.own_numbers & page.own_numbers)),
        "other_number": float(
            bool(before.own_numbers) and bool(page.own_numbers) and not before.own_numbers & page.own_numbers
        ),
        "same_codes": _overlap(before.codes, page.codes),
        "other_codes": float(bool(before.codes) and bool(page.codes) and not before.codes & page.codes),
        "same_dates": _overlap(before.dates, page.dates),
        "same_head": shared_head,
        "same_head_other_number": shared_head * float(bool(page.own_numbers - before.own_numbers)),
        "same_foot": float(bool(before.foot & page.foot)),
        "same_words": _overlap(before.words, page.words),
        "same_kind": sum(min(p, page.kinds.get(kind, 0.0)) for kind, p in before.kinds.items()),
        "other_size": _other_size(before.size, page.size),
        "other_making": float(before.text_layer != page.text_layer),
        "other_letters": min(1.0, abs(math.log(max(before.letters, 1e-4) / max(page.letters, 1e-4))) / 0.4),
    }


def _is_first(page: Signs) -> bool:
    return page.number is not None and page.number.number == 1


def _counts_on(before: Signs, page: Signs) -> bool:
    one, other = before.number, page.number
    return one is not None and other is not None and other.number == one.number + 1 and other.of == one.of


def _is_open(before: Signs, page: Signs) -> bool:
    """Whether the page before says that more follow, and this one does not say which it is."""
    one = before.number
    return one is not None and one.of is not None and one.number < one.of and page.number is None


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of the smaller set that is in the other."""
    return len(one & other) / min(len(one), len(other)) if one and other else 0.0


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    """The share of the lines of one head that the other has too."""
    lines = [line for line in other if len(line) > 3]
    return sum(line in one for line in lines) / len(lines) if lines else 0.0


def _other_size(one: tuple[float, float], other: tuple[float, float]) -> float:
    """How much the sizes of two pages differ, a tenth counting full; a page may lie on its side."""
    ratios = [max(a, b) / max(1e-6, min(a, b)) for a, b in zip(sorted(one), sorted(other), strict=True)]
    return min(1.0, (max(ratios) - 1) / 0.1)


# --- what a page shows --------------------------------------------------------------------------------------------


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Page numbers: behind a word ("Page 2 of 3"), before one ("2 / 3 쪽"), and without ("2/3", "- 2/7 -")."""
    data = read_data("boundaries.toml")
    words, short, after, of = (
        "|".join(re.escape(_bare(word)) for word in sorted(data[key], key=len, reverse=True))
        for key in ("page", "page_short", "page_after", "of")
    )
    start, number, end = r"(?:^|[^\w])", r"\s*[.:#]?\s*(?:n[°o]\.?\s*)?(\d{1,4})", r"(?![\w.,/-]*\d)"
    rest = rf"\s*(?:{of})\s*(\d{{1,4}})"
    return (
        re.compile(rf"{start}(?:{words}){number}(?:{rest})?{end}"),
        re.compile(rf"{start}(?:{short}){number}{rest}{end}"),
        re.compile(rf"(?:^|\s)(\d{{1,4}})(?:{rest})?\s*\.?\s*(?:{after})"),
        re.compile(rf"^[\s\-–—|(\[]*(\d{{1,3}}){rest}[\s\-–—|)\]]*$"),
    )


def _bare(text: str) -> str:
    """Text without case and accents, in one form; Hangul stays composed."""
    apart = unicodedata.normalize("NFKD", plain(text).casefold())
    return unicodedata.normalize("NFKC", "".join(letter for letter in apart if not unicodedata.combining(letter)))


def _page_number(layout: Layout) -> PageNumber | None:
    """The number that the page bears at its foot or head; one with the number of all pages counts more."""
    lines = layout.lines
    edge = [*reversed(lines[-_EDGE_LINES:]), *lines[:_EDGE_LINES]]
    found: list[PageNumber] = []
    for line in edge:
        for cell in line.cells:
            text = _bare(cell.text)
            if len(text) > 60:
                continue
            for pattern in _patterns():
                if match := pattern.search(text):
                    number, of = int(match[1]), int(match[2]) if match[2] else None
                    if 1 <= number <= (of or 99):  # a larger one without the number of all is some other number
                        found.append(PageNumber(number, of))
                        break
    return next((one for one in found if one.of is not None), found[0] if found else None)


@cache
def _continued() -> frozenset[str]:
    return frozenset(map(squash, read_data("boundaries.toml")["continued"]))


def _carries(text: str) -> bool:
    """Whether a line says that a document goes on: so in words alone, or with a sum that is carried over."""
    squashed = re.sub(r"\d", "", squash(text))
    if squashed in _continued():
        return True
    return opens_with(text, total_words().carried) and any(f.is_amount for f in figures(plain(text)))


def _is_headline(line: Line, layout: Layout) -> bool:
    """Whether a line of the upper part names the kind of document: alone in its cell, or in larger letters."""
    if any(is_title(cell.text) for cell in line.cells):
        return True
    return line.height > 1.25 * max(layout.height, 1e-6) and opens_with(line.text, _titles())


@cache
def _titles() -> frozenset[str]:
    return frozenset().union(*(profile.names for profile in profiles().values()))


def _opens_with_table(lines: tuple[Line, ...]) -> bool:
    """Whether a table begins at once: its head, or rows with amounts, in the first lines of the page."""
    for number, line in enumerate(lines[:3]):
        if headings_of([line], ()):
            return True
        if number < 2 and len(line.cells) >= 3 and _has_amount(line):
            return True
    return False


def _has_amount(line: Line) -> bool:
    return any(f.is_amount for f in figures(plain(line.text)))


def _numbers(context: Context) -> tuple[frozenset[str], int]:
    """The numbers that the document itself bears, and how many labels of its upper part have a value."""
    kinds = lexicon().kinds
    half = len(context.printed) // 2 + 4
    numbers: set[str] = set()
    labelled = 0
    for line, labels in context.labels.items():
        if line >= half:
            continue
        for label in labels:
            concept = max(label.names, key=lambda name: label.names[name])
            if kinds.get(concept) not in (Kind.IDENTIFIER, Kind.DATE, Kind.ADDRESS, Kind.PARTY):
                continue
            region = next(iter(regions(context, label, context.labels)), None)
            if region is None:
                continue
            labelled += 1
            value = squash(region.span.text)
            if concept in _OWN_NUMBERS and any(letter.isdigit() for letter in value) and len(value) < 25:
                numbers.add(value)
    return frozenset(numbers), labelled


def _is_code(word: str) -> bool:
    return sum(letter.isdigit() for letter in word) >= 5


def _without_digits(text: str) -> str:
    return re.sub(r"\d", "", squash(text))
