"""The parts that invoices are put together from: particulars, the table of goods, sums, payment, foot."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal

from maker import words
from maker.draft import Draft, make_items, new_draft
from maker.locales import Locale, shaped
from maker.sheet import Span

COLOURS = ("#1f4e79", "#7a1f3d", "#2e6b3a", "#444444", "#8a4b08", "#3b2f6b")


class Bill:
    """What is invoiced, by whom, to whom."""

    def __init__(self, draft: Draft, count: int) -> None:
        rng, locale = draft.rng, draft.locale
        trade = words.trade(rng, locale, "services")
        self.items = make_items(draft, trade, min(count, len(trade.goods)))
        while len(self.items) < count:
            self.items += make_items(draft, words.trade(rng, locale, "services"), count - len(self.items))
        self.issuer = words.company(rng, locale, trade, capitals=0.15)
        self.issuer_address = words.address(rng, locale)
        buyer = words.trade(rng, locale, "shops")
        self.customer = (
            words.company(rng, locale, buyer, capitals=0.1) if draft.chance(0.7) else words.person(rng, locale)
        )
        self.customer_address = words.address(rng, locale)
        shape = rng.choice(
            ("INV-99999", "2099-9999", "999999", "RE9999999", "?-99999", "99/9999", "F20999999", "?99-999999")
        )
        self.number = shaped(rng, shape)
        self.day = draft.day()
        self.due = self.day + dt.timedelta(days=rng.choice((7, 10, 14, 21, 30, 45, 60)))
        self.rate = Decimal(rng.choice(locale.tax_rates))
        self.net = sum((item.amount for item in self.items), Decimal(0))
        self.tax = draft.cents(self.net * self.rate / 100)
        self.amount = self.net + self.tax
        self.vat = shaped(rng, locale.tax_id_shape)
        self.iban = words.iban(rng, locale) if draft.chance(0.8) else None
        self.phone = words.phone(rng, locale)


class Page:
    """The frame of an invoice: margins, colour, and which of the optional things it prints."""

    def __init__(self, draft: Draft) -> None:
        rng = draft.rng
        self.left = rng.choice((42.0, 50.0, 57.0))
        self.right = draft.sheet.width - self.left
        self.colour = rng.choice(COLOURS)
        self.colon = rng.choice((":", ":", ""))
        self.with_due = draft.chance(0.75)


def start(rng: random.Random, locale: Locale, count: int, families: tuple[str, ...]) -> tuple[Draft, Bill, Page]:
    width, height = (612, 792) if locale.code == "en_US" else (595, 842)
    draft = new_draft(rng, locale, width, height, families, (9.5, 10, 10.5))
    return draft, Bill(draft, count), Page(draft)


def particulars(draft: Draft, bill: Bill, page: Page) -> list[tuple[str, Span]]:
    """Label and value of the number, the dates and what else is printed beside them."""
    rows = [
        (draft.label("invoice_number"), Span(bill.number, "invoice_number")),
        (draft.label("invoice_date"), draft.date(bill.day, "date")),
    ]
    if page.with_due:
        rows.append((draft.label("due_date"), draft.date(bill.due, "due_date")))
    if draft.chance(0.4):
        rows.insert(
            draft.rng.randrange(len(rows) + 1), (draft.label("customer_number"), Span(shaped(draft.rng, "99999")))
        )
    if draft.chance(0.3):
        rows.append((draft.label("order_number"), Span(shaped(draft.rng, "PO-9999"))))
    return rows


def table_of_goods(draft: Draft, bill: Bill, page: Page, y: float, style: str, bottom: float) -> float:
    """The goods: ``style`` is ruled (a grid), banded (coloured head), lined (rules between) or bare."""
    sheet, rng = draft.sheet, draft.rng
    left, right, size = page.left, page.right, sheet.size
    width = right - left
    numbered, quantity_first = draft.chance(0.3), draft.chance(0.4)
    first = left + (22 if numbered else 0)
    if quantity_first:
        edges = [first, first + width * 0.11, left + width * 0.62, left + width * 0.82, right]
        order = ["quantity", "description", "unit_price", "amount"]
    else:
        edges = [first, left + width * 0.5, left + width * 0.63, left + width * 0.82, right]
        order = ["description", "quantity", "unit_price", "amount"]
    heads = [draft.label(name) for name in order]
    unit = rng.choice(("", "", f" ({draft.sign.strip()})"))
    line = size * rng.choice((1.7, 1.9, 2.2))
    page_top = 60.0

    def place(
        column: int, baseline: float, spans: list[Span | str], bold: bool = False, colour: str = "#000000"
    ) -> None:
        if order[column] == "description":
            sheet.text(edges[column] + 5, baseline, *spans, bold=bold, colour=colour)
        else:
            sheet.text(edges[column + 1] - 5, baseline, *spans, align="right", bold=bold, colour=colour)

    def grid(top: float, baseline: float) -> None:
        """Close the grid of this page: frame and columns."""
        if style == "ruled":
            for edge in {left, *edges}:
                sheet.stroke(edge, top, edge, baseline)
            sheet.rule(left, baseline, right)
        elif style in ("banded", "lined"):
            sheet.rule(left, baseline, right, colour=page.colour)

    def head(top: float) -> float:
        if style == "banded":
            sheet.area(left, top, right, top + line, fill=page.colour)
        elif style == "ruled":
            sheet.area(left, top, right, top + line, fill="#e8e8e8", edge="#000000")
        else:
            sheet.rule(left, top + line, right, width=1)
        ink = "#ffffff" if style == "banded" else "#000000"
        if numbered:
            sheet.text(left + 4, top + line * 0.68, "#", bold=True, colour=ink)
        for column, text in enumerate(heads):
            place(
                column,
                top + line * 0.68,
                [text + (unit if order[column] in ("unit_price", "amount") else "")],
                bold=True,
                colour=ink,
            )
        return top + line

    if unit:
        sheet.values.setdefault("currency", draft.locale.currency)
    top = y
    y = head(top)
    for number, item in enumerate(bill.items):
        if y + line > bottom:
            grid(top, y)
            sheet.new_page()
            top = page_top
            y = head(top)
        path = f"items[{number}]"
        baseline = y + line * 0.68
        if style == "lined" or (style == "banded" and number % 2):
            if style == "lined":
                sheet.rule(left, y + line, right, width=0.3, colour="#999999")
            else:
                sheet.area(left, y, right, y + line, fill="#f0f0f0")
        if numbered:
            sheet.text(left + 4, baseline, f"{number + 1}")
        cells: dict[str, list[Span | str]] = {
            "description": [Span(item.description, f"{path}.description")],
            "quantity": [draft.quantity(item.quantity, f"{path}.quantity")],
            "unit_price": [*draft.money(item.unit_price, f"{path}.unit_price")],
            "amount": [*draft.money(item.amount, f"{path}.amount")],
        }
        for column, name in enumerate(order):
            place(column, baseline, cells[name])
        y += line
    grid(top, y)
    return y + 8


def sums(draft: Draft, bill: Bill, page: Page, y: float, style: str) -> float:
    """Net, tax and total under the table: in its last columns, in a box, or as a sentence across the page."""
    sheet, locale = draft.sheet, draft.locale
    size, right = sheet.size, page.right
    x = page.left + (right - page.left) * (0.55 if style != "wide" else 0.0)
    step = size * 1.7
    rate = f"{locale.quantity(bill.rate)}%"
    signed = draft.chance(0.5)
    tax_text = draft.rng.choice(
        (f"{locale.tax_name} {rate}", f"{locale.tax_name} ({rate})", f"{rate} {locale.tax_name}", locale.tax_name)
    )
    top = y
    y += step
    for text, value, path in ((draft.label("amount_untaxed"), bill.net, "amount_untaxed"), (tax_text, bill.tax, "tax")):
        sheet.text(x + 5, y, text + page.colon)
        sheet.text(right - 5, y, *draft.money(value, path, sign=signed), align="right")
        y += step
    big = size * draft.rng.choice((1.0, 1.15, 1.3))
    if style == "boxed":
        sheet.area(x, y - step * 0.78, right, y + step * 0.45, fill="#eeeeee")
        sheet.area(x, top + 2, right, y + step * 0.45, edge="#777777")
    else:
        sheet.rule(x, y - step * 0.72, right, colour=page.colour)
    sheet.text(x + 5, y + 1, draft.label("gross") + page.colon, bold=True, size=big)
    sheet.text(
        right - 5,
        y + 1,
        *draft.money(bill.amount, "amount", sign=signed or draft.chance(0.7)),
        align="right",
        bold=True,
        size=big,
    )
    return y + step * 1.4


def payment(draft: Draft, bill: Bill, page: Page, y: float, x: float, vat_here: bool) -> float:
    """Bank account and tax number as label and value lines."""
    sheet = draft.sheet
    rows: list[tuple[str, Span]] = []
    if bill.iban:
        spaced = " ".join(bill.iban[i : i + 4] for i in range(0, len(bill.iban), 4)) if draft.chance(0.7) else bill.iban
        rows.append((draft.label("iban"), Span(spaced, "iban", bill.iban)))
    if vat_here:
        rows.append((draft.locale.tax_id, Span(bill.vat, "vat")))
    draft.rng.shuffle(rows)
    for text, span in rows:
        sheet.text(x, y, f"{text}: ", span)
        y += sheet.size * 1.4
    return y


def foot(draft: Draft, bill: Bill, page: Page, vat_here: bool) -> None:
    """The small print in columns at the bottom of the last page, and page numbers where there are several."""
    sheet = draft.sheet
    size = sheet.size * 0.82
    y = sheet.height - 52
    sheet.rule(page.left, y - 12, page.right, width=0.4, colour="#888888")
    columns: list[list[list[Span | str]]] = [[[line] for line in (bill.issuer, *bill.issuer_address)]]
    columns.append([[f"{draft.label('phone')}: {bill.phone}"]])
    if vat_here:
        columns[1].append([f"{draft.locale.tax_id}: ", Span(bill.vat, "vat")])
    if bill.iban and "iban" not in sheet.values:
        spaced = " ".join(bill.iban[i : i + 4] for i in range(0, len(bill.iban), 4))
        columns.append(
            [
                [f"{draft.label('bank')}: {words.coined(draft.rng, draft.locale)}bank"],
                [f"{draft.label('iban')} ", Span(spaced, "iban", bill.iban)],
            ]
        )
    for number, lines in enumerate(columns):
        for row, spans in enumerate(lines):
            sheet.text(
                page.left + number * (page.right - page.left) * 0.34,
                y + row * size * 1.3,
                *spans,
                size=size,
                colour="#333333",
            )


def number_pages(draft: Draft, page: Page) -> None:
    sheet = draft.sheet
    if sheet.page == 1:
        return
    last, text = sheet.page, draft.label("page")
    for number in range(1, last + 1):
        sheet.page = number
        sheet.text(page.right, sheet.height - 22, text.format(page=number, pages=last), align="right", size=8.5)
    sheet.page = last


def terms(draft: Draft, bill: Bill, page: Page, y: float) -> None:
    """A sentence on when and how to pay."""
    if draft.chance(0.6):
        text = draft.label("payment_terms").format(days=(bill.due - bill.day).days)
        draft.sheet.paragraph(page.left, y, text, page.right - page.left, size=draft.sheet.size * 0.95)


def room(draft: Draft, page: Page, y: float, needed: float) -> float:
    """``y``, or the top of a new page when less than ``needed`` points are left."""
    if y + needed < draft.sheet.height - 70:
        return y
    draft.sheet.new_page()
    return 70.0


def address_lines(draft: Draft, x: float, y: float, lines: list[str]) -> float:
    return draft.address(x, y, lines, path=None, width=220)
