"""What can be a label and what a value: texts and cells, before any place on the page is looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence

from docflow.documents.model import Word

LONGEST_LABEL = 48
"""Characters; what is longer is a sentence."""

_LEADERS = re.compile(r"(?:[._…·‥\-–]\s?){3,}|_{2,}")
_EDGES = " \t.·…_‥:*•–-"

_NUMBERING = re.compile(r"\(?(?:\d{1,2}[.)]|[a-zA-Z]\))\s+")
_NUMBERED = re.compile(r"\(?(\d{1,2})[.)]\s+(?=[^\W\d_])")
_BLANK = re.compile(r"_{3,}|\.{4,}|…{2,}")
_COLONS = (":", "\uff1a")


def numbering(text: str) -> int | None:
    """The number that a text begins with, as the entries of a form do ("3. Phone"); None where it has none."""
    match = _NUMBERED.match(text)
    return int(match[1]) if match else None


def label_text(words: Sequence[Word]) -> str:
    """A label without its colon, leaders and numbering marks; empty where nothing is left."""
    text = " ".join(word.text for word in words)
    text = _LEADERS.sub(" ", text).strip(_EDGES)
    return text if any(ch.isalpha() for ch in text) else ""


def value_text(words: Sequence[Word]) -> str:
    text = _LEADERS.sub(" ", " ".join(word.text for word in words)).strip()
    text = text.removeprefix(":").strip(" _|–")
    return text if any(ch.isalnum() for ch in text) or choices_mark(text) else ""


def label_like(text: str) -> bool:
    """Whether a text can be a label: some words, no sentence, no number, no amount."""
    text = _NUMBERING.sub("", text.strip(_EDGES))
    letters = sum(ch.isalpha() for ch in text)
    digits = sum(ch.isdigit() for ch in text)
    return (
        letters >= 2
        and digits <= max(2, letters // 4)
        and len(text) <= LONGEST_LABEL
        and len(text.split()) <= 7
        and not text.endswith((".", ",", ";", "!"))
        and "@" not in text
        and ". " not in text
    )


def split_at_colons(words: Sequence[Word]) -> list[tuple[list[Word], list[Word]]]:
    """Split the words of a cell into labels and values, at colons and at lines to write on; empty where it has none."""
    splits = [
        index
        for index, word in enumerate(words)
        if _BLANK.fullmatch(word.text)
        or (word.text.endswith(_COLONS) and not word.text[:1].isdigit() and (index or len(word.text) > 1))
    ]
    found: list[tuple[list[Word], list[Word]]] = []
    begin = 0
    for number, split in enumerate(splits):
        if split < begin:
            continue
        label = list(words[begin : split + 1])
        following = splits[number + 1] if number + 1 < len(splits) else None
        end = len(words) if following is None else _label_start(words, split + 1, following)
        if label_like(label_text(label)):
            found.append((label, list(words[split + 1 : end])))
        elif found:
            found[-1][1].extend([*label, *words[split + 1 : end]])
        begin = end
    return found


def _label_start(words: Sequence[Word], first: int, colon: int) -> int:
    """Where the label that ends at ``colon`` begins: after the widest gap, or with its last capitalised word."""
    for index in range(colon, first - 1, -1):
        gap = words[index].level_box.x0 - words[index - 1].level_box.x1
        if gap > 0.8 * words[index].level_box.height or words[index].text[:1].isupper():
            return index
    return colon


def is_filling(text: str) -> bool:
    """Whether a cell is nothing but dots or a line to write on."""
    return not any(ch.isalnum() for ch in text) and not choices_mark(text)


def choices_mark(text: str) -> bool:
    """Whether a text is a box to tick."""
    return any(ch in "☐☑☒□■✓✔✗✘" for ch in text)
