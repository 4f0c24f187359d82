"""Receipts: what tills, restaurants, cash books, ticket machines and web shops print."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Literal

from maker import words
from maker.draft import Draft, Item, logo, make_items, new_draft
from maker.locales import Locale, shaped
from maker.sheet import Align, Span, text_width

FIELDS = ("company", "date", "address", "total", "currency", "tax", "subtotal", "receipt_number", "payment_method")
ITEM_FIELDS = ("description", "quantity", "unit_price", "amount")

Style = Literal["one_line", "two_lines", "columns", "counted"]


class Sale:
    """What was bought, the sums, and how it was paid. ``added`` says that prices are without tax."""

    def __init__(
        self, draft: Draft, count: int, *, weighed: bool = False, served: bool = False, tax_table: bool = False
    ) -> None:
        rng, locale = draft.rng, draft.locale
        shop = words.trade(rng, locale, "shops", served=served)
        self.items = make_items(draft, shop, count)
        if weighed and shop.by_weight and draft.chance(0.7):
            place = rng.randrange(len(self.items))
            self.items[place] = _weighed(draft, self.items[place])
        self.company = words.company(rng, locale, shop)
        self.address = words.address(rng, locale)
        self.phone = words.phone(rng, locale)
        self.tax_id = shaped(rng, locale.tax_id_shape)
        self.day = draft.day()
        self.rate = Decimal(rng.choice(locale.tax_rates))
        self.goods = sum((item.amount for item in self.items), Decimal(0))
        self.tax_table = tax_table and locale.language in ("de", "fr", "it", "nl", "es") and draft.chance(0.6)
        discounted = not served and not self.tax_table and draft.chance(0.12)
        self.discount = draft.cents(self.goods / 10) if discounted else Decimal(0)
        self.service = draft.cents(self.goods / 10) if served and draft.chance(0.5) else Decimal(0)
        base = self.goods - self.discount + self.service
        self.added = locale.net_prices or (locale.code in ("en_MY", "en_SG", "en_IN") and draft.chance(0.4))
        self.tax = draft.cents(base * self.rate / (100 if self.added else 100 + self.rate))
        self.total = base + self.tax if self.added else base
        self.rounding = Decimal(0)
        if locale.code in ("en_MY", "de_CH"):  # cash is paid in steps of five
            self.rounding = (self.total * 20).quantize(Decimal(1)) / 20 - self.total
            self.total += self.rounding
        self.number = shaped(rng, rng.choice(("999999", "99-999999", "?99999", "9999/999", "R0009999", "000099999")))
        self.by_card = draft.chance(0.5)
        note = Decimal(1000 if locale.places == 0 else 10)
        self.paid = self.total if self.by_card or draft.chance(0.2) else (self.total // note + 1) * note


def _weighed(draft: Draft, item: Item) -> Item:
    weight = Decimal(draft.rng.randrange(120, 2600)) / 1000
    return Item(item.description, weight, item.unit_price, draft.cents(weight * item.unit_price), "kg")


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
    y = _sum_lines(draft, sale, y + step * 0.5, left, right, step, colon="")
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


def _sum_lines(
    draft: Draft, sale: Sale, y: float, x: float, right: float, step: float, *, colon: str, always: bool = False
) -> float:
    """What stands between the goods and the total."""
    sheet, locale = draft.sheet, draft.locale
    rate = f"{locale.quantity(sale.rate)}%"
    rows: list[tuple[str, Decimal, str | None]] = []
    # A tax table says what the sum before tax is: a line before it would be another sum of that name.
    if sale.added or sale.discount or sale.service or always or (not sale.tax_table and draft.chance(0.4)):
        text = draft.label("subtotal") if sale.added else draft.plain_label("subtotal")
        rows.append((text, sale.goods, "subtotal"))
    if sale.discount:
        rows.append((f"{draft.label('discount')} 10%", -sale.discount, None))
    if sale.service:
        rows.append((f"{draft.label('service')} 10%", sale.service, None))
    if sale.added:
        name = draft.rng.choice(
            (f"{locale.tax_name} {rate}", f"{locale.tax_name} ({rate})", f"{locale.tax_name} @ {rate}")
        )
        rows.append((name, sale.tax, "tax"))
    if sale.rounding:
        rows.append((draft.label("rounding"), sale.rounding, None))
    signed = draft.chance(0.2)
    for text, value, path in rows:
        sheet.text(x, y, text + colon)
        sheet.text(right, y, *draft.money(value, path, sign=signed and bool(path)), align="right")
        y += step
    return y


def _sums(draft: Draft, sale: Sale, y: float, left: float, right: float, step: float) -> float:
    sheet, rng, locale = draft.sheet, draft.rng, draft.locale
    x = left if draft.chance(0.75) else left + (right - left) * 0.3
    colon = rng.choice(("", "", ":"))
    y = _sum_lines(draft, sale, y, x, right, step, colon=colon)
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
    y = _sum_lines(draft, sale, y + 28, right - 200, right, 17, colon="", always=True)
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
