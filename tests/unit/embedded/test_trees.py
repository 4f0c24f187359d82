"""Charges that are printed as a tree, without a head over their columns."""

from __future__ import annotations

import json

from docflow.programs.invoice import Invoice

from docflow.engines.base import Request, Turn, WantJson
from docflow.engines.embedded.engine import EmbeddedEngine
from docflow.program import record_schema
from tests.unit.pages import page_of

HEAD = ["Cloudy Hosting Ltd", "Invoice number: 4711", "", "Summary"]
SUMMARY = ["  Total for this invoice        7.20", "", "Detail"]


def items_of(lines: list[str]) -> list[tuple[str, str]]:
    request = Request((Turn("user", (page_of(lines), "Read it.")),), WantJson(record_schema(Invoice)))
    items = json.loads(EmbeddedEngine().answer(request).text)["items"]
    return [(item["description"], item["amount"]) for item in items]


def test_the_items_are_what_charges_and_tax_are_given_for() -> None:
    tree = [
        "  Data transfer               2.40",
        "    Charges                   2.00",
        "    VAT                       0.40",
    ]
    tree += [
        "  Computing                   4.80",
        "    Charges                   4.00",
        "    VAT                       0.80",
    ]
    assert items_of([*HEAD, *SUMMARY, *tree]) == [("Data transfer", "2.40"), ("Computing", "4.80")]


def test_the_items_are_the_leaves_where_each_has_a_name_of_its_own() -> None:
    tree = [
        "  Mobile                      3.20",
        "    Line one                  2.00",
        "    Line two                  1.20",
    ]
    tree += [
        "  Landline                    4.00",
        "    Basic charge              3.00",
        "    Calls abroad              1.00",
    ]
    names = ["Line one", "Line two", "Basic charge", "Calls abroad"]
    assert [name for name, _ in items_of([*HEAD, *SUMMARY, *tree])] == names


def test_lines_that_are_no_sums_of_those_below_them_are_no_tree() -> None:
    lines = [
        "  Burger menu                 5.00",
        "    with cheese               1.20",
        "  Cola                        1.00",
    ]
    assert [amount for _, amount in items_of([*HEAD, "", *lines, "  Total                       7.20"])] == [
        "5.00",
        "1.20",
        "1.00",
    ]
