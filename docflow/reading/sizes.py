"""How large text is printed: the size of its type, whatever letters it happens to have.

Some readers give boxes as high as the line ("name" and "Ply" alike), others boxes that end at the letters' own edges.
For the latter the letters tell how much of the type's height the box can show.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from docflow.documents.model import Word
from docflow.reading.layout import Layout

_ABOVE, _BELOW, _MIDDLE = 0.21, 0.21, 0.52
"""Parts of the size of type: what reaches above small letters, below the line, and the small letters themselves."""
_DESCENDING = frozenset("gjpqy,;()[]{}/|@$QçşțĄĘąęß")
_LOW = frozenset("acemnorsuvwxzgpqy.,:;-_~+=<>·")


def is_tight(layout: Layout) -> bool:
    """Whether boxes end at the edges of the letters: words side by side differ in height as their letters do.

    Where a page has too few such words to tell, a PDF's text layer is taken to be tight, and OCR not.
    """
    agree = total = 0
    for line in layout.lines:
        for cell in line.cells:
            shown = [(_shown(word.text), word.level_box.height) for word in cell.words]
            low, high = min(shown), max(shown)
            if high[0] > 1.25 * low[0]:
                total += 1
                agree += high[1] > 1.15 * low[1]
    return agree > 0.6 * total if total >= 3 else layout.page.text_layer


def size_of(words: Iterable[Word], *, tight: bool) -> float:
    """The size of type of some words, in the unit of the page; the median where they differ."""
    if not tight:
        return statistics.median(word.level_box.height for word in words)
    return statistics.median(word.level_box.height / _shown(word.text) for word in words)


def _shown(text: str) -> float:
    """How much of the height of its type the box of a word shows."""
    above = _ABOVE if any(ch not in _LOW for ch in text) else 0.0
    below = _BELOW if any(ch in _DESCENDING for ch in text) else 0.0
    return _MIDDLE + above + below
