"""Pages on the grid: random letters to learn reading by, and receipts whose content the samples' generator invents."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from maker.draft import Draft, Item, new_draft
from maker.locales import LOCALES, shaped
from maker.sale import Sale

COUNTRIES = ("en_MY", "en_SG", "en_US", "en_AU")
"""Countries whose receipts need no letter beyond ASCII."""
FIELDS = (
    "company",
    "address",
    "receipt_number",
    "date",
    "items",
    "subtotal",
    "tax",
    "total",
    "currency",
    "payment_method",
)
ITEM_FIELDS = ("description", "quantity", "unit_price", "amount")
Part = Literal["head", "goods", "sums", "till"]
PARTS: dict[Part, tuple[str, ...]] = {
    "head": ("company", "address", "receipt_number", "date"),
    "goods": ("items",),
    "sums": ("subtotal", "tax", "total", "currency", "payment_method"),
    "till": ("company", "receipt_number", "date", "subtotal", "tax", "total", "currency", "payment_method"),
}
"""The parts of a receipt, from top to bottom, and the fields that each of them tells; the last is a whole receipt, of
which a program asks for no more than that."""


@dataclass(frozen=True)
class Receipt:
    """The rows of a receipt on the grid and its record, each value as printed. ``goods`` are the rows of the goods.

    ``country`` says how its dates and amounts are meant, ``en_US`` for one.
    """

    rows: tuple[str, ...]
    record: dict[str, Any]
    goods: tuple[int, int]
    country: str

    def part(self, name: Part, rng: random.Random) -> tuple[str, ...]:
        """The rows of one part, with a little of what stands around it."""
        start, end = self.goods
        if name == "till":
            return self.rows
        if name == "head":
            return self.rows[: start - rng.randint(0, 1)]
        if name == "sums":
            return self.rows[end + rng.randint(-1, 1) :]
        return self.rows[start - rng.randint(1, 3) : end + rng.randint(1, 3)]


@dataclass(frozen=True)
class Strings:
    """Rows of random letters. ``pairs`` are rows of a label and a value, ``lines`` all others."""

    rows: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]


# --- random letters -------------------------------------------------------------------------------------------------

_ALPHABETS = (
    string.digits,
    string.digits + ".,",
    string.ascii_uppercase,
    string.ascii_lowercase,
    string.ascii_uppercase + string.digits,
    string.ascii_letters + string.digits + ".,-/:#&()",
    "".join(chr(code) for code in range(33, 127) if chr(code) not in '"\\'),
)


def strings(rng: random.Random, rows: int, columns: int, *, alike: bool = False) -> Strings:
    """A page of random rows: some are a label and a value, some are words, some are empty; ``alike`` repeats pieces."""
    out: list[str] = []
    pairs: list[tuple[str, str]] = []
    lines: list[str] = []
    width = 2 * columns

    def written(length: int) -> str:
        text = _words(rng, length)
        before = [text for pair in pairs for text in pair] + lines
        return _with_piece(rng, text, rng.choice(before)) if alike and before and rng.random() < 0.6 else text

    for _ in range(rows):
        dice = rng.random()
        if dice < 0.1 and rows > 2:
            out.append("")
        elif dice < 0.55 and width >= 12:
            label = written(rng.randint(2, min(8, width // 3)))
            value = written(rng.randint(1, width - len(label) - 2))
            room = width - len(label) - len(value)
            gap = room if rng.random() < 0.5 else rng.randint(2, room)
            colon = rng.choice(("", ":", " :")) if gap > 3 else ""
            out.append(label + colon + " " * (gap - len(colon)) + value)
            pairs.append((label, value))
        else:
            text = written(rng.randint(min(4, width), width))
            indent = rng.choice((0, 0, rng.randint(0, width - len(text))))
            out.append(" " * indent + text)
            lines.append(text)
    return Strings(tuple(out), tuple(pairs), tuple(lines))


def _words(rng: random.Random, length: int) -> str:
    """Random letters, with single blanks among them but not at the ends."""
    alphabet = rng.choice(_ALPHABETS)
    text = "".join(rng.choices(alphabet, k=length))
    if length > 5 and rng.random() < 0.6:
        place = rng.randint(2, length - 3)
        text = text[:place] + " " + text[place + 1 :]
        if length > 12 and rng.random() < 0.5 and abs(place - length // 3) > 2:
            text = text[: length // 3] + " " + text[length // 3 + 1 :]
    return text


def _with_piece(rng: random.Random, text: str, other: str) -> str:
    """A text, as long as before, with a piece of another one in it."""
    length = min(rng.randint(2, 6), len(text), len(other))
    start, place = rng.randint(0, len(other) - length), rng.randint(0, len(text) - length)
    piece = other[start : start + length]
    made = text[:place] + piece + text[place + length :]
    return made if "  " not in made and made == made.strip() else text


def strings_of(rows: Sequence[str]) -> Strings:
    """The rows of a receipt to read from as from random letters: two texts with a gap are a label and a value."""
    pairs, lines = [], []
    for row in rows:
        parts = [part.rstrip(" :") for part in row.strip().split("  ") if part.strip(" :")]
        if len(parts) == 2:
            pairs.append((parts[0], parts[1].strip()))
        elif len(parts) == 1 and len(set(parts[0])) > 1:
            lines.append(parts[0])
    return Strings(tuple(rows), tuple(pairs), tuple(lines))


# --- receipts -------------------------------------------------------------------------------------------------------


def receipt(rng: random.Random, columns: int, count: int, *, alike: bool = False) -> Receipt:
    """A receipt of ``count`` goods on paper of ``columns`` cells (two letters each), ``alike`` as by ``confuse``."""
    while True:
        country = rng.choice(COUNTRIES)
        draft = new_draft(rng, LOCALES[country], 400, 4000, ("till",), (9,))
        sale = Sale(draft, count)
        if alike:
            confuse(draft, sale)
        made = _Roll(draft, sale, 2 * columns)
        made.print()
        if made.fits:
            return Receipt(tuple(made.rows), made.record, made.goods, country)


def confuse(draft: Draft, sale: Sale) -> None:
    """Make words begin or end as others on the receipt do, and sums differ in their last digits only.

    Who copies by the last few letters alone goes on in the wrong place there: to be right, one has to know the place.
    """
    rng = draft.rng
    date = draft.date(sale.day).text

    def mixed(text: str, others: str) -> str:
        mine, theirs = (re.findall(r"[^\W\d_]{3,}", words) for words in (text, others))
        if not mine or not theirs:
            return text
        word, other = rng.choice(mine), rng.choice(theirs)
        length = rng.randint(2, len(other))
        new = other[:length] + word[rng.randint(0, 2) :] if rng.random() < 0.5 else word[:3] + other[-length:]
        return text.replace(word, new, 1)

    def near(value: Decimal) -> Decimal:
        digits = rng.randint(1, 3)
        last = value % (Decimal(10**digits) / 100)
        return value - last + Decimal(rng.randrange(10**digits)) / 100

    if rng.random() < 0.3:
        sale.company = mixed(sale.company, f"{sale.company} {sale.items[0].description}")
    there = f"{sale.company} {date} {date}"
    sale.address = [mixed(line, there) if rng.random() < 0.4 else line for line in sale.address]
    sale.items = [
        replace(item, description=mixed(item.description, there)) if rng.random() < 0.6 else item for item in sale.items
    ]
    if rng.random() < 0.5:
        sale.total = near(sale.goods)
        sale.paid = sale.total if sale.by_card else near(sale.total)
        sale.tax = near(sale.tax) if rng.random() < 0.5 else near(sale.goods)
        sale.items = [replace(item, amount=near(sale.goods)) if rng.random() < 0.3 else item for item in sale.items]
    if rng.random() < 0.3:  # a number of few digits: where one is in it has to be counted
        few = rng.sample(string.digits, 2)
        sale.number = re.sub(r"\d", lambda _: rng.choice(few), sale.number)


@dataclass
class _Roll:
    """A receipt being printed in columns of letters."""

    draft: Draft
    sale: Sale
    width: int
    rows: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(FIELDS))
    fits: bool = True
    goods: tuple[int, int] = (0, 0)

    def print(self) -> None:
        draft, sale, rng = self.draft, self.sale, self.draft.rng
        self.record["items"] = []
        centred = draft.chance(0.5)
        self.head(sale.company, centred=centred)
        self.record["company"] = sale.company
        for line in sale.address:
            self.head(line, centred=centred)
        self.record["address"] = ", ".join(sale.address)
        if draft.chance(0.6):
            self.head(f"{draft.label('phone')}: {sale.phone}", centred=centred)
        if draft.chance(0.3):
            self.head(draft.label("title"), centred=centred)
        if draft.chance(0.4):
            self.rows.append("")
        self.particulars(draft.date(sale.day).text)
        self.line()
        style = rng.choice(("one_line", "two_lines", "counted"))
        start = len(self.rows)
        for item in sale.items:
            self.item(item, style)
        self.goods = start, len(self.rows)
        self.line()
        self.sums()
        if draft.chance(0.5):
            self.rows.append("")
        self.head(draft.label("thanks"), centred=centred)
        self.fits = self.fits and all(len(row) <= self.width and row.isascii() for row in self.rows)

    def head(self, text: str, *, centred: bool) -> None:
        if len(text) > self.width:
            self.fits = False
        self.rows.append((" " * ((self.width - len(text)) // 2) if centred else "") + text)

    def beside(self, left: str, right: str) -> None:
        """Two texts at both ends of a row."""
        if len(left) + len(right) + 2 > self.width:
            self.fits = False
        self.rows.append(left + " " * (self.width - len(left) - len(right)) + right)

    def line(self) -> None:
        mark = self.draft.rng.choice(("-", "=", "*", ""))
        self.rows.append(mark * self.width)

    def particulars(self, date: str) -> None:
        draft, rng = self.draft, self.draft.rng
        self.record |= {"date": date, "receipt_number": self.sale.number}
        colon = rng.choice((": ", ":", " : ", " "))
        clock = draft.clock() if draft.chance(0.5) else ""
        first = f"{draft.label('date')}{colon}{date}"
        second = f"{draft.label('receipt_number')}{colon}{self.sale.number}"
        style = rng.choice(("rows", "rows", "ends"))
        if style == "ends":
            self.beside(f"{draft.label('date')}{colon}".strip(), date)
            self.beside(f"{draft.label('receipt_number')}{colon}".strip(), self.sale.number)
            return
        both = [f"{first}  {clock}".rstrip(), second]
        rng.shuffle(both)
        self.rows += both
        if draft.chance(0.4):
            self.rows.append(f"{draft.label('till')}{colon}{shaped(rng, '99')}")

    def item(self, item: Item, style: str) -> None:
        locale = self.draft.locale
        quantity, price, amount = (
            locale.quantity(item.quantity),
            locale.number(item.unit_price),
            locale.number(item.amount),
        )
        printed: dict[str, str | None] = dict.fromkeys(ITEM_FIELDS)
        printed |= {"description": item.description, "amount": amount}
        if style == "one_line":
            self.beside(item.description, amount)
        elif style == "counted":
            self.beside(f"{quantity} x {item.description}", amount)
            printed["quantity"] = quantity
        else:
            self.rows.append(item.description)
            self.beside(f"  {quantity} x {price}", amount)
            printed |= {"quantity": quantity, "unit_price": price}
        self.record["items"].append(printed)

    def sums(self) -> None:
        draft, sale, locale = self.draft, self.sale, self.draft.locale
        colon = draft.rng.choice(("", "", ":"))

        def row(label: str, value: Decimal, path: str | None = None) -> None:
            self.beside(label + colon, locale.number(value))
            if path:
                self.record[path] = locale.number(value)

        if sale.added or sale.discount or draft.chance(0.4):
            row(draft.label("subtotal") if sale.added else draft.plain_label("subtotal"), sale.goods, "subtotal")
        if sale.discount:
            row(f"{draft.label('discount')} 10%", -sale.discount)
        if sale.added:
            row(f"{locale.tax_name} {locale.quantity(sale.rate)}%", sale.tax, "tax")
        if sale.rounding:
            row(draft.label("rounding"), sale.rounding)
        sign = draft.sign.strip() if draft.chance(0.6) else ""
        space = " " if draft.sign != draft.sign.strip() else ""
        amount = locale.number(sale.total)
        if sign:
            self.record["currency"] = sign
        total = (
            amount if not sign else f"{amount}{space}{sign}" if draft.sign.startswith(" ") else f"{sign}{space}{amount}"
        )
        self.beside(draft.label("total") + colon, total)
        self.record["total"] = amount
        if draft.chance(0.85):
            way = draft.label("card" if sale.by_card else "cash")
            self.beside(way, locale.number(sale.paid))
            self.record["payment_method"] = way
            if not sale.by_card:
                self.beside(draft.label("change"), locale.number(sale.paid - sale.total))
