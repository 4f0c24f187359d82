"""A document in the making: its dice, its country, its sheet, and the small pieces every layout needs."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from maker import locales, words
from maker.locales import Locale
from maker.sheet import FAMILIES, Align, Family, Sheet, Span

CENT = Decimal("0.01")


@dataclass
class Draft:
    """What the layouts of one document share. ``rng`` decides everything, so a seed gives one document."""

    rng: random.Random
    locale: Locale
    sheet: Sheet
    sign: str = field(init=False)
    date_pattern: str = field(init=False)

    def __post_init__(self) -> None:
        self.sign = self.rng.choice(self.locale.signs)
        self.date_pattern = self.rng.choice(self.locale.dates)

    def chance(self, share: float) -> bool:
        """True in this share of documents."""
        return self.rng.random() < share

    def label(self, key: str) -> str:
        """One of the country's labels for this."""
        return locales.label(self.rng, self.locale, key)

    def plain_label(self, key: str) -> str:
        """The country's plainest label for this."""
        return locales.plain_label(self.locale, key)

    def day(self) -> dt.date:
        """A day of the last few years."""
        return dt.date(2021, 1, 1) + dt.timedelta(days=self.rng.randrange(5 * 365))

    def date(self, day: dt.date, path: str | None = None) -> Span:
        """A day as this document prints days."""
        return Span(self.locale.date(day, self.date_pattern), path, day.isoformat())

    def clock(self) -> str:
        """A time of day as printed."""
        hour, minute = self.rng.randrange(7, 23), self.rng.randrange(60)
        if self.locale.language == "en" and self.chance(0.4):
            return f"{(hour - 1) % 12 + 1:02}:{minute:02} {'AM' if hour < 12 else 'PM'}"
        return f"{hour:02}:{minute:02}" + (f":{self.rng.randrange(60):02}" if self.chance(0.4) else "")

    def cents(self, value: Decimal) -> Decimal:
        """Rounded to the smallest coin on paper."""
        return value.quantize(Decimal(1) if self.locale.places == 0 else CENT)

    def money(self, value: Decimal, path: str | None = None, *, sign: bool = False) -> list[Span]:
        """An amount, with the currency beside it when asked for."""
        amount = Span(self.locale.number(value), path, str(self.cents(value)))
        if not sign:
            return [amount]
        currency = Span(self.sign, "currency" if path else None, self.locale.currency)
        return [amount, currency] if self.sign.startswith(" ") else [currency, amount]

    def quantity(self, value: Decimal, path: str | None = None) -> Span:
        """A count or weight."""
        return Span(self.locale.quantity(value), path, format(value.normalize(), "f"))

    def address(
        self,
        x: float,
        y: float,
        lines: Sequence[str],
        *,
        path: str | None = "address",
        align: Align = "left",
        width: float = 1e9,
        upper: bool = False,
    ) -> float:
        """Draw an address in its lines; the baseline after it comes back."""
        sheet = self.sheet
        lines = [line.upper() for line in lines] if upper else list(lines)
        value = ", ".join(lines)
        commas = self.chance(0.4)
        if self.chance(0.35):
            lines, commas = [value], False
        for number, line in enumerate(lines):
            text = line + ("," if commas and number < len(lines) - 1 else "")
            y = sheet.paragraph(x, y, text, width, path=path, value=value, align=align, goes_on=number > 0)
        return y


def new_draft(
    rng: random.Random, locale: Locale, width: float, height: float, families: Sequence[str], sizes: Sequence[float]
) -> Draft:
    """An empty sheet in one of the type families (Korean has its own)."""
    family: Family = FAMILIES["gothic" if locale.language == "ko" else rng.choice(families)]
    return Draft(rng, locale, Sheet(width, height, family, rng.choice(sizes)))


@dataclass(frozen=True)
class Item:
    """A line of goods; ``unit`` is printed after a quantity that is a weight."""

    description: str
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
    unit: str = ""


def make_items(draft: Draft, trade: words.Trade, count: int) -> list[Item]:
    """Goods of a trade, each once."""
    rng = draft.rng
    items: list[Item] = []
    for goods in rng.sample(trade.goods, min(count, len(trade.goods))):
        description = f"{goods} {rng.choice(trade.variants)}" if trade.variants and draft.chance(0.3) else goods
        quantity = Decimal(rng.choice((1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 10, 12)))
        unit_price = words.price(rng, trade, draft.locale)
        items.append(Item(description, quantity, unit_price, draft.cents(quantity * unit_price)))
    return items


def logo(draft: Draft, x: float, y: float, size: float, colour: str) -> None:
    """An invented mark of simple shapes in the square whose top left corner is (x, y)."""
    sheet, shape = draft.sheet, draft.rng.randrange(4)
    if shape == 0:
        sheet.area(x, y, x + size, y + size, fill=colour, radius=size / 2)
        sheet.area(
            x + size * 0.28, y + size * 0.28, x + size * 0.72, y + size * 0.72, fill="#ffffff", radius=size * 0.22
        )
    elif shape == 1:
        for step in range(3):
            sheet.area(
                x + step * size * 0.34,
                y + size * (0.6 - step * 0.3),
                x + step * size * 0.34 + size * 0.27,
                y + size,
                fill=colour,
            )
    elif shape == 2:
        sheet.area(x, y, x + size, y + size, edge=colour, radius=size * 0.15)
        for step in range(1, 4):
            sheet.stroke(
                x + size * 0.2, y + size * step / 4, x + size * 0.8, y + size * step / 4, width=size / 14, colour=colour
            )
    else:
        sheet.area(x, y, x + size * 0.6, y + size * 0.6, fill=colour)
        sheet.area(x + size * 0.4, y + size * 0.4, x + size, y + size, edge=colour)
