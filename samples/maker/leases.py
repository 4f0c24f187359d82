"""Leases, for the schema lease.schema.json."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal

from maker import words
from maker.cells import Layouts, Row, blank_page, money_of
from maker.draft import Draft
from maker.locales import Locale
from maker.sheet import Span, wrapped

LEASE_FIELDS = (
    *("landlord", "tenant", "property_address", "property_type", "start_date", "end_date", "term_months"),
    *("monthly_rent", "security_deposit", "currency", "payment_day", "furnished", "pets_allowed"),
)


_CLAUSES = (
    "The tenant keeps the premises clean and in good order and returns them in the state in which they were received.",
    "The tenant does not let the premises or a part of them to others without the written consent of the landlord.",
    "The landlord carries out repairs of the roof, the walls and the pipes within a reasonable time after notice.",
    "The deposit is returned within thirty days after the end of the lease, less the cost of damage beyond wear.",
)


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
    draft = blank_page(rng, locale, ("serif", "sans", "wide"))
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
        (
            rng.choice(("Security deposit", "Deposit")),
            money_of(draft, terms.deposit, "security_deposit", sign=True),
        ),
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


def lease_clauses(rng: random.Random, locale: Locale, count: int) -> Draft:
    """Numbered clauses in sentences, with a heading each."""
    draft = blank_page(rng, locale, ("serif", "sans"))
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
                    *money_of(draft, terms.deposit, "security_deposit", sign=True),
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


LEASES: Layouts = {"lease_terms": lease_terms, "lease_clauses": lease_clauses}
