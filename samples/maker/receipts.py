"""Receipts: what tills, restaurants, cash books, ticket machines and web shops print."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal

from maker import words
from maker.draft import Draft, Item, logo, new_draft
from maker.locales import Locale, shaped
from maker.sale import Sale, sum_lines
from maker.sheet import Align, Span
from maker.tills import restaurant, till

FIELDS = ("company", "date", "address", "total", "currency", "tax", "subtotal", "receipt_number", "payment_method")


ITEM_FIELDS = ("description", "quantity", "unit_price", "amount")


def cash_bill(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A page of a bill book: a ruled table, the head to the left, number and date in boxes to the right."""
    draft = new_draft(rng, locale, 420, 540, ("sans", "serif", "wide", "narrow"), (9.5, 10))
    sheet, sale = draft.sheet, Sale(draft, min(count, 8))
    ink = rng.choice(("#1a2a5a", "#000000", "#5a1a1a"))
    left, right = 26.0, 394.0
    y = sheet.paragraph(left, 44, sale.company, 220, path="company", bold=True, size=15, colour=ink)
    y = draft.address(left, y + 2, sale.address, width=210)
    y = sheet.paragraph(left, y, f"{draft.label('phone')}: {sale.phone}", 230)
    sheet.text(right, 44, draft.label("bill_title"), align="right", bold=True, size=13, colour=ink)
    spans = {"receipt_number": Span(sale.number, "receipt_number"), "date": draft.date(sale.day, "date")}
    for row, (name, span) in enumerate(spans.items()):
        top = 56 + row * 22
        sheet.area(right - 135, top, right, top + 19, edge=ink)
        sheet.text(right - 130, top + 13, draft.label(name) + ": ", span)
    y = max(y, 110) + 14
    sheet.text(left, y, draft.label("sold_to") + ": ", words.person(rng, locale))
    y = _bill_table(draft, sale.items, y + 14, left, right, ink)
    x = right - 110
    for text, value, path in _bill_sums(draft, sale):
        sheet.text(x, y, text, align="right")
        sheet.text(right - 6, y, *draft.money(value, path), align="right")
        y += 15
    sheet.area(right - 206, y - 12, right, y + 7, edge=ink)
    sheet.text(x, y, draft.label("total"), align="right", bold=True)
    sheet.text(right - 6, y, *draft.money(sale.total, "total", sign=True), align="right", bold=True)
    sheet.text(left, y + 30, draft.label("thanks"), size=8.5)
    sheet.rule(right - 120, y + 46, right, colour=ink)
    sheet.crop(y + 66)
    return draft


def _bill_table(draft: Draft, items: list[Item], top: float, left: float, right: float, ink: str) -> float:
    sheet = draft.sheet
    edges = [left, left + 42, left + 222, left + 294, right]
    bottom = top + 22 + 20 * max(len(items), 7)
    for edge in edges:
        sheet.stroke(edge, top, edge, bottom, colour=ink)
    for line in (top, top + 22, bottom):
        sheet.rule(left, line, right, colour=ink)
    heads = (
        draft.label("short_quantity"),
        draft.label("description"),
        draft.label("unit_price"),
        draft.label("amount"),
    )
    places: list[tuple[float, Align]] = [
        (left + 21, "center"),
        (edges[1] + 6, "left"),
        (edges[3] - 6, "right"),
        (right - 6, "right"),
    ]
    for (x, align), head in zip(places, heads, strict=True):
        sheet.text(x, top + 15, head, align=align, bold=True)
    y = top + 36
    for number, item in enumerate(items):
        path = f"items[{number}]"
        cells: list[list[Span]] = [
            [draft.quantity(item.quantity, f"{path}.quantity")],
            [Span(item.description, f"{path}.description")],
            draft.money(item.unit_price, f"{path}.unit_price"),
            draft.money(item.amount, f"{path}.amount"),
        ]
        for (x, align), spans in zip(places, cells, strict=True):
            sheet.text(x, y, *spans, align=align)
        y += 20
    return bottom + 16


def _bill_sums(draft: Draft, sale: Sale) -> list[tuple[str, Decimal, str | None]]:
    """What stands between a ruled table and the total."""
    rows: list[tuple[str, Decimal, str | None]] = []
    if sale.added or sale.discount:
        rows.append((draft.label("subtotal") if sale.added else draft.plain_label("subtotal"), sale.goods, "subtotal"))
    if sale.discount:
        rows.append((f"{draft.label('discount')} 10%", -sale.discount, None))
    if sale.added:
        rows.append((f"{draft.locale.tax_name} {draft.locale.quantity(sale.rate)}%", sale.tax, "tax"))
    if sale.rounding:
        rows.append((draft.label("rounding"), sale.rounding, None))
    return rows


def ticket(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A slip of a machine: few fields, the label above its value, no list of goods."""
    families = ("narrow", "sans", "vera_narrow", "till")
    draft = new_draft(rng, locale, rng.choice((180, 200)), 2000, families, (9, 9.5))
    sheet, sale = draft.sheet, Sale(draft, 1)
    middle, left, right = sheet.width / 2, 14.0, sheet.width - 14
    width, size = right - left, sheet.size
    y = sheet.paragraph(middle, 28, sale.company, width, path="company", align="center", bold=True, size=size * 1.25)
    y = draft.address(middle, y, sale.address, align="center", width=width)
    y += 10
    rows: list[tuple[str, list[Span | str]]] = [
        ("date", [draft.date(sale.day, "date"), "  " + draft.clock()]),
        ("receipt_number", [Span(sale.number, "receipt_number")]),
        ("till", [f"{rng.randrange(100, 999)}"]),
    ]
    rng.shuffle(rows)
    for name, spans in rows:
        sheet.text(left, y, draft.label(name), size=size * 0.9, colour="#333333")
        y += size * 1.3
        sheet.text(left, y, *spans, bold=True)
        y += size * 1.7
    sheet.rule(left, y - 9, right)
    y += 10
    sheet.text(middle, y, draft.label("total"), align="center")
    y += 22
    sheet.text(middle, y, *draft.money(sale.total, "total", sign=True), align="center", bold=True, size=19)
    y += 18
    if draft.chance(0.6):
        text = f"{locale.tax_name} {locale.quantity(sale.rate)}%: "
        sheet.text(middle, y, text, *draft.money(sale.tax, "tax"), align="center")
        y += 15
    way = Span(draft.label("card"), "payment_method")
    sheet.text(middle, y, way, "  **** ", shaped(rng, "9999"), align="center")
    y = sheet.paragraph(middle, y + 20, draft.label("thanks"), width, align="center")
    sheet.crop(y + 10)
    return draft


def emailed(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A receipt of a web shop as a page: particulars with labels above values, a lined table, payment below."""
    width, height = (612, 792) if locale.code == "en_US" else (595, 842)
    draft = new_draft(rng, locale, width, height, ("sans", "wide", "vera_narrow"), (9.5, 10))
    sheet, sale = draft.sheet, Sale(draft, min(count, 9))
    colour = rng.choice(("#222222", "#24507a", "#6a2c70", "#2b6e4f"))
    left, right = 60.0, sheet.width - 60
    logo(draft, left, 44, 30, colour)
    sheet.text(left + 42, 64, Span(sale.company, "company"), bold=True, size=13)
    sheet.text(right, 64, draft.plain_label("bill_title"), align="right", size=16, colour=colour)
    y = draft.address(left, 96, sale.address, width=240)
    sheet.rule(left, y + 2, right, colour="#bbbbbb")
    y += 24
    spans = {
        "receipt_number": Span(sale.number, "receipt_number"),
        "date": draft.date(sale.day, "date"),
        "sold_to": Span(words.person(rng, locale)),
    }
    for column, (name, span) in enumerate(spans.items()):
        x = left + column * (right - left) / 3
        sheet.text(x, y, draft.label(name), size=8.5, colour="#666666")
        sheet.text(x, y + 15, span, bold=True)
    y += 46
    columns = (left, right - 190, right - 90, right)
    for x, name in zip(columns, ("description", "quantity", "unit_price", "amount"), strict=True):
        sheet.text(x, y, draft.label(name), align="left" if x == left else "right", colour="#555555")
    for number, item in enumerate(sale.items):
        sheet.rule(left, y + 8, right, width=0.4, colour="#cccccc")
        y += 22
        path = f"items[{number}]"
        sheet.text(left, y, Span(item.description, f"{path}.description"))
        sheet.text(columns[1], y, draft.quantity(item.quantity, f"{path}.quantity"), align="right")
        sheet.text(columns[2], y, *draft.money(item.unit_price, f"{path}.unit_price"), align="right")
        sheet.text(right, y, *draft.money(item.amount, f"{path}.amount"), align="right")
    sheet.rule(left, y + 8, right, colour=colour)
    y = sum_lines(draft, sale, y + 28, right - 200, right, 17, colon="", always=True)
    sheet.text(right - 200, y + 2, draft.label("total"), bold=True, size=12)
    sheet.text(right, y + 2, *draft.money(sale.total, "total", sign=True), align="right", bold=True, size=12)
    if not sale.added:
        y += 18
        text = f"{locale.tax_name} {locale.quantity(sale.rate)}%"
        sheet.text(right - 200, y, text, size=8.5)
        sheet.text(right, y, *draft.money(sale.tax, "tax"), align="right", size=8.5)
    way = Span(draft.label("card"), "payment_method")
    sheet.text(left, y + 40, way, f" **** {shaped(rng, '9999')}")
    sheet.text(left, y + 70, draft.label("thanks"), colour="#555555")
    return draft


LAYOUTS: dict[str, Callable[[random.Random, Locale, int], Draft]] = {
    "till": till,
    "restaurant": restaurant,
    "cash_bill": cash_bill,
    "ticket": ticket,
    "emailed": emailed,
}
