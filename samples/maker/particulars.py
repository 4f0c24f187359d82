"""Documents for programs that users describe by a JSON Schema: payslips, laboratory reports, leases."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from maker import words
from maker.draft import CENT, Draft, logo, new_draft
from maker.locales import Locale, shaped
from maker.sheet import Align, Span, wrapped

PAYSLIP_FIELDS = (
    *("employer", "employee", "employee_number", "department", "pay_date", "period_start", "period_end", "tax_code"),
    *("gross_pay", "total_deductions", "net_pay", "payment_method"),
)
PAYSLIP_ITEMS = {"earnings": ("description", "hours", "amount"), "deductions": ("description", "amount")}
LAB_FIELDS = (
    *("laboratory", "patient", "patient_id", "date_of_birth", "sex", "sample_number", "specimen", "collected_on"),
    *("reported_on", "physician", "fasting"),
)
LAB_ITEMS = {"results": ("test", "result", "unit", "reference_range")}
LEASE_FIELDS = (
    *("landlord", "tenant", "property_address", "property_type", "start_date", "end_date", "term_months"),
    *("monthly_rent", "security_deposit", "currency", "payment_day", "furnished", "pets_allowed"),
)

Row = tuple[str, list[Span]]


def _page(rng: random.Random, locale: Locale, families: Sequence[str]) -> Draft:
    width, height = (612, 792) if locale.code == "en_US" else (595, 842)
    return new_draft(rng, locale, width, height, families, (9.5, 10, 10.5))


def _beside(
    draft: Draft, rows: list[Row], x: float, y: float, tab: float, colon: str = ":", step: float = 1.6
) -> float:
    """Rows with the label left of the value; the baseline after them comes back."""
    for text, spans in rows:
        draft.sheet.text(x, y, text + colon)
        draft.sheet.text(x + tab, y, *spans)
        y += draft.sheet.size * step
    return y


def _above(draft: Draft, rows: list[Row], left: float, right: float, y: float, across: int, *, framed: bool) -> float:
    """Rows as cells, ``across`` to a line, with the label small above the value."""
    sheet = draft.sheet
    width = (right - left) / across
    for number, (text, spans) in enumerate(rows):
        x, top = left + number % across * width, y + number // across * 36
        if framed:
            sheet.area(x, top, x + width, top + 36, edge="#666666")
        sheet.text(x + 5, top + 12, text, size=sheet.size * 0.85, colour="#444444")
        sheet.text(x + 5, top + 28, *spans, bold=not framed)
    return y + (len(rows) + across - 1) // across * 36


def _number(draft: Draft, value: Decimal, path: str, *, sign: bool = False) -> list[Span]:
    """An amount in a field of its own; its currency sign belongs to no field."""
    return [span if span.path == path else Span(span.text) for span in draft.money(value, path, sign=sign)]


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
    draft = _page(rng, locale, ("sans", "narrow", "vera_narrow"))
    sheet, pay = draft.sheet, _pay(draft)
    left, right = 44.0, sheet.width - 44
    middle = (left + right) / 2
    sheet.text(left, 60, Span(pay.employer, "employer"), bold=True, size=14)
    sheet.text(right, 60, rng.choice(("PAYSLIP", "Pay Slip", "Payslip")), align="right", size=14)
    y = _above(draft, pay.rows, left, right, 78, 3, framed=True) + 16
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
        sheet.text(middle - 6, line, *_number(draft, amount, f"earnings[{number}].amount"), align="right")
    for number, (name, amount) in enumerate(pay.deductions):
        line = y + number * 17
        sheet.text(middle + 6, line, Span(name, f"deductions[{number}].description"))
        sheet.text(right - 6, line, *_number(draft, amount, f"deductions[{number}].amount"), align="right")
    bottom = y + 17 * max(len(pay.earnings), len(pay.deductions), 5)
    for x0, x1 in ((left, middle), (middle, right)):
        sheet.area(x0, top, x1, bottom, edge="#666666")
    sums: list[Row] = [
        (rng.choice(("Gross pay", "Total gross")), _number(draft, pay.gross, "gross_pay", sign=True)),
        ("Total deductions", _number(draft, pay.deducted, "total_deductions", sign=True)),
        (
            rng.choice(("Net pay", "NET PAY", "Take-home pay")),
            _number(draft, pay.gross - pay.deducted, "net_pay", sign=True),
        ),
    ]
    _above(draft, sums, left, right, bottom + 12, 3, framed=False)
    return draft


def payslip_list(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Label and value lines, then one list: earnings, gross, deductions, net."""
    draft = _page(rng, locale, ("serif", "sans", "mono", "wide"))
    sheet, pay = draft.sheet, _pay(draft)
    left, right = 70.0, sheet.width - 70
    title = rng.choice(("Pay Statement", "Payslip", "Salary Slip"))
    sheet.text(sheet.width / 2, 64, Span(pay.employer, "employer"), align="center", bold=True, size=15)
    sheet.text(sheet.width / 2, 84, title, align="center", size=12)
    y = _beside(draft, pay.rows, left, 118, 140) + 14
    sheet.rule(left, y - 10, right)
    columns = (left, right - 130, right)
    for x, head in zip(columns, ("Earnings", "Hours", "Amount"), strict=True):
        sheet.text(x, y + 6, head, bold=True, align="left" if x == left else "right")
    y += 26
    for number, (name, hours, amount) in enumerate(pay.earnings):
        sheet.text(left, y, Span(name, f"earnings[{number}].description"))
        if hours is not None:
            sheet.text(columns[1], y, draft.quantity(hours, f"earnings[{number}].hours"), align="right")
        sheet.text(right, y, *_number(draft, amount, f"earnings[{number}].amount"), align="right")
        y += 17
    sheet.rule(right - 200, y - 10, right, width=0.4)
    sheet.text(left, y + 4, rng.choice(("Gross pay", "Total earnings")), bold=True)
    sheet.text(right, y + 4, *_number(draft, pay.gross, "gross_pay"), align="right", bold=True)
    y += 34
    sheet.text(left, y, "Deductions", bold=True)
    sheet.text(right, y, "Amount", bold=True, align="right")
    y += 20
    for number, (name, amount) in enumerate(pay.deductions):
        sheet.text(left, y, Span(name, f"deductions[{number}].description"))
        sheet.text(right, y, *_number(draft, amount, f"deductions[{number}].amount"), align="right")
        y += 17
    sheet.rule(right - 200, y - 10, right, width=0.4)
    sheet.text(left, y + 4, "Total deductions", bold=True)
    sheet.text(right, y + 4, *_number(draft, pay.deducted, "total_deductions"), align="right", bold=True)
    y += 38
    sheet.area(left - 8, y - 18, right + 8, y + 12, edge="#000000")
    sheet.text(left, y, rng.choice(("Net pay", "Net amount paid")), bold=True, size=12)
    sheet.text(
        right, y, *_number(draft, pay.gross - pay.deducted, "net_pay", sign=True), align="right", bold=True, size=12
    )
    return draft


@dataclass(frozen=True)
class _Test:
    """A test of a laboratory: unit, the range of healthy people, decimal places."""

    name: str
    unit: str
    low: float
    high: float
    places: int


_TESTS = (
    _Test("Haemoglobin", "g/dL", 12.0, 16.0, 1),
    _Test("White cell count", "10^9/L", 4.0, 11.0, 1),
    _Test("Platelets", "10^9/L", 150, 400, 0),
    _Test("Glucose", "mmol/L", 3.9, 5.6, 1),
    _Test("Creatinine", "umol/L", 60, 110, 0),
    _Test("Sodium", "mmol/L", 135, 145, 0),
    _Test("Potassium", "mmol/L", 3.5, 5.1, 1),
    _Test("Total cholesterol", "mmol/L", 3.0, 5.2, 2),
    _Test("HDL cholesterol", "mmol/L", 1.0, 2.2, 2),
    _Test("Triglycerides", "mmol/L", 0.4, 1.7, 2),
    _Test("ALT", "U/L", 7, 56, 0),
    _Test("Alkaline phosphatase", "U/L", 44, 147, 0),
    _Test("Albumin", "g/L", 35, 50, 0),
    _Test("Ferritin", "ug/L", 20, 250, 0),
    _Test("TSH", "mIU/L", 0.40, 4.00, 2),
    _Test("Vitamin D", "nmol/L", 50, 125, 0),
    _Test("C-reactive protein", "mg/L", 0, 5, 1),
    _Test("Urea", "mmol/L", 2.5, 7.8, 1),
)


class _Report:
    """One sample's results: particulars as label and value, and the table's cells."""

    def __init__(self, draft: Draft, count: int) -> None:
        rng, locale = draft.rng, draft.locale
        suffix = rng.choice(("Diagnostics", "Medical Laboratory", "Pathology", "Laboratories", "Clinical Labs"))
        self.laboratory = f"{words.coined(rng, locale)} {suffix}"
        collected = draft.day()
        reported = collected + dt.timedelta(days=rng.randrange(1, 5))
        born = dt.date(1940, 1, 1) + dt.timedelta(days=rng.randrange(65 * 365))
        fasting = draft.chance(0.5)
        self.patient: list[Row] = [
            (rng.choice(("Patient", "Patient name", "Name")), [Span(words.person(rng, locale), "patient")]),
            (
                rng.choice(("Patient ID", "Patient No.", "ID")),
                [Span(shaped(rng, rng.choice(("99999999", "P-99999", "?999999"))), "patient_id")],
            ),
            (rng.choice(("Date of birth", "DOB", "Born")), [draft.date(born, "date_of_birth")]),
            ("Sex", [Span(rng.choice(("Male", "Female")), "sex")]),
        ]
        doctor = f"Dr {words.person(rng, locale)}"
        self.sample: list[Row] = [
            (
                rng.choice(("Sample No.", "Sample number", "Lab No.")),
                [Span(shaped(rng, rng.choice(("99-999999", "S9999999", "999999"))), "sample_number")],
            ),
            ("Specimen", [Span(rng.choice(("Blood", "Serum", "Plasma", "Whole blood")), "specimen")]),
            (rng.choice(("Collected on", "Collected", "Collection date")), [draft.date(collected, "collected_on")]),
            (rng.choice(("Reported on", "Reported", "Report date")), [draft.date(reported, "reported_on")]),
            (rng.choice(("Physician", "Requested by", "Referring physician")), [Span(doctor, "physician")]),
            (rng.choice(("Fasting", "Fasting sample")), [Span("Yes" if fasting else "No", "fasting", fasting)]),
        ]
        self.rows: list[list[Span]] = []
        for number, test in enumerate(rng.sample(_TESTS, max(3, min(count, 12)))):
            spread = test.high - test.low
            value = Decimal(max(test.low * 0.5, rng.uniform(test.low - spread * 0.2, test.high + spread * 0.3)))
            shown = str(value.quantize(Decimal(1).scaleb(-test.places)))
            limits = f"{test.low:.{test.places}f} - {test.high:.{test.places}f}"
            path = f"results[{number}]"
            self.rows.append(
                [
                    Span(test.name, f"{path}.test"),
                    Span(shown, f"{path}.result"),
                    Span(test.unit, f"{path}.unit"),
                    Span(limits, f"{path}.reference_range"),
                ]
            )


def _results(draft: Draft, report: _Report, left: float, right: float, y: float, *, ruled: bool) -> float:
    sheet = draft.sheet
    width = right - left
    heads = (
        draft.rng.choice(("Test", "Analyte", "Investigation")),
        draft.rng.choice(("Result", "Value")),
        draft.rng.choice(("Unit", "Units")),
        draft.rng.choice(("Reference range", "Reference", "Normal range")),
    )
    edges = [left, left + width * 0.4, left + width * 0.55, left + width * 0.73, right]
    places: list[tuple[float, Align]] = [
        (left + 5, "left"),
        (edges[2] - 12, "right"),
        (edges[2] + 5, "left"),
        (edges[3] + 5, "left"),
    ]
    top, step = y, 20.0
    sheet.area(left, y, right, y + step, fill="#e4ebf0" if ruled else None, edge="#555555" if ruled else None)
    for (x, align), head in zip(places, heads, strict=True):
        sheet.text(x, y + 14, head, align=align, bold=True)
    y += step
    if not ruled:
        sheet.rule(left, y, right, width=1)
    for row in report.rows:
        for (x, align), span in zip(places, row, strict=True):
            sheet.text(x, y + 14, span, align=align)
        y += step
        if ruled:
            sheet.rule(left, y, right, width=0.4)
    if ruled:
        for edge in edges:
            sheet.stroke(edge, top, edge, y, width=0.4)
    return y


def lab_columns(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Patient to the left and sample to the right with labels beside values, results without rules."""
    draft = _page(rng, locale, ("sans", "serif", "wide"))
    sheet, report = draft.sheet, _Report(draft, count + 4)
    left, right = 50.0, sheet.width - 50
    logo(draft, left, 36, 30, rng.choice(("#1b6a8a", "#2f7d5b", "#7a2f4b")))
    sheet.text(left + 42, 56, Span(report.laboratory, "laboratory"), bold=True, size=15)
    sheet.text(left + 42, 70, ", ".join(words.address(rng, locale)), size=8.5)
    sheet.rule(left, 84, right)
    middle = (left + right) / 2 + 6
    y = _beside(draft, report.patient, left, 106, 82)
    y = max(y, _beside(draft, report.sample, middle, 106, 106)) + 10
    sheet.text(
        sheet.width / 2,
        y + 8,
        rng.choice(("LABORATORY REPORT", "Test results", "Clinical Chemistry")),
        align="center",
        bold=True,
    )
    y = _results(draft, report, left, right, y + 22, ruled=False)
    sheet.text(left, y + 40, "Results relate only to the sample received.", size=8.5, colour="#444444")
    return draft


def lab_cells(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Particulars in framed cells with labels above values, results in a grid."""
    draft = _page(rng, locale, ("sans", "narrow", "vera_narrow"))
    sheet, report = draft.sheet, _Report(draft, count + 4)
    left, right = 46.0, sheet.width - 46
    sheet.text(sheet.width / 2, 56, Span(report.laboratory, "laboratory"), align="center", bold=True, size=16)
    sheet.text(sheet.width / 2, 74, rng.choice(("Laboratory Report", "Pathology Report")), align="center", size=11)
    y = _above(draft, [*report.patient, *report.sample], left, right, 92, 2, framed=True)
    y = _results(draft, report, left, right, y + 20, ruled=True)
    sheet.text(right, y + 40, "Authorised electronically. No signature needed.", align="right", size=8.5)
    return draft


class _Terms:
    """What a lease says."""

    def __init__(self, draft: Draft) -> None:
        rng, locale = draft.rng, draft.locale
        business = words.trade(rng, locale, "services")
        self.landlord = (
            words.person(rng, locale) if draft.chance(0.6) else words.company(rng, locale, business, capitals=0)
        )
        self.tenant = words.person(rng, locale)
        self.address = ", ".join(words.address(rng, locale))
        self.type = rng.choice(("Apartment", "House", "Studio", "Office", "Shop"))
        self.months = rng.choice((6, 12, 12, 18, 24, 36))
        self.start = draft.day().replace(day=1)
        year, month = divmod(self.start.month - 1 + self.months, 12)
        self.end = dt.date(self.start.year + year, month + 1, 1) - dt.timedelta(days=1)
        self.rent = Decimal(rng.randrange(9, 70) * 50)
        self.deposit = self.rent * rng.choice((1, 2, 3))
        self.day = rng.choice((1, 1, 3, 5, 15))
        self.furnished = draft.chance(0.5)
        self.pets = draft.chance(0.4)


def lease_terms(rng: random.Random, locale: Locale, count: int) -> Draft:
    """A table of terms, one to a row, above the small print."""
    draft = _page(rng, locale, ("serif", "sans", "wide"))
    sheet, terms = draft.sheet, _Terms(draft)
    left, right = 56.0, sheet.width - 56
    title = rng.choice(("RESIDENTIAL LEASE", "Tenancy Agreement", "LEASE AGREEMENT", "Rental Agreement"))
    sheet.text(sheet.width / 2, 66, title, align="center", bold=True, size=16)
    rows: list[Row] = [
        (rng.choice(("Landlord", "Landlord (Lessor)")), [Span(terms.landlord, "landlord")]),
        (rng.choice(("Tenant", "Tenant (Lessee)")), [Span(terms.tenant, "tenant")]),
        (
            rng.choice(("Property address", "Premises", "Address of property")),
            [Span(terms.address, "property_address")],
        ),
        (rng.choice(("Property type", "Type of property")), [Span(terms.type, "property_type")]),
        (rng.choice(("Start date", "Lease start", "Commencement date")), [draft.date(terms.start, "start_date")]),
        (rng.choice(("End date", "Lease end", "Expiry date")), [draft.date(terms.end, "end_date")]),
        (rng.choice(("Term (months)", "Term in months")), [Span(str(terms.months), "term_months")]),
        (rng.choice(("Monthly rent", "Rent per month")), draft.money(terms.rent, "monthly_rent", sign=True)),
        (rng.choice(("Security deposit", "Deposit")), _number(draft, terms.deposit, "security_deposit", sign=True)),
        (rng.choice(("Rent due on day", "Payment day")), [Span(str(terms.day), "payment_day")]),
        ("Furnished", [Span("Yes" if terms.furnished else "No", "furnished", terms.furnished)]),
        (rng.choice(("Pets allowed", "Pets")), [Span("Yes" if terms.pets else "No", "pets_allowed", terms.pets)]),
    ]
    y, ruled = 92.0, draft.chance(0.6)
    tab = left + 150
    top = y
    for text, spans in rows:
        if ruled:
            sheet.rule(left, y, right, width=0.5)
        sheet.text(left + 6, y + 15, text, bold=True)
        sheet.text(tab, y + 15, *spans)
        y += 23
    if ruled:
        sheet.rule(left, y, right, width=0.5)
        for x in (left, tab - 8, right):
            sheet.stroke(x, top, x, y, width=0.5)
    y += 26
    for clause in _CLAUSES:
        y = sheet.paragraph(left, y, clause, right - left) + 6
    _signatures(draft, left, right, y + 50)
    return draft


_CLAUSES = (
    "The tenant keeps the premises clean and in good order and returns them in the state in which they were received.",
    "The tenant does not let the premises or a part of them to others without the written consent of the landlord.",
    "The landlord carries out repairs of the roof, the walls and the pipes within a reasonable time after notice.",
    "The deposit is returned within thirty days after the end of the lease, less the cost of damage beyond wear.",
)


def lease_clauses(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Numbered clauses in sentences, with a heading each."""
    draft = _page(rng, locale, ("serif", "sans"))
    sheet, terms = draft.sheet, _Terms(draft)
    left, right = 62.0, sheet.width - 62
    sheet.text(
        sheet.width / 2, 70, rng.choice(("LEASE AGREEMENT", "Tenancy Agreement")), align="center", bold=True, size=16
    )
    y = 104.0
    furnished = "furnished" if terms.furnished else "unfurnished"
    pets = "Pets are allowed." if terms.pets else "Pets are not allowed."
    clauses: list[tuple[str, list[list[Span | str]]]] = [
        ("Parties", [["Landlord: ", Span(terms.landlord, "landlord")], ["Tenant: ", Span(terms.tenant, "tenant")]]),
        (
            "Premises",
            [
                ["Address: ", Span(terms.address, "property_address")],
                [
                    "Property type: ",
                    Span(terms.type, "property_type"),
                    ". The premises are let ",
                    Span(furnished, "furnished", terms.furnished),
                    ".",
                ],
            ],
        ),
        (
            "Term",
            [
                [
                    "The lease begins on ",
                    draft.date(terms.start, "start_date"),
                    " and ends on ",
                    draft.date(terms.end, "end_date"),
                ],
                ["(a term of ", Span(str(terms.months), "term_months"), " months)."],
            ],
        ),
        (
            "Rent",
            [
                [
                    "The monthly rent is ",
                    *draft.money(terms.rent, "monthly_rent", sign=True),
                    ", due on day ",
                    Span(str(terms.day), "payment_day"),
                    " of each month.",
                ]
            ],
        ),
        (
            "Deposit",
            [
                [
                    "The tenant pays a security deposit of ",
                    *_number(draft, terms.deposit, "security_deposit", sign=True),
                    ".",
                ]
            ],
        ),
        ("Pets", [[Span(pets, "pets_allowed", terms.pets)]]),
        (
            "Care of the premises",
            [[line] for line in wrapped(_CLAUSES[0], sheet.family.plain, sheet.size, right - left - 14)],
        ),
    ]
    for number, (heading, lines) in enumerate(clauses, start=1):
        sheet.text(left, y, f"{number}. {heading}", bold=True)
        y += sheet.size * 1.6
        for spans in lines:
            sheet.text(left + 14, y, *spans)
            y += sheet.size * 1.4
        y += sheet.size * 0.8
    _signatures(draft, left, right, y + 50)
    return draft


def _signatures(draft: Draft, left: float, right: float, y: float) -> None:
    sheet = draft.sheet
    for x, who in ((left, "Signature of landlord"), (right - 170, "Signature of tenant")):
        sheet.rule(x, y, x + 170)
        sheet.text(x, y + 12, who, size=8.5)


Layouts = dict[str, Callable[[random.Random, Locale, int], Draft]]
PAYSLIPS: Layouts = {"payslip_halves": payslip_halves, "payslip_list": payslip_list}
LAB_REPORTS: Layouts = {"lab_columns": lab_columns, "lab_cells": lab_cells}
LEASES: Layouts = {"lease_terms": lease_terms, "lease_clauses": lease_clauses}
