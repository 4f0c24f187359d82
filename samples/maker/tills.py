"""Receipts from a roll of paper: tills and restaurants."""

from __future__ import annotations

import random
from typing import Literal

from maker import words
from maker.draft import Draft, Item, logo, new_draft
from maker.locales import Locale, shaped
from maker.sale import Sale, sum_lines
from maker.sheet import Align, Span, text_width

Style = Literal["one_line", "two_lines", "columns", "counted"]


def till(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A narrow roll: head, goods, sums with the label left and the value right, often a tax table."""
    families = ("till", "till", "mono", "narrow", "sans", "vera_narrow")
    draft = new_draft(rng, locale, rng.choice((205, 227, 240)), 4000, families, (8, 8.5, 9))
    sheet, sale = draft.sheet, Sale(draft, count, weighed=True, tax_table=True)
    left, right = 12.0, sheet.width - 12
    step = sheet.size * rng.choice((1.3, 1.4, 1.55))
    y = _head(draft, sale, 26.0, left, right, centred=draft.chance(0.75))
    y = _particulars(draft, sale, y + step * 0.4, left, right, step)
    y = _separator(draft, y, left, right, step)
    styles: tuple[Style, ...] = ("one_line", "two_lines", "columns", "columns", "counted")
    y = _goods(draft, sale.items, y, left, right, step, rng.choice(styles))
    y = _separator(draft, y, left, right, step)
    y = _sums(draft, sale, y, left, right, step)
    if sale.tax_table:
        y = _tax_table(draft, sale, y + step * 0.5, left, right, step)
    y += step * 0.6
    for _ in range(rng.randrange(1, 3)):
        y = sheet.paragraph(sheet.width / 2, y, draft.label("thanks"), right - left, align="center")
    if draft.chance(0.4):
        y = _bar_code(draft, y, sheet.width / 2)
    sheet.crop(y + 14)
    return draft


def restaurant(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A guest check: everything about the middle, counted dishes, service charge, a large total in a frame."""
    draft = new_draft(rng, locale, rng.choice((220, 250, 280)), 3000, ("serif", "sans", "till", "wide"), (9, 9.5))
    sheet, sale = draft.sheet, Sale(draft, count, served=True)
    left, right, middle = 18.0, sheet.width - 18, sheet.width / 2
    step = sheet.size * 1.5
    y = sheet.paragraph(middle, 34, sale.company, right - left, path="company", align="center", size=sheet.size * 1.7)
    y = draft.address(middle, y, sale.address, align="center", width=right - left)
    sheet.text(middle, y, f"{draft.label('phone')} {sale.phone}", align="center")
    y += step * 1.3
    table = f"{draft.label('table')} {rng.randrange(1, 40)}"
    sheet.text(left, y, table)
    sheet.text(right, y, draft.date(sale.day, "date"), "  ", draft.clock(), align="right")
    y += step
    sheet.text(left, y, draft.label("receipt_number"), " ", Span(sale.number, "receipt_number"))
    sheet.text(right, y, draft.label("cashier"), " ", words.person(rng, locale).split()[0], align="right")
    sheet.rule(left, y + step * 0.5, right, width=1)
    y = _goods(draft, sale.items, y + step * 1.5, left, right, step, rng.choice(("counted", "one_line")))
    sheet.rule(left, y - step * 0.5, right, width=1)
    y = sum_lines(draft, sale, y + step * 0.5, left, right, step, colon="")
    big = sheet.size * 1.5
    sheet.area(left, y - big * 0.5, right, y + big * 1.3, edge="#000000")
    sheet.text(left + 6, y + big * 0.75, draft.label("total"), bold=True, size=big)
    spans = draft.money(sale.total, "total", sign=draft.chance(0.7))
    sheet.text(right - 6, y + big * 0.75, *spans, align="right", bold=True, size=big)
    y += big * 2.5
    if not sale.added:
        text = f"{locale.tax_name} {locale.quantity(sale.rate)}%  "
        sheet.text(middle, y, text, *draft.money(sale.tax, "tax"), align="center")
        y += step
    if draft.chance(0.6):
        y = _paid(draft, sale, y, left, right, step)
    y = sheet.paragraph(middle, y + step * 0.5, draft.label("thanks"), right - left, align="center")
    sheet.crop(y + 14)
    return draft


def _head(draft: Draft, sale: Sale, y: float, left: float, right: float, *, centred: bool) -> float:
    sheet, rng = draft.sheet, draft.rng
    align: Align = "center" if centred else "left"
    x = (left + right) / 2 if centred else left
    width = right - left
    if draft.chance(0.3):
        logo(draft, x - 14 if centred else x, y - 12, 28, rng.choice(("#222222", "#444444")))
        y += 34
    big = sheet.size * rng.choice((1.0, 1.25, 1.5))
    y = sheet.paragraph(x, y, sale.company, width, path="company", align=align, bold=draft.chance(0.7), size=big)
    if draft.locale.code == "en_MY" and draft.chance(0.5):
        y = sheet.paragraph(x, y, f"({shaped(rng, '999999-?')})", width, align=align)
    y = draft.address(x, y, sale.address, align=align, width=width, upper=draft.chance(0.4))
    if draft.chance(0.7):
        y = sheet.paragraph(x, y, f"{draft.label('phone')}: {sale.phone}", width, align=align)
    if draft.chance(0.5):
        y = sheet.paragraph(x, y, f"{draft.locale.tax_id}: {sale.tax_id}", width, align=align)
    if draft.chance(0.4):
        y += sheet.size * 0.5
        sheet.text((left + right) / 2, y, draft.label("title"), align="center", bold=True)
        y += sheet.size * 1.3
    return y


def _particulars(draft: Draft, sale: Sale, y: float, left: float, right: float, step: float) -> float:
    """Number, date, time, cashier, in one of the ways in which tills print them."""
    sheet, rng = draft.sheet, draft.rng
    date = draft.date(sale.day, "date")
    number = Span(sale.number, "receipt_number")
    colon = rng.choice((": ", " : ", " "))
    style = rng.choice(("labels", "labels", "bare", "pairs", "spread"))
    if style == "bare":
        sheet.text(left, y, date, "  ", draft.clock())
        sheet.text(right, y, "#", number, align="right")
        return y + step
    if style == "spread":
        sheet.text(left, y, draft.label("receipt_number") + colon, number)
        y += step
        sheet.text(left, y, draft.label("date") + colon, date)
        sheet.text(right, y, draft.clock(), align="right")
        return y + step
    if style == "pairs":
        tab = left + (right - left) * 0.42
        pairs: dict[str, Span | str] = {
            "receipt_number": number,
            "date": date,
            "time": draft.clock(),
            "cashier": words.person(rng, draft.locale),
        }
        for name, value in pairs.items():
            sheet.text(left, y, draft.label(name))
            sheet.text(tab, y, ": ", value)
            y += step
        return y
    rows: list[list[Span | str]] = [
        [draft.label("date") + colon, date, " ", draft.clock()],
        [draft.label("receipt_number") + colon, number],
    ]
    rng.shuffle(rows)
    cashier = words.person(rng, draft.locale).split()[0]
    rows.append(
        [draft.label("till") + colon, f"{rng.randrange(1, 9):02}", "  ", draft.label("cashier") + colon, cashier]
    )
    for row in rows[: rng.randrange(2, 4)]:
        sheet.text(left, y, *row)
        y += step
    return y


def _separator(draft: Draft, y: float, left: float, right: float, step: float) -> float:
    sheet, kind = draft.sheet, draft.rng.randrange(4)
    if kind == 0:
        sheet.rule(left, y - step * 0.45, right)
    elif kind == 1:
        sheet.rule(left, y - step * 0.45, right, dash=(3, 2))
    elif kind == 2:
        mark = draft.rng.choice("-=*")
        sheet.text(left, y, mark * int((right - left) / text_width(mark, sheet.family.plain, sheet.size)))
        return y + step
    return y + step * 0.45


def _goods(draft: Draft, items: list[Item], y: float, left: float, right: float, step: float, style: Style) -> float:
    """The goods; the baseline after them comes back."""
    sheet, rng = draft.sheet, draft.rng
    suffix = rng.choice(("", "", "", " *", " A", " S")) if style != "columns" else ""
    times = rng.choice(("x", " x", ""))
    between = rng.choice((" x ", " @ "))
    width, leading = right - left, step / sheet.size
    table = _Columns(draft, left, right) if style == "columns" else None
    if table:
        table.heads(y)
        y += step * 1.1
    for number, item in enumerate(items):
        path = f"items[{number}]"
        amount: list[Span | str] = [*draft.money(item.amount, f"{path}.amount"), suffix]
        unit_price = draft.money(item.unit_price, f"{path}.unit_price")
        quantity = draft.quantity(item.quantity, f"{path}.quantity")
        till_font = sheet.family.plain.font.startswith("Courier")
        name = item.description.upper() if till_font else item.description
        described = f"{path}.description"
        if table:
            y = table.row(y, quantity, name, described, unit_price, amount, leading)
            continue
        if style == "two_lines" or item.unit:
            y = sheet.paragraph(left, y, name, width, path=described, leading=leading)
            per = f"/{item.unit}" if item.unit else ""
            sheet.text(left + 14, y, quantity, f" {item.unit}" if item.unit else "", between, *unit_price, per)
            sheet.text(right, y, *amount, align="right")
            y += step
        elif style == "counted":
            sheet.text(right, y, *amount, align="right")
            sheet.text(left, y, quantity, times)
            y = sheet.paragraph(left + 24, y, name, width * 0.66 - 24, path=described, leading=leading)
        else:
            sheet.text(right, y, *amount, align="right")
            y = sheet.paragraph(left, y, name, width * 0.7, path=described, leading=leading)
    return y


class _Columns:
    """Quantity, goods, price and amount in columns under heads; the quantity stands first or after the goods."""

    def __init__(self, draft: Draft, left: float, right: float) -> None:
        width = right - left
        self.draft, self.right = draft, right
        self.quantity_first = draft.chance(0.5)
        self.price_x = right - width * (0.24 if self.quantity_first else 0.22)
        self.quantity_x = left + 12 if self.quantity_first else left + width * 0.58
        self.name_x = left + 26 if self.quantity_first else left
        self.name_width = (self.price_x - width * 0.17 if self.quantity_first else self.quantity_x - 14) - self.name_x
        self.align: Align = "center" if self.quantity_first else "right"

    def heads(self, y: float) -> None:
        draft, sheet = self.draft, self.draft.sheet
        sheet.text(self.name_x, y, draft.label("description"), bold=True)
        sheet.text(self.quantity_x, y, draft.label("short_quantity"), align=self.align, bold=True)
        sheet.text(self.price_x, y, draft.label("unit_price").split()[0], align="right", bold=True)
        sheet.text(self.right, y, draft.label("amount").split()[0], align="right", bold=True)

    def row(
        self,
        y: float,
        quantity: Span,
        name: str,
        path: str,
        unit_price: list[Span],
        amount: list[Span | str],
        leading: float,
    ) -> float:
        sheet = self.draft.sheet
        sheet.text(self.quantity_x, y, quantity, align=self.align)
        sheet.text(self.price_x, y, *unit_price, align="right")
        sheet.text(self.right, y, *amount, align="right")
        return sheet.paragraph(self.name_x, y, name, self.name_width, path=path, leading=leading)


def _sums(draft: Draft, sale: Sale, y: float, left: float, right: float, step: float) -> float:
    sheet, rng, locale = draft.sheet, draft.rng, draft.locale
    x = left if draft.chance(0.75) else left + (right - left) * 0.3
    colon = rng.choice(("", "", ":"))
    y = sum_lines(draft, sale, y, x, right, step, colon=colon)
    big = sheet.size * rng.choice((1, 1.2, 1.5))
    y += (big - sheet.size) * 1.2
    bold = draft.chance(0.8)
    if draft.chance(0.2) and not draft.sign.startswith(" "):  # the currency stands beside the label: "TOTAL RM"
        sign = Span(draft.sign.strip(), "currency", locale.currency)
        sheet.text(x, y, draft.label("total") + " ", sign, bold=bold, size=big)
        sheet.text(right, y, *draft.money(sale.total, "total"), align="right", bold=bold, size=big)
    else:
        sheet.text(x, y, draft.label("total") + colon, bold=bold, size=big)
        spans = draft.money(sale.total, "total", sign=draft.chance(0.6))
        sheet.text(right, y, *spans, align="right", bold=bold, size=big)
    y += step * big / sheet.size
    if draft.chance(0.85):
        y = _paid(draft, sale, y, x, right, step)
    if not sale.added and draft.chance(0.5) and locale.language == "en":
        y += step * 0.4
        text = f"{locale.tax_name} {locale.quantity(sale.rate)}% incl.  "
        sheet.text(left, y, text, *draft.money(sale.tax, "tax"))
        y += step
    return y


def _paid(draft: Draft, sale: Sale, y: float, x: float, right: float, step: float) -> float:
    """How it was paid, and the change."""
    sheet = draft.sheet
    sheet.text(x, y, Span(draft.label("card" if sale.by_card else "cash"), "payment_method"))
    sheet.text(right, y, *draft.money(sale.paid), align="right")
    y += step
    if not sale.by_card:
        sheet.text(x, y, draft.label("change"))
        sheet.text(right, y, *draft.money(sale.paid - sale.total), align="right")
        y += step
    return y


def _tax_table(draft: Draft, sale: Sale, y: float, left: float, right: float, step: float) -> float:
    """The tax summary: rate, net, tax, gross in columns."""
    sheet, locale = draft.sheet, draft.locale
    size = sheet.size * 0.9
    columns = [left, left + (right - left) * 0.5, left + (right - left) * 0.75, right]
    heads = (draft.label("tax_code"), draft.label("net"), locale.tax_name, draft.label("gross_column"))
    for x, head in zip(columns, heads, strict=True):
        sheet.text(x, y, head, align="left" if x == left else "right", size=size)
    y += step
    sheet.text(left, y, f"A {locale.quantity(sale.rate)} %", size=size)
    values = ((sale.total - sale.tax, "subtotal"), (sale.tax, "tax"), (sale.total, None))
    for x, (value, path) in zip(columns[1:], values, strict=True):
        sheet.text(x, y, *draft.money(value, path), align="right", size=size)
    return y + step


def _bar_code(draft: Draft, y: float, middle: float) -> float:
    sheet, x = draft.sheet, middle - 50
    while x < middle + 50:
        width = draft.rng.choice((0.8, 0.8, 1.6, 2.4))
        sheet.area(x, y - 4, x + width, y + 22, fill="#000000")
        x += width + draft.rng.choice((1.2, 1.2, 2.4))
    sheet.text(middle, y + 32, shaped(draft.rng, "9999999999999"), align="center", size=8)
    return y + 40
