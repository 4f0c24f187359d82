"""The line over a table: which words of it head which column, and what those columns hold."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from docflow.documents.model import Box, Word
from docflow.engines.embedded.figures import figures, only_figure
from docflow.engines.embedded.vocabulary import NO_NAME, Leaf, ListName, concepts, squash
from docflow.fields.kinds import Kind
from docflow.reading.layout import Line


@dataclass(slots=True)
class Heading:
    """The head of one column: its words, where it stands on the levelled page, and the concepts that it may mean."""

    words: list[Word]
    concepts: tuple[str, ...]
    phrase: str
    """Squashed text that was recognised, or all of it where none was."""
    names_list: bool = False
    """It is the name of the list that is looked for."""

    @property
    def box(self) -> Box:
        return Box.around(word.level_box for word in self.words)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


_UNIT_WORDS = frozenset(
    ["rm", "eur", "usd", "gbp", "chf", "fr", "sfr", "rs", "rp", "kr", "r", "us", "myr", "sgd", "aud"]
)
"""Currencies as they stand behind a head, squashed."""
_UNIT = re.compile(r"[(\[]?(?:RM|Fr\.?|[A-Z]{3}|[A-Z]?[$€£¥₩%]|[Kk]r|zł|원|円|元|[Hh]|[Kk]g|[Ss]td)[)\]]?\.?$")


def is_unit(text: str) -> bool:
    """Whether a text is a currency or unit and no more, as stands under a head: "(RM)"."""
    return bool(_UNIT.match(text))


def headings_of(lines: Sequence[Line], leaves: Sequence[Leaf], name: ListName = NO_NAME) -> list[Heading] | None:
    """The heads of columns that stand on these lines (one, or two that make one row), or None when they are no header.

    A header names at least two different columns, of which the schema's own words count as much as the vocabulary's,
    is mostly made of such names, and holds no figures.
    """
    own = {phrase for leaf in leaves for phrase in leaf.phrases} | name.phrases
    words_total = covered = 0
    found: list[Heading] = []
    for line in lines:
        text = unicodedata.normalize("NFKC", line.text)
        if sum(ch.isdigit() for ch in text) > 3 or ": " in text:
            return None  # labels with their values
        if len(line.words) > 24 or any(not f.percent or f.decimals for f in figures(text) if len(f.text) > 1):
            return None
        if any(only_figure(cell.text) for cell in line.cells):
            return None
        for cell in line.cells:
            words_total += len(squash(cell.text))
            parts, cover = _parts(cell.words, own)
            covered += cover
            for part in parts:
                if name.fits(part.phrase):
                    part.concepts = ("description", *part.concepts)
                    part.names_list = True
            found += parts
    named = [heading for heading in found if heading.concepts or heading.phrase in own]
    distinct = {heading.phrase for heading in named}
    if len(distinct) < 2 or covered < 0.55 * words_total or sum(len(phrase) > 2 for phrase in distinct) < 1:
        return None
    if len(named) == 2 and covered < 0.8 * words_total:
        return None
    found.sort(key=lambda heading: heading.box.center[0])
    return found


def _parts(words: Sequence[Word], own: set[str]) -> tuple[list[Heading], int]:
    """Split a cell into heads so that known names cover as many letters as they can; and how many that is."""
    known = concepts()
    squashed = [squash(unicodedata.normalize("NFKC", word.text)) for word in words]
    text = "".join(squashed)
    starts, at = [], 0
    for piece in squashed:
        starts.append(at)
        at += len(piece)
    borders = {*starts, len(text)}
    # best[i]: the best way to read text[i:], as (covered - penalties, pieces)
    best: dict[int, tuple[float, tuple[tuple[int, int, bool], ...]]] = {len(text): (0.0, ())}
    limit = max(known.longest, max(map(len, own), default=0))
    for start in range(len(text) - 1, -1, -1):
        options: list[tuple[float, tuple[tuple[int, int, bool], ...]]] = []
        for end in range(start + 1, min(len(text), start + limit) + 1):
            piece = text[start:end]
            if end not in best or not (piece in known.of_word or piece in own or piece in _UNIT_WORDS):
                continue
            glued = (start not in borders) + (end not in borders)
            if glued and len(piece) < 2:
                continue
            score, rest = best[end]
            # Fewer and longer names are likelier, and a name that ends inside a word is not likely at all.
            options.append((score + len(piece) - 0.6 - 1.5 * glued, ((start, end, True), *rest)))
        if start in borders:
            end = next(border for border in sorted(borders) if border > start)
            score, rest = best.get(end, (-1e9, ()))
            options.append((score - 0.1, ((start, end, False), *rest)))
        if options:
            best[start] = max(options)
    pieces = best.get(0, (0.0, ()))[1]
    headings: list[Heading] = []
    covered = 0
    for start, end, is_name in pieces:
        taken = [
            word
            for word, begin, piece in zip(words, starts, squashed, strict=True)
            if begin < end and start < begin + len(piece)
        ]
        taken = [
            _clip(word, text_start, text[start:end], piece, start)
            for word, text_start, piece in _with_starts(taken, words, starts, squashed)
        ]
        phrase = text[start:end]
        if is_name and phrase in _UNIT_WORDS and phrase not in known.of_word:
            is_name = False
            covered += end - start
        meanings = known.of_word.get(phrase, ()) if is_name else abbreviated(taken[-1].text)
        if is_name or meanings:
            covered += end - start
            stroke = start not in borders and any(
                "/" in word.text and begin < start < begin + len(piece)
                for word, begin, piece in zip(words, starts, squashed, strict=True)
            )
            if stroke and headings and _both_textual(headings[-1].concepts, meanings):
                headings[-1].words += taken  # "Code/Desc" heads one column
                headings[-1].concepts = (*meanings, *headings[-1].concepts)
            else:
                headings.append(Heading(taken, meanings, phrase))
        elif headings and (all(_UNIT.match(word.text) for word in taken) or not headings[-1].concepts):
            headings[-1].words += taken
        else:
            headings.append(Heading(taken, (), phrase))
    covered += sum(
        len(squash(word.text)) for word in words if _UNIT.match(word.text) and squash(word.text) not in known.of_word
    )
    # Words that stand close to a name and have none of their own belong to it ("Price" "each").
    merged: list[Heading] = []
    for heading in headings:
        if merged and not heading.concepts and heading.phrase not in own and _close(merged[-1], heading):
            merged[-1].words += heading.words
        else:
            merged.append(heading)
    return merged, covered


def _both_textual(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether both of two names can head a column of text."""
    kinds, textual = concepts().kind, {Kind.TEXT, Kind.IDENTIFIER}
    return any(kinds[meaning] in textual for meaning in one) and any(kinds[meaning] in textual for meaning in other)


@cache
def abbreviated(text: str) -> tuple[str, ...]:
    """The concepts whose names a word with a full stop may shorten ("Bezeichn."); the commonest meaning first."""
    start = squash(text)
    if not text.endswith(".") or len(start) < 3:
        return ()
    counts: Counter[str] = Counter()
    for word, meanings in concepts().of_word.items():
        if word.startswith(start):
            counts.update(meanings)
    return tuple(meaning for meaning, _ in counts.most_common(2))


def _with_starts(
    taken: Sequence[Word], words: Sequence[Word], starts: Sequence[int], squashed: Sequence[str]
) -> list[tuple[Word, int, str]]:
    return [(w, s, q) for w, s, q in zip(words, starts, squashed, strict=True) if any(w is t for t in taken)]


def _clip(word: Word, text_start: int, phrase: str, piece: str, start: int) -> Word:
    """The part of a word that a name takes, where two names were read as one word ("QTYU/PRICE")."""
    first = max(0, start - text_start)
    last = min(len(piece), start + len(phrase) - text_start)
    if (first == 0 and last == len(piece)) or not piece:
        return word
    box, level = word.box, word.level_box
    cut = Box(box.x0 + box.width * first / len(piece), box.y0, box.x0 + box.width * last / len(piece), box.y1)
    cut_level = Box(
        level.x0 + level.width * first / len(piece), level.y0, level.x0 + level.width * last / len(piece), level.y1
    )
    return Word(piece[first:last], cut, word.score, word.segment, None if word.levelled is None else cut_level)


def _close(left: Heading, right: Heading) -> bool:
    return right.box.x0 - left.box.x1 < 0.6 * max(left.box.height, right.box.height)
