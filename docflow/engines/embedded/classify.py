"""Which kind of document pages are: by what they call themselves, the words they use, and how they look."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from docflow.engines.embedded.boxes import choices_in
from docflow.engines.embedded.context import Context
from docflow.engines.embedded.figures import figures
from docflow.engines.embedded.headings import headings_of
from docflow.engines.embedded.pairs import Pair, pairs
from docflow.engines.embedded.vocabulary import is_total, read_data, spoken, squash
from docflow.fields.text import plain
from docflow.reading.layout import Layout, Line

_TOKEN = re.compile(r"[^\W_]+")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CLOCK = re.compile(r"\b(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?\b")
_LONGEST_PHRASE = 5
"""Words."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of one kind of document."""

    names: frozenset[str]
    words: frozenset[str]
    title: float
    """How much it tells that a document calls itself so: anyone prints "invoice" on a receipt."""
    needs: int
    """How many of its words such a document has at least; each one that lacks tells against it."""
    structure: Mapping[str, float]


@cache
def profiles() -> Mapping[str, Profile]:
    """The known kinds, read once."""
    return {
        kind: Profile(
            frozenset(map(squash, entry["names"])) | {squash(kind)},
            frozenset(map(squash, entry["words"])),
            entry.get("title", 1.6),
            entry.get("needs", 0),
            entry.get("structure", {}),
        )
        for kind, entry in read_data("kinds.toml").items()
    }


@cache
def _all_phrases() -> frozenset[str]:
    return frozenset().union(*(profile.names | profile.words for profile in profiles().values()))


def choose(choices: Sequence[str], question: str, context: Context) -> dict[str, float]:
    """How likely each choice is the answer: probabilities that add up to 1.

    A choice may be any word or phrase. Kinds of documents that the data knows are judged by their vocabulary and by
    what the pages look like; other choices by whether the pages name them, above all as the value of a label that
    the question speaks of. Raises ReadingError or DocumentError when a page cannot be read.
    """
    if not choices:
        return {}
    found = pairs(context)
    seen = _look(context, found, {phrase for choice in choices for phrase in _own_phrases(choice)})
    answers = _asked_for(question, found)
    scores = {choice: _score(choice, seen) + (3.0 if squash(choice) in answers else 0.0) for choice in choices}
    top = max(scores.values())
    weights = {choice: math.exp(score - top) for choice, score in scores.items()}
    total = sum(weights.values())
    return {choice: weight / total for choice, weight in weights.items()}


def _asked_for(question: str, pairs_found: Sequence[Pair]) -> set[str]:
    """What stands behind labels all of whose longer words the question has, word by word and as a whole."""
    asked = {squash(word) for word in _TOKEN.findall(question)}
    found: set[str] = set()
    for pair in pairs_found:
        words = {squash(word) for word in _TOKEN.findall(pair.label) if len(word) > 3}
        if words and words <= asked and pair.value:
            found |= {squash(pair.value), *(squash(word) for word in _TOKEN.findall(pair.value))}
    return found


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was seen on the pages: phrases with how prominent they stand, and the features of structure."""

    phrases: Mapping[str, float]
    features: Mapping[str, float]


def _own_phrases(choice: str) -> set[str]:
    words = spoken(choice)
    return {squash(words)} | {squash(word) for word in words.split() if len(word) > 3}


def _profile_of(choice: str) -> Profile | None:
    known = profiles()
    key = squash(spoken(choice))
    for kind, profile in known.items():
        if key == squash(kind):
            return profile
    for profile in known.values():
        if key in profile.names:
            return profile
    words = [squash(word) for word in spoken(choice).split()]
    for profile in known.values():
        if any(word in profile.names for word in words):
            return profile
    return None


def _score(choice: str, seen: _Seen) -> float:
    own = max((seen.phrases.get(phrase, 0.0) for phrase in _own_phrases(choice)), default=0.0)
    profile = _profile_of(choice)
    if profile is None:
        return 1.5 * own
    score = 0.9 * profile.title * own
    names = sorted((seen.phrases[name] for name in profile.names if name in seen.phrases), reverse=True)
    words = sum(word in seen.phrases for word in profile.words)
    score += profile.title * sum(value / (1 + rank) for rank, value in enumerate(names[:3]))
    # The first words of a kind say much, the tenth hardly more than the ninth.
    score += 1.6 * math.log1p(words) - 1.5 * max(0, profile.needs - words)
    score += sum(weight * seen.features.get(feature, 0.0) for feature, weight in profile.structure.items())
    return score


def _look(context: Context, pairs_found: Sequence[Pair], own: set[str]) -> _Seen:
    phrases: dict[str, float] = {}
    known = _all_phrases() | own
    for number, layout in enumerate(context.layouts):
        for line in layout.lines:
            prominence = _prominence(line, layout, first_page=number == 0)
            words = [squash(word) for word in _TOKEN.findall(line.text)]
            for start in range(len(words)):
                joined = ""
                for end in range(start, min(start + _LONGEST_PHRASE, len(words))):
                    joined += words[end]
                    if joined in known:
                        alone = end - start + 1 == len(words)
                        weight = prominence * (1.3 if alone else 1.0)
                        phrases[joined] = max(phrases.get(joined, 0.0), weight)
    return _Seen(phrases, _features(context, pairs_found))


def _prominence(line: Line, layout: Layout, *, first_page: bool) -> float:
    """How much a line stands out as a title: high on the first page, in large letters."""
    if not first_page:
        return 0.5
    top = line.box.center[1] < layout.lines[0].box.y0 + 0.45 * layout.page.height
    size = line.height / max(layout.height, 1e-6)
    return 0.6 + (0.4 if top else 0.0) + (0.8 if size > 1.35 else 0.4 if size > 1.12 else 0.0)


def _features(context: Context, pairs_found: Sequence[Pair]) -> dict[str, float]:
    """What the pages look like, each from 0 to 1."""
    layouts = [layout for layout in context.layouts if layout.lines]
    if not layouts:
        return {}
    first = layouts[0]
    lines = [line for layout in layouts for line in layout.lines]
    texts = [plain(line.text) for line in lines]
    amounts = [any(f.is_amount for f in figures(text)) for text in texts]
    totals = [amount and is_total(text) for text, amount in zip(texts, amounts, strict=True)]
    found = [pair for pair in pairs_found if pair.page == first.page.number]
    columns = _characters_across(first)
    prose = sum(len(line.words) for line in lines if len(line.cells) == 1 and len(line.words) >= 9)
    boxes = sum(len(choices_in(line.words)) for line in first.lines)
    paid = sum(amount and _paid(text) for text, amount in zip(texts, amounts, strict=True))
    headed = any(headings_of([line], ()) for line in lines)
    plain_pairs = [pair for pair in found if not (pair.value and any(f.is_amount for f in figures(plain(pair.value))))]
    return {
        "narrow": _ramp(62 - columns, 22),
        "wide": _ramp(columns - 62, 22),
        "clock": 1.0 if any(_CLOCK.search(text) for text in texts) else 0.0,
        "sums": _ramp(sum(totals), 3),
        "items": _ramp(sum(amounts) - sum(totals), 4),
        "amounts": _ramp(sum(amounts), 0.25 * len(lines) + 1),
        "paid": _ramp(paid, 2),
        "headed": 1.0 if headed else 0.0,
        "iban": 1.0 if any(_is_iban(match[0]) for text in texts for match in _IBAN.finditer(text)) else 0.0,
        "pairs": _ramp(len(plain_pairs), 0.35 * len(first.lines) + 3),
        "blanks": _ramp(sum(pair.value is None for pair in found), 3),
        "boxes": _ramp(boxes, 3),
        "prose": _ramp(prose / max(1, sum(len(line.words) for line in lines)), 0.5),
        "letterhead": _ramp(first.height and max(line.height for line in first.lines[:5]) / first.height - 1.2, 1.0),
    }


def _is_iban(text: str) -> bool:
    """Whether the check digits of a bank account number are right."""
    code = text.replace(" ", "")
    return int("".join(str(int(ch, 36)) for ch in code[4:] + code[:4])) % 97 == 1


def _ramp(value: float, full: float) -> float:
    return min(1.0, max(0.0, value / full))


def _paid(text: str) -> bool:
    """Whether a line says how, or with how much, was paid."""
    known = profiles()["receipt"].words
    words = [squash(word) for word in _TOKEN.findall(text)]
    return bool(words) and (words[0] in known or "".join(words[:2]) in known)


def _characters_across(layout: Layout) -> float:
    """How many characters of its usual size fit across the page's text: about 40 on a till roll, 90 on a letter."""
    words = [word for line in layout.lines for word in line.words if len(word.text) > 1]
    if not words:
        return 60.0
    width = statistics.median(word.level_box.width / len(word.text) for word in words)
    left = min(word.level_box.x0 for word in words)
    right = max(word.level_box.x1 for word in words)
    return (right - left) / max(width, 1e-6)
