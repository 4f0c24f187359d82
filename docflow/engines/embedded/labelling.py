"""What can be a label and what a value: texts and cells, before any place on the page is looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence

from docflow.documents.model import Word

LONGEST_LABEL = 48
"""Characters; what is longer is a sentence."""

_LEADERS = re.compile(r"(?:[._…·‥\-–]\s?){3,}|_{2,}")
_EDGES = " \t.·…_‥:*•–-"


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
    text = text.strip(_EDGES)
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
    """Split the words of a cell at its colons into labels and values; empty where it holds no label with a colon."""
    splits = [
        index for index, word in enumerate(words) if word.text.endswith((":", ":")) and not word.text[:1].isdigit()
    ]
    splits += [index for index, word in enumerate(words) if index and word.text in (":", ":") and index not in splits]
    splits = sorted(set(splits))
    if not splits:
        return []
    found: list[tuple[list[Word], list[Word]]] = []
    begin = 0
    for number, split in enumerate(splits):
        label = list(words[begin : split + 1])
        following = splits[number + 1] if number + 1 < len(splits) else None
        if following is None:
            end = len(words)
        else:
            end = _label_start(words, split + 1, following)
        if label_like(label_text(label)):
            found.append((label, list(words[split + 1 : end])))
        elif found:
            found[-1][1].extend([*label, *words[split + 1 : end]])
        begin = end
    return found


def _label_start(words: Sequence[Word], first: int, colon: int) -> int:
    """Where the label that ends at ``colon`` begins: after the widest gap, or with its last capitalised word."""
    best = colon
    for index in range(colon, first, -1):
        gap = words[index].level_box.x0 - words[index - 1].level_box.x1
        if gap > 0.8 * words[index].level_box.height:
            return index
        if words[index].text[:1].isupper():
            best = index
            break
    return best


def is_filling(text: str) -> bool:
    """Whether a cell is nothing but dots or a line to write on."""
    return not any(ch.isalnum() for ch in text) and not choices_mark(text)


def choices_mark(text: str) -> bool:
    """Whether a text is a box to tick."""
    return any(ch in "☐☑☒□■✓✔✗✘" for ch in text)
