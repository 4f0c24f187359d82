"""Invoices: five ways to lay out a page of A4 or Letter, on one page or over several."""

from __future__ import annotations

import random
from collections.abc import Callable

from maker.draft import Draft, logo
from maker.invoice_parts import (
    address_lines,
    foot,
    number_pages,
    particulars,
    payment,
    room,
    start,
    sums,
    table_of_goods,
    terms,
)
from maker.locales import Locale
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


def classic(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Logo and seller to the left, title and particulars to the right with labels left of values, a grid."""
    draft, bill, page = start(rng, locale, count, ("sans", "serif", "wide"))
    sheet = draft.sheet
    logo(draft, page.left, 40, 34, page.colour)
    sheet.text(page.right, 62, draft.label("invoice"), align="right", bold=True, size=22, colour=page.colour)
    y = sheet.paragraph(page.left, 96, bill.issuer, 250, path="issuer", bold=True, size=sheet.size * 1.2)
    y = address_lines(draft, page.left, y, bill.issuer_address)
    sheet.text(page.left, y, f"{draft.label('phone')}: {bill.phone}")
    if vat_here := draft.chance(0.4):
        y += sheet.size * 1.3
        sheet.text(page.left, y, f"{locale.tax_id}: ", Span(bill.vat, "vat"))
    rows, right_y = particulars(draft, bill, page), 96.0
    for text, span in rows:
        sheet.text(page.right - 100, right_y, text + page.colon, align="right", bold=True)
        sheet.text(page.right, right_y, span, align="right")
        right_y += sheet.size * 1.6
    y = max(y, right_y) + 30
    sheet.text(page.left, y, draft.label("customer") + page.colon, bold=True)
    y = sheet.paragraph(page.left, y + sheet.size * 1.4, bill.customer, 260, path="customer")
    y = address_lines(draft, page.left, y, bill.customer_address) + 14
    y = table_of_goods(draft, bill, page, y, "ruled", sheet.height - 80)
    y = sums(draft, bill, page, room(draft, page, y, 110), rng.choice(("plain", "boxed")))
    y = payment(draft, bill, page, y + 12, page.left, not vat_here and draft.chance(0.6))
    terms(draft, bill, page, y + 10)
    number_pages(draft, page)
    return draft


def letter(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A business letter: small sender line, address window, particulars in a block to the right, no grid, footer."""
    draft, bill, page = start(rng, locale, count, ("sans", "serif", "narrow"))
    sheet = draft.sheet
    sheet.text(page.right, 52, Span(bill.issuer, "issuer"), align="right", bold=True, size=15, colour=page.colour)
    sheet.text(page.left, 118, ", ".join([bill.issuer, *bill.issuer_address]), size=7.5, colour="#444444")
    sheet.rule(page.left, 122, page.left + 230, width=0.4)
    y = sheet.paragraph(page.left, 142, bill.customer, 230, path="customer")
    y = address_lines(draft, page.left, y, bill.customer_address)
    right_y = 142.0
    x = page.right - 190
    for text, span in particulars(draft, bill, page):
        sheet.text(x, right_y, text + page.colon)
        sheet.text(x + 105, right_y, span)
        right_y += sheet.size * 1.5
    y = max(y, right_y) + 42
    sheet.text(page.left, y, draft.label("invoice"), bold=True, size=sheet.size * 1.5)
    y = table_of_goods(draft, bill, page, y + 22, rng.choice(("bare", "lined")), sheet.height - 90)
    y = sums(draft, bill, page, room(draft, page, y, 110), rng.choice(("plain", "wide")))
    terms(draft, bill, page, y + 16)
    foot(draft, bill, page, draft.chance(0.8))
    number_pages(draft, page)
    return draft


def band(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A coloured band on top, the particulars in a row with each label above its value, a banded table."""
    draft, bill, page = start(rng, locale, count, ("sans", "wide", "vera_narrow"))
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
    rows = particulars(draft, bill, page)[:4]
    step = (page.right - page.left) / len(rows)
    for number, (text, span) in enumerate(rows):
        x = page.left + number * step
        sheet.text(x, 112, text, size=sheet.size * 0.85, colour="#666666")
        sheet.text(x, 112 + sheet.size * 1.45, span, bold=True)
    sheet.rule(page.left, 140, page.right, colour="#bbbbbb")
    middle = page.left + (page.right - page.left) / 2
    sheet.text(page.left, 162, draft.label("customer"), bold=True, colour=page.colour)
    y = sheet.paragraph(page.left, 178, bill.customer, 220, path="customer")
    y = address_lines(draft, page.left, y, bill.customer_address)
    right_y = payment(draft, bill, page, 178, middle, draft.chance(0.6))
    if right_y > 178:
        sheet.text(middle, 162, draft.label("bank"), bold=True, colour=page.colour)
    y = max(y, right_y) + 18
    y = table_of_goods(draft, bill, page, y, "banded", sheet.height - 80)
    y = sums(draft, bill, page, room(draft, page, y, 110), "plain")
    terms(draft, bill, page, y + 16)
    if draft.chance(0.5):
        sheet.text(
            sheet.width / 2,
            sheet.height - 40,
            draft.label("thanks"),
            align="center",
            size=9,
            colour="#666666",
        )
    number_pages(draft, page)
    return draft


def two_columns(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Title in the middle, seller and customer in two boxes side by side, particulars in a ruled strip below."""
    draft, bill, page = start(rng, locale, count, ("sans", "serif", "narrow", "mono"))
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
    rows = particulars(draft, bill, page)[:4]
    step = (page.right - page.left) / len(rows)
    sheet.area(page.left, 186, page.right, 222, edge="#555555")
    for number, (text, span) in enumerate(rows):
        x = page.left + number * step
        if number:
            sheet.stroke(x, 186, x, 222, colour="#555555")
        sheet.text(x + 6, 199, text, size=sheet.size * 0.85)
        sheet.text(x + 6, 215, span)
    y = table_of_goods(draft, bill, page, 236, rng.choice(("ruled", "lined")), sheet.height - 80)
    y = sums(draft, bill, page, room(draft, page, y, 110), "boxed")
    y = payment(draft, bill, page, y + 8, page.left, False)
    terms(draft, bill, page, y + 10)
    number_pages(draft, page)
    return draft


def statement(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A bill of a utility: the customer left, a framed summary with the sum to pay to the right, details below."""
    draft, bill, page = start(rng, locale, count, ("sans", "narrow", "vera_narrow"))
    sheet = draft.sheet
    logo(draft, page.right - 40, 34, 40, page.colour)
    sheet.text(page.left, 58, Span(bill.issuer, "issuer"), bold=True, size=14)
    address_lines(draft, page.left, 74, bill.issuer_address)
    y = sheet.paragraph(page.left, 132, bill.customer, 220, path="customer")
    y = address_lines(draft, page.left, y, bill.customer_address)
    x = page.right - 220
    rows = particulars(draft, bill, page)
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
    y = table_of_goods(draft, bill, page, y, "lined", sheet.height - 80)
    y = sums(draft, bill, page, room(draft, page, y, 110), "plain")
    terms(draft, bill, page, y + 16)
    foot(draft, bill, page, draft.chance(0.7))
    number_pages(draft, page)
    return draft


LAYOUTS: dict[str, Callable[[random.Random, Locale, int], Draft]] = {
    "classic": classic,
    "letter": letter,
    "band": band,
    "two_columns": two_columns,
    "statement": statement,
}
