"""One printed line of a list of goods: which of its numbers is the amount, the quantity, the unit price."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from docflow.documents.model import Word
from docflow.engines.embedded.cells import spaced, word_spans
from docflow.engines.embedded.figures import Figure, figures, product_fits
from docflow.fields.text import plain
from docflow.reading.layout import Line

_TIMES = re.compile(r"(?<![^\W\d_])[xX×*@✕](?![^\W\d_])")
_MIDDLE_X = re.compile(r"(?<=[\d\s])[xX](?=\d)|(?<=\d)[xX](?=\s)")
_UNIT = (
    r"(?:pcs?|ea|pkts?|packs?|btl|bott?les?|botol|un|uds?|st[kc]?|szt|kgs?|g|gr|lbs?|oz|ml|cl|l|lt|ltr|lit(?:re|er)s?|m|mtr|units?"
    r"|each|nos?|sets?|box(?:es)?|bags?|cans?|peti|pz|kpl|ks|db|adet|개|個|본|点|件)"
)
_EACH = re.compile(r"(?:[A-Z]{3}|[€$£]|kr|zł)?/\s?(?:kg|g|l|lb|oz|st|stk|pcs?|uds?|un|m|szt|db)\.?", re.IGNORECASE)
"""What a price is for: "EUR/kg"."""
_RATE = re.compile(r"\d{1,2}(?:[.,]\d{1,2})?%")
_UNIT_BEHIND = re.compile(rf"\s{{0,2}}{_UNIT}\b\.?", re.IGNORECASE)
_MEASURE = re.compile(r"(?:kg|g|gr|mg|ml|cl|l|cm|mm|m|pcs|pc|oz|lb|w|v|inch|s)\b", re.IGNORECASE)
# Behind the amount of a line: tax letters, marks, a currency, and what OCR makes of them.
_TAIL = re.compile(
    r"[^\w\d]*(?:[A-Z]{1,4}|[a-z]|\*[A-Z]|\[[A-Z]{1,3}\]|\([A-Z]\))?(?:\s+[A-Z]{1,3})?(?:(?<=\s)\d)?[^\w\d]*$"
)
_LEADING = re.compile(
    rf"^\s*(\d{{1,3}})\s*(?:{_UNIT}\b\.?)?\s*[xX×*]?\s+(?=\S)|^\s*(\d{{1,2}})[xX×*](?=\s|[A-Z])", re.IGNORECASE
)


@dataclass(slots=True)
class ItemLine:
    """A printed line and the roles of the numbers on it."""

    line: Line
    text: str
    amount: Figure | None = None
    quantity: Figure | None = None
    price: Figure | None = None
    spans: list[tuple[int, int]] = field(default_factory=list)
    """What is taken by figures, marks, units and tax letters: the rest describes the item."""
    tail: tuple[int, int] | None = None
    fits: bool = False
    """Quantity x price gives the amount."""

    @property
    def rest(self) -> list[Word]:
        """The words that describe: not taken by a figure, a mark or a tax letter."""
        kept = []
        for word, (start, end) in zip(self.line.words, word_spans(self.line.words), strict=True):
            taken = sum(max(0, min(end, b) - max(start, a)) for a, b in self.spans)
            if taken < 0.5 * len(word.text):
                kept.append(word)
        kept = [word for word in kept if not _EACH.fullmatch(word.text)]
        while kept and not any(ch.isalnum() for ch in kept[0].text):
            kept.pop(0)
        alone = {id(cell.words[0]) for cell in self.line.cells if len(cell.words) == 1}
        while kept and not any(ch.isalnum() for ch in kept[-1].text):
            kept.pop()
        if len(kept) > 1 and id(kept[-1]) in alone and _RATE.fullmatch(kept[-1].text):
            kept.pop()  # a tax rate in a column of its own
        return kept

    @property
    def describes(self) -> bool:
        """Whether words of its own can name an item: some letters, and more than one code."""
        rest = [word for word in self.rest if not _UNIT_BEHIND.fullmatch(word.text)]
        letters = [ch for word in rest for ch in word.text if ch.isalpha()]
        if any(ord(ch) > 0x2E80 for ch in letters):
            return True
        coded = (
            len(rest) == 1 and sum(ch.isdigit() for ch in rest[0].text) >= 2 and rest[0].text.upper() == rest[0].text
        )
        return len(letters) >= 3 and not coded


def parse_line(line: Line, *, whole: bool = False) -> ItemLine:
    """Find the amount at the end of a line, and quantity and unit price before it.

    ``whole``: the page's amounts have no decimals, so that a plain number may be one.
    """
    text = _MIDDLE_X.sub("×", plain(spaced(line.words)))
    item = ItemLine(line, text)
    found = list(figures(text))
    times = [match.span() for match in _TIMES.finditer(text)]
    if _find_detail(item, found, times):
        return item
    for figure in reversed(found):
        behind = text[figure.end :]
        amount = figure.is_amount or (whole and figure.is_count and abs(figure.value) >= 10 and len(line.cells) > 1)
        if amount and _TAIL.match(behind) and not (figure.letters and _MEASURE.match(behind)):
            item.amount = figure
            item.tail = (figure.end, len(text))
            item.spans += [(figure.start, figure.end), (figure.end, len(text))]
            before = [other for other in found if other.end <= figure.start and not other.percent]
            _find_product(item, figure, before, times)
            break
    return item


def _find_product(item: ItemLine, amount: Figure, before: Sequence[Figure], times: Sequence[tuple[int, int]]) -> None:
    """Quantity and unit price among the numbers before the amount."""
    pairs = [
        (q, p)
        for q in before
        for p in before
        if q is not p
        and (q.is_count or q.decimals in (1, 2, 3))
        and (p.is_amount or p.decimals == 4 or amount.decimals == 0)
    ]
    # The count before the price, and the figures nearest to the amount first.
    pairs.sort(
        key=lambda pair: (pair[0].is_count, pair[0].end <= pair[1].start, pair[0].start + pair[1].start), reverse=True
    )
    fitting = next((pair for pair in pairs if product_fits(*pair, amount)), None)
    if fitting:
        item.quantity, item.price = fitting
        item.fits = True
    else:
        _find_by_marks(item, before, times)
    if item.quantity is None:
        match = _LEADING.match(item.text)
        figure = next((f for f in before if match and f.start == match.start(1 if match[1] else 2)), None)
        if figure and figure.is_count and 0 < figure.value < 1000:
            item.quantity = figure
    for used in (item.quantity, item.price):
        if used:
            unit = _UNIT_BEHIND.match(item.text, used.end) if used is item.quantity else None
            item.spans.append((used.start, unit.end() if unit else used.end))
    if item.quantity:
        ends = [span for span in item.spans if span[1] <= amount.start]
        for start, end in times:
            beside = any(0 <= start - b <= 2 for _, b in ends)
            before_price = item.price is not None and 0 <= item.price.start - end <= 3
            if beside or before_price:
                item.spans.append((start, end))


def _find_by_marks(item: ItemLine, before: Sequence[Figure], times: Sequence[tuple[int, int]]) -> None:
    """Quantity and price around a multiplication sign, where the product is misprinted, misread or rounded."""
    for start, end in times:
        left = [f for f in before if f.end <= start and start - f.end <= 6]
        right = [f for f in before if f.start >= end and f.start - end <= 3 and f.is_amount]
        opens = bool(left) and not any(ch.isalpha() for ch in item.text[: left[-1].start])
        if left and (left[-1].is_count or right) and (right or opens):
            item.quantity = left[-1]
            item.price = right[0] if right else None
            return


def _find_detail(item: ItemLine, found: Sequence[Figure], times: Sequence[tuple[int, int]]) -> bool:
    """Whether a line says "2 x 3.50" and no more: a price for each, but no amount."""
    for start, end in times:
        left = [f for f in found if f.end <= start and start - f.end <= 8]
        right = [f for f in found if f.start >= end and f.start - end <= 4]
        if not left or not right or len([f for f in found if f.start > right[0].start and not f.percent]) > 0:
            continue
        quantity, price = left[-1], right[0]
        if quantity.decimals == 2 and price.is_count:
            quantity, price = price, quantity
        counted = quantity.is_count or quantity.decimals in (1, 2, 3)
        priced = price.is_amount or price.decimals in (1, 3, 4)
        if counted and priced and quantity.value < 10_000 and not _words_before(item.text, left[-1].start):
            item.quantity, item.price = quantity, price
            item.spans += [(left[-1].start, right[0].end), (right[0].end, len(item.text))]
            return True
    return False


def _words_before(text: str, end: int) -> bool:
    """Whether anything but a short mark or a code stands before the figures."""
    return sum(ch.isalpha() for ch in text[:end]) > 2
