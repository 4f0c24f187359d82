"""Receipts: what tills, restaurants, cash books and ticket machines print."""

from __future__ import annotations

import random
from decimal import Decimal

from maker import words
from maker.draft import Draft, Item, logo, make_items, new_draft
from maker.locales import Locale, pattern
from maker.sheet import Span

FIELDS = ("company", "date", "address", "total", "currency", "tax", "subtotal", "receipt_number", "payment_method")
ITEM_FIELDS = ("description", "quantity", "unit_price", "amount")


class Sale:
    """What was bought: goods, sums, and how it was paid."""

    def __init__(self, draft: Draft, count: int) -> None:
        rng, locale = draft.rng, draft.locale
        self.trade = rng.choice(words.SHOPS[locale.language])
        self.items = make_items(draft, self.trade, count)
        self.company = words.company(rng, locale, self.trade)
        self.address = words.address(rng, locale)
        self.phone = words.phone(rng, locale)
        self.tax_id = pattern(rng, locale.tax_id_pattern)
        self.day = draft.day()
        self.rate = Decimal(rng.choice(locale.tax_rates))
        self.goods = sum((item.amount for item in self.items), Decimal(0))
        self.added = locale.net_prices or (locale.code in ("en_MY", "en_SG", "en_IN") and draft.chance(0.4))
        share = self.rate / (Decimal(100) if self.added else 100 + self.rate)
        self.tax = draft.cents(self.goods * share)
        self.total = self.goods + self.tax if self.added else self.goods
        self.rounding = Decimal(0)
        if locale.code == "en_MY":  # cash is paid in steps of five sen
            self.rounding = (self.total * 20).quantize(Decimal(1)) / 20 - self.total
            self.total += self.rounding
        self.number = pattern(rng, rng.choice(("999999", "99-999999", "?99999", "9999/999", "R0009999", "000099999")))
        self.by_card = draft.chance(0.5)
        note = Decimal(1000 if locale.currency == "KRW" else 10)
        self.paid = self.total if self.by_card or draft.chance(0.2) else (self.total // note + 1) * note


def till(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A narrow roll: centred head, goods, sums with the label left and the value right."""
    draft = new_draft(rng, locale, rng.choice((205, 227, 240)), 4000, ("till", "mono", "narrow", "sans", "vera_narrow", "till"), (8, 8.5, 9))
    sheet, sale = draft.sheet, Sale(draft, count)
    left, right, middle = 12.0, sheet.width - 12, sheet.width / 2
    step = sheet.size * rng.choice((1.3, 1.4, 1.55))
    centred = draft.chance(0.75)
    y = _head(draft, sale, 26.0, left, right, centred)
    y = _particulars(draft, sale, y + step * 0.4, left, right, step)
    y = _separator(draft, y, left, right, step)
    style = rng.choice(("one_line", "two_lines", "columns", "columns", "counted"))
    y = _goods(draft, sale.items, y, left, right, step, style)
    y = _separator(draft, y, left, right, step)
    y = _sums(draft, sale, y, left, right, step)
    if locale.language in ("de", "fr", "it", "nl", "es") and draft.chance(0.6):
        y = _tax_table(draft, sale, y + step * 0.5, left, right, step)
    y += step * 0.6
    for _ in range(rng.randrange(1, 3)):
        y = sheet.paragraph(middle, y, draft.label("thanks"), right - left, align="center")
    if draft.chance(0.4):
        y = _bar_code(draft, y, middle)
    sheet.crop(y + 14)
    return draft


def _head(draft: Draft, sale: Sale, y: float, left: float, right: float, centred: bool) -> float:
    sheet, rng = draft.sheet, draft.rng
    x, align = ((left + right) / 2, "center") if centred else (left, "left")
    width = right - left
    if draft.chance(0.3):
        logo(draft, x - 14 if centred else x, y - 12, 28, rng.choice(("#222222", "#444444")))
        y += 34
    big = sheet.size * rng.choice((1.0, 1.25, 1.5))
    y = sheet.paragraph(x, y, sale.company, width, path="company", align=align, bold=draft.chance(0.7), size=big)  # type: ignore[arg-type]
    if draft.chance(0.25):
        y = sheet.paragraph(x, y, f"({pattern(rng, '999999-?')})", width, align=align)  # type: ignore[arg-type]
    y = draft.address(x, y, sale.address, align=align, width=width, upper=draft.chance(0.4))  # type: ignore[arg-type]
    if draft.chance(0.7):
        y = sheet.paragraph(x, y, f"{draft.label('phone')}: {sale.phone}", width, align=align)  # type: ignore[arg-type]
    if draft.chance(0.5):
        y = sheet.paragraph(x, y, f"{draft.locale.tax_id}: {sale.tax_id}", width, align=align)  # type: ignore[arg-type]
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
    elif style == "spread":
        sheet.text(left, y, draft.label("receipt_number") + colon, number)
        y += step
        sheet.text(left, y, draft.label("date") + colon, date)
        sheet.text(right, y, draft.clock(), align="right")
    elif style == "pairs":
        tab = left + (right - left) * 0.42
        for name, span in (("receipt_number", number), ("date", date), ("time", Span(draft.clock())), ("cashier", Span(words.person(rng, draft.locale.language)))):
            sheet.text(left, y, draft.label(name))
            sheet.text(tab, y, ": ", span)
            y += step
        y -= step
    else:
        rows = [[draft.label("date") + colon, date, " ", draft.clock()], [draft.label("receipt_number") + colon, number]]
        rng.shuffle(rows)
        rows.append([draft.label("till") + colon, f"{rng.randrange(1, 9):02}", "  ", draft.label("cashier") + colon, words.person(rng, draft.locale.language).split()[0]])
        for row in rows[: rng.randrange(2, 4)]:
            sheet.text(left, y, *row)
            y += step
        y -= step
    return y + step


def _separator(draft: Draft, y: float, left: float, right: float, step: float) -> float:
    sheet, kind = draft.sheet, draft.rng.randrange(4)
    if kind == 0:
        sheet.rule(left, y - step * 0.45, right)
    elif kind == 1:
        sheet.rule(left, y - step * 0.45, right, dash=(3, 2))
    elif kind == 2:
        face, mark = sheet.family.plain, draft.rng.choice("-=*")
        count = 1
        while sheet.width - 24 > (count + 1) * _mark_width(mark, face.font, sheet.size, face.stretch):
            count += 1
        sheet.text(left, y, mark * count)
        return y + step
    return y + step * 0.45


def _mark_width(mark: str, font: str, size: float, stretch: float) -> float:
    from reportlab.pdfbase import pdfmetrics

    return float(pdfmetrics.stringWidth(mark, font, size)) * stretch / 100


def _goods(draft: Draft, items: list[Item], y: float, left: float, right: float, step: float, style: str) -> float:
    sheet, rng, locale = draft.sheet, draft.rng, draft.locale
    suffix = rng.choice(("", "", "", " *", " A", " S")) if style != "columns" else ""
    quantity_first = draft.chance(0.5)
    width = right - left
    quantity_x, price_x = (left + 12, right - width * 0.24) if quantity_first else (left + width * 0.58, right - width * 0.22)
    name_x = left + 26 if quantity_first else left
    name_width = (price_x - width * 0.17 if quantity_first else quantity_x - 14) - name_x
    if style == "columns":
        if not quantity_first:
            sheet.text(name_x, y, draft.label("description").split()[0], bold=True)
        else:
            sheet.text(name_x, y, draft.label("description"), bold=True)
        sheet.text(quantity_x, y, {"en": "Qty", "de": "Anz", "fr": "Qté", "es": "Uds", "it": "Qtà", "nl": "Aant", "pt": "Qtd", "ko": "수량"}[locale.language], align="right" if not quantity_first else "center", bold=True)
        sheet.text(price_x, y, draft.label("unit_price").split()[0][:6], align="right", bold=True)
        sheet.text(right, y, draft.label("amount").split()[0][:7], align="right", bold=True)
        y += step * 1.1
    for number, item in enumerate(items):
        path = f"items[{number}]"
        amount = [*draft.money(item.amount, f"{path}.amount"), suffix]
        unit = draft.money(item.unit_price, f"{path}.unit_price")
        quantity = draft.quantity(item.quantity, f"{path}.quantity")
        name = item.description.upper() if sheet.family.plain.font.startswith("Courier") else item.description
        if style == "one_line":
            sheet.text(right, y, *amount, align="right")
            y = sheet.paragraph(left, y, name, width * 0.7, path=f"{path}.description", leading=step / sheet.size)
        elif style == "counted":
            sheet.text(right, y, *amount, align="right")
            sheet.text(left, y, quantity, rng.choice(("x", " x", "")) if number == 0 else "x")
            y = sheet.paragraph(left + 24, y, name, width * 0.66 - 24, path=f"{path}.description", leading=step / sheet.size)
        elif style == "two_lines":
            y = sheet.paragraph(left, y, name, width, path=f"{path}.description", leading=step / sheet.size)
            sheet.text(left + 14, y, quantity, rng.choice((" x ", " @ ")), *unit)
            sheet.text(right, y, *amount, align="right")
            y += step
        else:
            sheet.text(quantity_x, y, quantity, align="right" if not quantity_first else "center")
            sheet.text(price_x, y, *unit, align="right")
            sheet.text(right, y, *amount, align="right")
            y = sheet.paragraph(name_x, y, name, name_width, path=f"{path}.description", leading=step / sheet.size)
    return y


def _sums(draft: Draft, sale: Sale, y: float, left: float, right: float, step: float) -> float:
    sheet, rng, locale = draft.sheet, draft.rng, draft.locale
    rate = f"{locale.quantity(sale.rate)}%"
    x = left if draft.chance(0.75) else left + (right - left) * 0.3
    signed = draft.chance(0.4)
    colon = rng.choice(("", "", ":"))

    def row(text: str, spans: list[Span], bold: bool = False, size: float | None = None) -> None:
        nonlocal y
        sheet.text(x, y, text + colon, bold=bold, size=size)
        sheet.text(right, y, *spans, align="right", bold=bold, size=size)
        y += step * (size or sheet.size) / sheet.size

    if sale.added or draft.chance(0.4):
        text = draft.label("subtotal") if sale.added else draft.plain_label("subtotal")
        row(text, draft.money(sale.goods, "subtotal", sign=signed and draft.chance(0.5)))
    if sale.added:
        row(rng.choice((f"{locale.tax_name} {rate}", f"{locale.tax_name} ({rate})", f"{locale.tax_name} @ {rate}")), draft.money(sale.tax, "tax", sign=False))
    if sale.rounding:
        row(draft.label("rounding"), draft.money(sale.rounding))
    big = sheet.size * rng.choice((1, 1.2, 1.5))
    y += (big - sheet.size) * 1.2
    text = draft.label("total")
    if draft.chance(0.2) and not signed and not draft.sign.startswith((" ", "원")):
        text = f"{text} "
        sheet.text(x, y, text, Span(draft.sign.strip(), "currency", locale.currency), bold=True, size=big)
        sheet.text(right, y, *draft.money(sale.total, "total"), align="right", bold=True, size=big)
        y += step * big / sheet.size
    else:
        row(text, draft.money(sale.total, "total", sign=signed or draft.chance(0.5)), bold=draft.chance(0.8), size=big)
    if draft.chance(0.85):
        way = draft.label("card" if sale.by_card else "cash")
        sheet.text(x, y, Span(way, "payment_method"))
        sheet.text(right, y, *draft.money(sale.paid), align="right")
        y += step
        if not sale.by_card:
            row(draft.label("change"), draft.money(sale.paid - sale.total))
    if not sale.added and draft.chance(0.5) and locale.language == "en":
        y += step * 0.4
        sheet.text(left, y, f"{locale.tax_name} {rate} incl.  ", *draft.money(sale.tax, "tax"))
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
    for x, value, path in zip(columns[1:], (sale.total - sale.tax, sale.tax, sale.total), (None, "tax", None), strict=True):
        sheet.text(x, y, *draft.money(value, path), align="right", size=size)
    return y + step


def _bar_code(draft: Draft, y: float, middle: float) -> float:
    sheet, x = draft.sheet, middle - 50
    while x < middle + 50:
        width = draft.rng.choice((0.8, 0.8, 1.6, 2.4))
        sheet.area(x, y - 4, x + width, y + 22, fill="#000000")
        x += width + draft.rng.choice((1.2, 1.2, 2.4))
    sheet.text(middle, y + 32, pattern(draft.rng, "9999999999999"), align="center", size=8)
    return y + 40


def cash_bill(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A page of a bill book: a ruled table with columns, head to the left, number and date in boxes to the right."""
    draft = new_draft(rng, locale, 420, 540, ("sans", "serif", "wide", "narrow"), (9.5, 10))
    sheet, sale = draft.sheet, Sale(draft, min(count, 8))
    ink = rng.choice(("#1a2a5a", "#000000", "#5a1a1a"))
    left, right = 26.0, 394.0
    y = sheet.paragraph(left, 44, sale.company, 250, path="company", bold=True, size=15, colour=ink)
    y = draft.address(left, y + 2, sale.address, width=230)
    y = sheet.paragraph(left, y, f"{draft.label('phone')}: {sale.phone}", 230)
    sheet.text(right, 44, draft.label("title"), align="right", bold=True, size=13, colour=ink)
    for row, (name, span) in enumerate((("receipt_number", Span(sale.number, "receipt_number")), ("date", draft.date(sale.day, "date")))):
        top = 56 + row * 22
        sheet.area(right - 120, top, right, top + 19, edge=ink)
        sheet.text(right - 115, top + 13, draft.label(name) + ": ", span)
    y = max(y, 110) + 14
    sheet.text(left, y, {"en": "Sold to", "de": "Kunde", "fr": "Client", "es": "Cliente", "it": "Cliente", "nl": "Klant", "pt": "Cliente", "ko": "고객"}[locale.language] + ": ", words.person(rng, locale.language))
    y += 14
    edges = [left, left + 40, left + 228, left + 296, right]
    top = y
    bottom = top + 22 + 20 * max(len(sale.items), 7)
    for edge in edges:
        sheet.stroke(edge, top, edge, bottom, colour=ink)
    for line in (top, top + 22, bottom):
        sheet.rule(left, line, right, colour=ink)
    for edge, align, name in zip((edges[0] + 20, edges[1] + 6, edges[3] - 6, right - 6), ("center", "left", "right", "right"), ("quantity", "description", "unit_price", "amount"), strict=True):
        sheet.text(edge, top + 15, draft.label(name).split()[0] if name != "description" else draft.label(name), align=align, bold=True)  # type: ignore[arg-type]
    y = top + 36
    for number, item in enumerate(sale.items):
        path = f"items[{number}]"
        sheet.text(edges[0] + 20, y, draft.quantity(item.quantity, f"{path}.quantity"), align="center")
        sheet.text(edges[1] + 6, y, Span(item.description, f"{path}.description"))
        sheet.text(edges[3] - 6, y, *draft.money(item.unit_price, f"{path}.unit_price"), align="right")
        sheet.text(right - 6, y, *draft.money(item.amount, f"{path}.amount"), align="right")
        y += 20
    y = bottom + 16
    rate = f"{locale.quantity(sale.rate)}%"
    if sale.added:
        for text, value, path in ((draft.label("subtotal"), sale.goods, "subtotal"), (f"{locale.tax_name} {rate}", sale.tax, "tax")):
            sheet.text(edges[3] - 6, y, text, align="right")
            sheet.text(right - 6, y, *draft.money(value, path), align="right")
            y += 15
    if sale.rounding:
        sheet.text(edges[3] - 6, y, draft.label("rounding"), align="right")
        sheet.text(right - 6, y, *draft.money(sale.rounding), align="right")
        y += 15
    sheet.area(edges[2] - 40, y - 12, right, y + 7, edge=ink)
    sheet.text(edges[3] - 6, y, draft.label("total"), align="right", bold=True)
    sheet.text(right - 6, y, *draft.money(sale.total, "total", sign=True), align="right", bold=True)
    sheet.text(left, y + 30, draft.label("thanks"), size=8.5)
    sheet.rule(right - 120, y + 46, right, colour=ink)
    sheet.crop(y + 66)
    return draft


def ticket(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A slip of a machine (parking, fuel, card): few fields, the label above its value, no list of goods."""
    draft = new_draft(rng, locale, rng.choice((180, 200)), 2000, ("narrow", "sans", "vera_narrow", "till"), (9, 9.5))
    sheet, sale = draft.sheet, Sale(draft, 1)
    middle, left, right = sheet.width / 2, 14.0, sheet.width - 14
    y = sheet.paragraph(middle, 28, sale.company, right - left, path="company", align="center", bold=True, size=sheet.size * 1.25)
    y = draft.address(middle, y, sale.address, align="center", width=right - left)
    y += 10
    rows = [
        ("date", [draft.date(sale.day, "date"), "  " + draft.clock()]),
        ("receipt_number", [Span(sale.number, "receipt_number")]),
        ("till", [f"{rng.randrange(100, 999)}"]),
    ]
    rng.shuffle(rows)
    for name, spans in rows:
        sheet.text(left, y, draft.label(name), size=sheet.size * 0.85, colour="#333333")
        y += sheet.size * 1.25
        sheet.text(left, y, *spans, bold=True)
        y += sheet.size * 1.7
    sheet.rule(left, y - 9, right)
    y += 10
    sheet.text(middle, y, draft.label("total"), align="center")
    y += 22
    sheet.text(middle, y, *draft.money(sale.total, "total", sign=True), align="center", bold=True, size=19)
    y += 18
    if draft.chance(0.6):
        sheet.text(middle, y, f"{locale.tax_name} {locale.quantity(sale.rate)}%: ", *draft.money(sale.tax, "tax"), align="center")
        y += 15
    sheet.text(middle, y, Span(draft.label("card"), "payment_method"), "  **** **** **** ", pattern(rng, "9999"), align="center")
    y += 20
    y = sheet.paragraph(middle, y, draft.label("thanks"), right - left, align="center")
    sheet.crop(y + 10)
    return draft


LAYOUTS = {"till": till, "cash_bill": cash_bill, "ticket": ticket}
