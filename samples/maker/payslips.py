"""Payslips, for the schema payslip.schema.json."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from decimal import Decimal

from maker import words
from maker.cells import Layouts, Row, blank_page, money_of, rows_above, rows_beside
from maker.draft import CENT, Draft
from maker.locales import Locale, shaped
from maker.sheet import Span

PAYSLIP_FIELDS = (
    *("employer", "employee", "employee_number", "department", "pay_date", "period_start", "period_end", "tax_code"),
    *("gross_pay", "total_deductions", "net_pay", "payment_method"),
)


PAYSLIP_ITEMS = {"earnings": ("description", "hours", "amount"), "deductions": ("description", "amount")}


@dataclass(frozen=True)
class _Pay:
    """One month's pay of one person."""

    employer: str
    rows: list[Row]
    earnings: list[tuple[str, Decimal | None, Decimal]]
    deductions: list[tuple[str, Decimal]]

    @property
    def gross(self) -> Decimal:
        return sum((amount for _, _, amount in self.earnings), Decimal(0))

    @property
    def deducted(self) -> Decimal:
        return sum((amount for _, amount in self.deductions), Decimal(0))


_DEDUCTIONS = (
    "Income tax",
    "National insurance",
    "Pension",
    "Health insurance",
    "Union fee",
    "Parking",
    "Student loan",
)


def _pay(draft: Draft) -> _Pay:
    rng, locale = draft.rng, draft.locale
    shop = words.trade(rng, locale, "services")
    hours = Decimal(rng.choice(("152", "160", "168", "37.5", "173.33")))
    rate = Decimal(rng.randrange(1200, 4200)) / 100
    earnings: list[tuple[str, Decimal | None, Decimal]] = [
        (rng.choice(("Basic pay", "Salary", "Regular hours")), hours, (hours * rate).quantize(CENT))
    ]
    if draft.chance(0.6):
        extra = Decimal(rng.randrange(2, 24)) / 2
        earnings.append(("Overtime", extra, (extra * rate * Decimal("1.5")).quantize(CENT)))
    if draft.chance(0.5):
        earnings.append(
            (rng.choice(("Bonus", "Travel allowance", "Holiday pay")), None, Decimal(rng.randrange(40, 600)))
        )
    base = sum((amount for _, _, amount in earnings), Decimal(0))
    names = rng.sample(_DEDUCTIONS, rng.randrange(2, 5))
    deductions = [(name, (base * Decimal(rng.randrange(10, 140)) / 1000).quantize(CENT)) for name in names]
    first = draft.day().replace(day=1)
    last = (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
    paid = last + dt.timedelta(days=rng.randrange(-4, 4))
    way = rng.choice(("Bank transfer", "Bank transfer", "Cheque", "Cash"))
    rows: list[Row] = [
        (rng.choice(("Employee", "Employee name", "Name")), [Span(words.person(rng, locale), "employee")]),
        (
            rng.choice(("Employee No.", "Employee number", "Staff No.", "Employee ID")),
            [Span(shaped(rng, rng.choice(("99999", "E-9999", "999-99"))), "employee_number")],
        ),
        (rng.choice(("Department", "Dept.")), [Span(rng.choice(locale.words["answers"]["department"]), "department")]),
        (rng.choice(("Pay date", "Date paid", "Payment date")), [draft.date(paid, "pay_date")]),
        (
            rng.choice(("Pay period", "Period")),
            [draft.date(first, "period_start"), Span(rng.choice((" - ", " to "))), draft.date(last, "period_end")],
        ),
        ("Tax code", [Span(shaped(rng, rng.choice(("9999?", "?9", "999?"))), "tax_code")]),
        (rng.choice(("Payment method", "Paid by")), [Span(way, "payment_method")]),
    ]
    return _Pay(words.company(rng, locale, shop, capitals=0.2), rows, earnings, deductions)


def payslip_halves(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Particulars in framed cells, earnings and deductions side by side, the sums in a strip."""
    draft = blank_page(rng, locale, ("sans", "narrow", "vera_narrow"))
    sheet, pay = draft.sheet, _pay(draft)
    left, right = 44.0, sheet.width - 44
    middle = (left + right) / 2
    sheet.text(left, 60, Span(pay.employer, "employer"), bold=True, size=14)
    sheet.text(right, 60, rng.choice(("PAYSLIP", "Pay Slip", "Payslip")), align="right", size=14)
    y = rows_above(draft, pay.rows, left, right, 78, 3, framed=True) + 16
    top = y
    for x0, x1, title, value_head in ((left, middle, "Earnings", "Amount"), (middle, right, "Deductions", "Amount")):
        sheet.area(x0, y, x1, y + 20, fill="#dddddd", edge="#666666")
        sheet.text(x0 + 6, y + 14, title, bold=True)
        sheet.text(x1 - 6, y + 14, value_head, align="right", bold=True)
    sheet.text(middle - 90, y + 14, "Hours", align="right", bold=True)
    y += 36
    for number, (name, hours, amount) in enumerate(pay.earnings):
        line = y + number * 17
        sheet.text(left + 6, line, Span(name, f"earnings[{number}].description"))
        if hours is not None:
            sheet.text(middle - 90, line, draft.quantity(hours, f"earnings[{number}].hours"), align="right")
        sheet.text(middle - 6, line, *money_of(draft, amount, f"earnings[{number}].amount"), align="right")
    for number, (name, amount) in enumerate(pay.deductions):
        line = y + number * 17
        sheet.text(middle + 6, line, Span(name, f"deductions[{number}].description"))
        sheet.text(right - 6, line, *money_of(draft, amount, f"deductions[{number}].amount"), align="right")
    bottom = y + 17 * max(len(pay.earnings), len(pay.deductions), 5)
    for x0, x1 in ((left, middle), (middle, right)):
        sheet.area(x0, top, x1, bottom, edge="#666666")
    sums: list[Row] = [
        (rng.choice(("Gross pay", "Total gross")), money_of(draft, pay.gross, "gross_pay", sign=True)),
        ("Total deductions", money_of(draft, pay.deducted, "total_deductions", sign=True)),
        (
            rng.choice(("Net pay", "NET PAY", "Take-home pay")),
            money_of(draft, pay.gross - pay.deducted, "net_pay", sign=True),
        ),
    ]
    rows_above(draft, sums, left, right, bottom + 12, 3, framed=False)
    return draft


def payslip_list(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Label and value lines, then one list: earnings, gross, deductions, net."""
    draft = blank_page(rng, locale, ("serif", "sans", "mono", "wide"))
    sheet, pay = draft.sheet, _pay(draft)
    left, right = 70.0, sheet.width - 70
    title = rng.choice(("Pay Statement", "Payslip", "Salary Slip"))
    sheet.text(sheet.width / 2, 64, Span(pay.employer, "employer"), align="center", bold=True, size=15)
    sheet.text(sheet.width / 2, 84, title, align="center", size=12)
    y = rows_beside(draft, pay.rows, left, 118, 140) + 14
    sheet.rule(left, y - 10, right)
    columns = (left, right - 130, right)
    for x, head in zip(columns, ("Earnings", "Hours", "Amount"), strict=True):
        sheet.text(x, y + 6, head, bold=True, align="left" if x == left else "right")
    y += 26
    for number, (name, hours, amount) in enumerate(pay.earnings):
        sheet.text(left, y, Span(name, f"earnings[{number}].description"))
        if hours is not None:
            sheet.text(columns[1], y, draft.quantity(hours, f"earnings[{number}].hours"), align="right")
        sheet.text(right, y, *money_of(draft, amount, f"earnings[{number}].amount"), align="right")
        y += 17
    sheet.rule(right - 200, y - 10, right, width=0.4)
    sheet.text(left, y + 4, rng.choice(("Gross pay", "Total earnings")), bold=True)
    sheet.text(right, y + 4, *money_of(draft, pay.gross, "gross_pay"), align="right", bold=True)
    y += 34
    sheet.text(left, y, "Deductions", bold=True)
    sheet.text(right, y, "Amount", bold=True, align="right")
    y += 20
    for number, (name, amount) in enumerate(pay.deductions):
        sheet.text(left, y, Span(name, f"deductions[{number}].description"))
        sheet.text(right, y, *money_of(draft, amount, f"deductions[{number}].amount"), align="right")
        y += 17
    sheet.rule(right - 200, y - 10, right, width=0.4)
    sheet.text(left, y + 4, "Total deductions", bold=True)
    sheet.text(right, y + 4, *money_of(draft, pay.deducted, "total_deductions"), align="right", bold=True)
    y += 38
    sheet.area(left - 8, y - 18, right + 8, y + 12, edge="#000000")
    sheet.text(left, y, rng.choice(("Net pay", "Net amount paid")), bold=True, size=12)
    sheet.text(
        right,
        y,
        *money_of(draft, pay.gross - pay.deducted, "net_pay", sign=True),
        align="right",
        bold=True,
        size=12,
    )
    return draft


PAYSLIPS: Layouts = {"payslip_halves": payslip_halves, "payslip_list": payslip_list}
