"""Invoices: five ways to lay out a page of A4 or Letter, on one page or over several."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from decimal import Decimal

from maker import words
from maker.draft import Draft, logo, make_items, new_draft
from maker.locales import Locale, shaped
from maker.sheet import Span

FIELDS = (
    "issuer",
    "customer",
    "invoice_number",
    "date",
    "due_date",
    "currency",
    "amount_untaxed",
    "tax",
    "amount",
    "iban",
    "vat",
)
ITEM_FIELDS = ("description", "quantity", "unit_price", "amount")
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


def _start(rng: random.Random, locale: Locale, count: int, families: tuple[str, ...]) -> tuple[Draft, Bill, Page]:
    width, height = (612, 792) if locale.code == "en_US" else (595, 842)
    draft = new_draft(rng, locale, width, height, families, (9.5, 10, 10.5))
    return draft, Bill(draft, count), Page(draft)


def _particulars(draft: Draft, bill: Bill, page: Page) -> list[tuple[str, Span]]:
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


def _table(draft: Draft, bill: Bill, page: Page, y: float, style: str, bottom: float) -> float:
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


def _sums(draft: Draft, bill: Bill, page: Page, y: float, style: str) -> float:
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


def _payment(draft: Draft, bill: Bill, page: Page, y: float, x: float, vat_here: bool) -> float:
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


def _foot(draft: Draft, bill: Bill, page: Page, vat_here: bool) -> None:
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


def _number_pages(draft: Draft, page: Page) -> None:
    sheet = draft.sheet
    if sheet.page == 1:
        return
    last, text = sheet.page, draft.label("page")
    for number in range(1, last + 1):
        sheet.page = number
        sheet.text(page.right, sheet.height - 22, text.format(page=number, pages=last), align="right", size=8.5)
    sheet.page = last


def _terms(draft: Draft, bill: Bill, page: Page, y: float) -> None:
    """A sentence on when and how to pay."""
    if draft.chance(0.6):
        text = draft.label("payment_terms").format(days=(bill.due - bill.day).days)
        draft.sheet.paragraph(page.left, y, text, page.right - page.left, size=draft.sheet.size * 0.95)


def _room(draft: Draft, page: Page, y: float, needed: float) -> float:
    """``y``, or the top of a new page when less than ``needed`` points are left."""
    if y + needed < draft.sheet.height - 70:
        return y
    draft.sheet.new_page()
    return 70.0


def _address(draft: Draft, x: float, y: float, lines: list[str]) -> float:
    return draft.address(x, y, lines, path=None, width=220)


def classic(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Logo and seller to the left, title and particulars to the right with labels left of values, a grid."""
    draft, bill, page = _start(rng, locale, count, ("sans", "serif", "wide"))
    sheet = draft.sheet
    logo(draft, page.left, 40, 34, page.colour)
    sheet.text(page.right, 62, draft.label("invoice"), align="right", bold=True, size=22, colour=page.colour)
    y = sheet.paragraph(page.left, 96, bill.issuer, 250, path="issuer", bold=True, size=sheet.size * 1.2)
    y = _address(draft, page.left, y, bill.issuer_address)
    sheet.text(page.left, y, f"{draft.label('phone')}: {bill.phone}")
    if vat_here := draft.chance(0.4):
        y += sheet.size * 1.3
        sheet.text(page.left, y, f"{locale.tax_id}: ", Span(bill.vat, "vat"))
    rows, right_y = _particulars(draft, bill, page), 96.0
    for text, span in rows:
        sheet.text(page.right - 100, right_y, text + page.colon, align="right", bold=True)
        sheet.text(page.right, right_y, span, align="right")
        right_y += sheet.size * 1.6
    y = max(y, right_y) + 30
    sheet.text(page.left, y, draft.label("customer") + page.colon, bold=True)
    y = sheet.paragraph(page.left, y + sheet.size * 1.4, bill.customer, 260, path="customer")
    y = _address(draft, page.left, y, bill.customer_address) + 14
    y = _table(draft, bill, page, y, "ruled", sheet.height - 80)
    y = _sums(draft, bill, page, _room(draft, page, y, 110), rng.choice(("plain", "boxed")))
    y = _payment(draft, bill, page, y + 12, page.left, not vat_here and draft.chance(0.6))
    _terms(draft, bill, page, y + 10)
    _number_pages(draft, page)
    return draft


def letter(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A business letter: small sender line, address window, particulars in a block to the right, no grid, footer."""
    draft, bill, page = _start(rng, locale, count, ("sans", "serif", "narrow"))
    sheet = draft.sheet
    sheet.text(page.right, 52, Span(bill.issuer, "issuer"), align="right", bold=True, size=15, colour=page.colour)
    sheet.text(page.left, 118, ", ".join([bill.issuer, *bill.issuer_address]), size=7.5, colour="#444444")
    sheet.rule(page.left, 122, page.left + 230, width=0.4)
    y = sheet.paragraph(page.left, 142, bill.customer, 230, path="customer")
    y = _address(draft, page.left, y, bill.customer_address)
    right_y = 142.0
    x = page.right - 190
    for text, span in _particulars(draft, bill, page):
        sheet.text(x, right_y, text + page.colon)
        sheet.text(x + 105, right_y, span)
        right_y += sheet.size * 1.5
    y = max(y, right_y) + 42
    sheet.text(page.left, y, draft.label("invoice"), bold=True, size=sheet.size * 1.5)
    y = _table(draft, bill, page, y + 22, rng.choice(("bare", "lined")), sheet.height - 90)
    y = _sums(draft, bill, page, _room(draft, page, y, 110), rng.choice(("plain", "wide")))
    _terms(draft, bill, page, y + 16)
    _foot(draft, bill, page, draft.chance(0.8))
    _number_pages(draft, page)
    return draft


def band(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A coloured band on top, the particulars in a row with each label above its value, a banded table."""
    draft, bill, page = _start(rng, locale, count, ("sans", "wide", "vera_narrow"))
    sheet = draft.sheet
    sheet.area(0, 0, sheet.width, 84, fill=page.colour)
    sheet.text(
        page.left,
        52,
        Span(bill.issuer, "issuer"),
        bold=True,
        size=min(17, 17 * 260 / max(1, len(bill.issuer) * 9)),
        colour="#ffffff",
    )
    sheet.text(page.right, 52, draft.label("invoice"), align="right", size=20, colour="#ffffff")
    sheet.text(page.left, 72, ", ".join(bill.issuer_address), size=8.5, colour="#ffffff")
    rows = _particulars(draft, bill, page)[:4]
    step = (page.right - page.left) / len(rows)
    for number, (text, span) in enumerate(rows):
        x = page.left + number * step
        sheet.text(x, 112, text, size=sheet.size * 0.85, colour="#666666")
        sheet.text(x, 112 + sheet.size * 1.45, span, bold=True)
    sheet.rule(page.left, 140, page.right, colour="#bbbbbb")
    middle = page.left + (page.right - page.left) / 2
    sheet.text(page.left, 162, draft.label("customer"), bold=True, colour=page.colour)
    y = sheet.paragraph(page.left, 178, bill.customer, 220, path="customer")
    y = _address(draft, page.left, y, bill.customer_address)
    right_y = _payment(draft, bill, page, 178, middle, draft.chance(0.6))
    if right_y > 178:
        sheet.text(middle, 162, draft.label("bank"), bold=True, colour=page.colour)
    y = max(y, right_y) + 18
    y = _table(draft, bill, page, y, "banded", sheet.height - 80)
    y = _sums(draft, bill, page, _room(draft, page, y, 110), "plain")
    _terms(draft, bill, page, y + 16)
    if draft.chance(0.5):
        sheet.text(
            sheet.width / 2,
            sheet.height - 40,
            draft.label("thanks"),
            align="center",
            size=9,
            colour="#666666",
        )
    _number_pages(draft, page)
    return draft


def two_columns(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Title in the middle, seller and customer in two boxes side by side, particulars in a ruled strip below."""
    draft, bill, page = _start(rng, locale, count, ("sans", "serif", "narrow", "mono"))
    sheet = draft.sheet
    sheet.text(sheet.width / 2, 58, draft.label("invoice"), align="center", bold=True, size=18)
    middle = (page.left + page.right) / 2
    for x, name, party, lines, path in (
        (page.left, "issuer", bill.issuer, bill.issuer_address, "issuer"),
        (middle + 6, "customer", bill.customer, bill.customer_address, "customer"),
    ):
        sheet.area(x, 76, x + middle - page.left - 6, 176, edge="#555555")
        sheet.text(x + 8, 92, draft.label(name) + page.colon, size=sheet.size * 0.85, colour="#555555")
        y = sheet.paragraph(x + 8, 110, party, middle - page.left - 24, path=path, bold=True)
        y = draft.address(x + 8, y, lines, path=None, width=middle - page.left - 24)
        if name == "issuer":
            sheet.text(x + 8, y, f"{locale.tax_id}: ", Span(bill.vat, "vat"))
    rows = _particulars(draft, bill, page)[:4]
    step = (page.right - page.left) / len(rows)
    sheet.area(page.left, 186, page.right, 222, edge="#555555")
    for number, (text, span) in enumerate(rows):
        x = page.left + number * step
        if number:
            sheet.stroke(x, 186, x, 222, colour="#555555")
        sheet.text(x + 6, 199, text, size=sheet.size * 0.85)
        sheet.text(x + 6, 215, span)
    y = _table(draft, bill, page, 236, rng.choice(("ruled", "lined")), sheet.height - 80)
    y = _sums(draft, bill, page, _room(draft, page, y, 110), "boxed")
    y = _payment(draft, bill, page, y + 8, page.left, False)
    _terms(draft, bill, page, y + 10)
    _number_pages(draft, page)
    return draft


def statement(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A bill of a utility: the customer left, a framed summary with the sum to pay to the right, details below."""
    draft, bill, page = _start(rng, locale, count, ("sans", "narrow", "vera_narrow"))
    sheet = draft.sheet
    logo(draft, page.right - 40, 34, 40, page.colour)
    sheet.text(page.left, 58, Span(bill.issuer, "issuer"), bold=True, size=14)
    _address(draft, page.left, 74, bill.issuer_address)
    y = sheet.paragraph(page.left, 132, bill.customer, 220, path="customer")
    y = _address(draft, page.left, y, bill.customer_address)
    x = page.right - 220
    rows = _particulars(draft, bill, page)
    height = 40 + len(rows) * sheet.size * 1.7 + 34
    sheet.area(x, 112, page.right, 112 + height, fill="#f3f3f3", edge=page.colour)
    sheet.text(x + 10, 130, draft.label("invoice"), bold=True, colour=page.colour)
    right_y = 152.0
    for text, span in rows:
        sheet.text(x + 10, right_y, text + page.colon)
        sheet.text(page.right - 10, right_y, span, align="right")
        right_y += sheet.size * 1.7
    sheet.rule(x + 10, right_y - 6, page.right - 10, colour=page.colour)
    sheet.text(x + 10, right_y + 14, draft.label("gross") + page.colon, bold=True)
    sheet.text(
        page.right - 10,
        right_y + 14,
        *draft.money(bill.amount, "amount", sign=True),
        align="right",
        bold=True,
        size=sheet.size * 1.3,
    )
    y = max(y, 112 + height) + 26
    y = _table(draft, bill, page, y, "lined", sheet.height - 80)
    y = _sums(draft, bill, page, _room(draft, page, y, 110), "plain")
    _terms(draft, bill, page, y + 16)
    _foot(draft, bill, page, draft.chance(0.7))
    _number_pages(draft, page)
    return draft


LAYOUTS: dict[str, Callable[[random.Random, Locale, int], Draft]] = {
    "classic": classic,
    "letter": letter,
    "band": band,
    "two_columns": two_columns,
    "statement": statement,
}
