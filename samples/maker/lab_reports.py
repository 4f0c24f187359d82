"""Laboratory reports, for the schema lab_report.schema.json."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from decimal import Decimal

from maker import words
from maker.cells import Layouts, Row, blank_page, rows_above, rows_beside
from maker.draft import Draft, logo
from maker.locales import Locale, shaped
from maker.sheet import Align, Span

LAB_FIELDS = (
    *("laboratory", "patient", "patient_id", "date_of_birth", "sex", "sample_number", "specimen", "collected_on"),
    *("reported_on", "physician", "fasting"),
)


LAB_ITEMS = {"results": ("test", "result", "unit", "reference_range")}


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
    draft = blank_page(rng, locale, ("sans", "serif", "wide"))
    sheet, report = draft.sheet, _Report(draft, count + 4)
    left, right = 50.0, sheet.width - 50
    logo(draft, left, 36, 30, rng.choice(("#1b6a8a", "#2f7d5b", "#7a2f4b")))
    sheet.text(left + 42, 56, Span(report.laboratory, "laboratory"), bold=True, size=15)
    sheet.text(left + 42, 70, ", ".join(words.address(rng, locale)), size=8.5)
    sheet.rule(left, 84, right)
    middle = (left + right) / 2 + 6
    y = rows_beside(draft, report.patient, left, 106, 82)
    y = max(y, rows_beside(draft, report.sample, middle, 106, 106)) + 10
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
    draft = blank_page(rng, locale, ("sans", "narrow", "vera_narrow"))
    sheet, report = draft.sheet, _Report(draft, count + 4)
    left, right = 46.0, sheet.width - 46
    sheet.text(sheet.width / 2, 56, Span(report.laboratory, "laboratory"), align="center", bold=True, size=16)
    sheet.text(sheet.width / 2, 74, rng.choice(("Laboratory Report", "Pathology Report")), align="center", size=11)
    y = rows_above(draft, [*report.patient, *report.sample], left, right, 92, 2, framed=True)
    y = _results(draft, report, left, right, y + 20, ruled=True)
    sheet.text(right, y + 40, "Authorised electronically. No signature needed.", align="right", size=8.5)
    return draft


LAB_REPORTS: Layouts = {"lab_columns": lab_columns, "lab_cells": lab_cells}
