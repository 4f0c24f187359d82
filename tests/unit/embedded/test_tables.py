"""Lists: rows of printed tables and item lines of receipts, mapped to the fields of a schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from docflow.programs.invoice import Invoice
from docflow.programs.receipt import Receipt

from docflow.engines.embedded.context import Context
from docflow.engines.embedded.tables import read_list
from docflow.program import record_schema
from tests.unit.pages import page_of

RECEIPT_ITEMS: dict[str, Any] = record_schema(Receipt)["properties"]["items"]
INVOICE_ITEMS: dict[str, Any] = record_schema(Invoice)["properties"]["items"]


def text(kind: str = "text", **more: Any) -> dict[str, Any]:
    return {"type": ["string", "null"], "x-kind": kind, **more}


def a_list(**leaves: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "object", "properties": leaves}}


def rows(schema: Mapping[str, Any], *pages: list[str], path: str = "items") -> list[list[str | None]]:
    context = Context(tuple(page_of(lines, number) for number, lines in enumerate(pages, start=1)))
    return [[reading.printed for reading in row.values()] for row in read_list(schema, path, context)]


INVOICE = [
    "Invoice no. 4711",
    "",
    "Pos      Description                Qty      Unit price      Amount",
    "1        Copper pipe                 2            10.50       21.00",
    "2        Pump with a long name       1           120.00      120.00",
    "         and a second line",
    "3        Labour                      3            40.00      120.00",
    "Net total                                                    261.00",
]


def test_a_ruled_or_unruled_table_gives_a_row_for_each_line_of_figures() -> None:
    assert rows(INVOICE_ITEMS, INVOICE) == [
        ["Copper pipe", "2", "10.50", "21.00"],
        ["Pump with a long name and a second line", "1", "120.00", "120.00"],
        ["Labour", "3", "40.00", "120.00"],
    ]


def test_columns_are_known_in_other_languages_and_orders() -> None:
    page = [
        "Menge      Bezeichnung            Einzelpreis      Gesamtpreis",
        "    4      Schraube M4                   0,25             1,00",
        "   10      Mutter M4                     0,10             1,00",
        "Zwischensumme                                             2,00",
    ]
    assert rows(INVOICE_ITEMS, page) == [["Schraube M4", "4", "0,25", "1,00"], ["Mutter M4", "10", "0,10", "1,00"]]


def test_a_column_with_an_unknown_head_is_found_by_its_product() -> None:
    page = [
        "Description            Wumpf      Price      Amount",
        "Apples                     3       2.00        6.00",
        "Pears                      4       1.50        6.00",
        "Total                                         12.00",
    ]
    assert rows(INVOICE_ITEMS, page) == [["Apples", "3", "2.00", "6.00"], ["Pears", "4", "1.50", "6.00"]]


def test_a_table_goes_on_after_a_page_break_with_its_head_repeated() -> None:
    first = INVOICE[:5]
    second = ["Page 2", INVOICE[2], INVOICE[6], INVOICE[7]]
    assert [row[0] for row in rows(INVOICE_ITEMS, first, second)] == ["Copper pipe", "Pump with a long name", "Labour"]


def test_a_table_goes_on_after_a_page_break_without_a_head() -> None:
    first = INVOICE[:5]
    second = ["Carried forward                                              141.00", INVOICE[6], INVOICE[7]]
    assert [row[3] for row in rows(INVOICE_ITEMS, first, second)] == ["21.00", "120.00", "120.00"]


def test_the_tax_table_under_the_sums_gives_no_items() -> None:
    page = [
        "Coffee                      2.50",
        "Cake                        4.00",
        "Total                       6.50",
        "Rate      Net      Tax      Total",
        "10%      5.91     0.59       6.50",
    ]
    assert rows(RECEIPT_ITEMS, page) == [["Coffee", None, None, "2.50"], ["Cake", None, None, "4.00"]]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ["2 x Tea            5.00", "1 x Scone          3.20"],
            [["Tea", "2", None, "5.00"], ["Scone", "1", None, "3.20"]],
        ),
        (
            ["Tea                    ", "2 @ 2.50           5.00 A", "Scone", "1 @ 3.20           3.20 A"],
            [["Tea", "2", "2.50", "5.00"], ["Scone", "1", "3.20", "3.20"]],
        ),
        (
            ["Tea                5.00", "2 x 2.50", "Scone              3.20"],
            [["Tea", "2", "2.50", "5.00"], ["Scone", None, None, "3.20"]],
        ),
        (
            [
                "GREEN TEA",
                "955000123456      2 X      2.50      5.00",
                "SCONE",
                "955000123457      1 X      3.20      3.20",
            ],
            [["GREEN TEA", "2", "2.50", "5.00"], ["SCONE", "1", "3.20", "3.20"]],
        ),
    ],
    ids=["count first", "figures below", "price below the amount", "code, count and price below"],
)
def test_item_lines_of_receipts_in_several_layouts(lines: list[str], expected: list[list[str | None]]) -> None:
    page = [
        "CORNER CAFE",
        "Date: 01/02/2024",
        "-----------------------",
        *lines,
        "TOTAL              8.20",
        "CASH              10.00",
    ]
    assert rows(RECEIPT_ITEMS, page) == expected


def test_a_discount_is_no_item_of_its_own() -> None:
    page = ["Lamp               20.00", "Member discount    -2.00", "TOTAL              18.00"]
    assert rows(RECEIPT_ITEMS, page) == [["Lamp", None, None, "20.00"]]


def test_a_receipt_without_item_lines_has_no_items() -> None:
    page = ["CITY PARKING", "Ticket 4711", "Date 01/02/2024", "Total Amount", "EUR 5.00", "VAT 20%: 0.83", "Thank you"]
    assert rows(RECEIPT_ITEMS, page) == []


def test_amounts_without_decimals_are_amounts_where_the_page_has_no_others() -> None:
    page = ["Ramen              980", "Gyoza              450", "合計              1,430"]
    assert rows(RECEIPT_ITEMS, page) == [["Ramen", None, None, "980"], ["Gyoza", None, None, "450"]]


def test_columns_are_found_by_the_names_that_a_schema_gives_its_fields() -> None:
    schema = a_list(vessel=text(title="Ship"), berth=text(), tons=text("quantity"))
    page = [
        "Ship               Berth      Tons",
        "Aurora             B4          1200",
        "Baltic Star        C1           860",
    ]
    assert rows(schema, page) == [["Aurora", "B4", "1200"], ["Baltic Star", "C1", "860"]]


def test_lab_results_keep_their_four_columns_of_text() -> None:
    schema = a_list(test=text(), result=text("quantity"), unit=text(), reference_range=text())
    page = [
        "Test results",
        "Test                Value      Unit        Reference range",
        "Ferritin              111      ug/L        20 - 250",
        "Haemoglobin          14.1      g/dL        12.0 - 16.0",
    ]
    assert rows(schema, page) == [
        ["Ferritin", "111", "ug/L", "20 - 250"],
        ["Haemoglobin", "14.1", "g/dL", "12.0 - 16.0"],
    ]


def test_two_tables_side_by_side_go_to_the_lists_that_name_them() -> None:
    page = [
        "Earnings       Hours        Amount       Deductions            Amount",
        "Salary           168      3,489.36       Health insurance      535.48",
        "Bonus                       448.00       Pension               547.29",
        "                                         Union fee             259.87",
    ]
    schema = a_list(description=text(), amount=text("money"))
    assert rows(schema, page, path="earnings") == [["Salary", "3,489.36"], ["Bonus", "448.00"]]
    assert rows(schema, page, path="deductions") == [
        ["Health insurance", "535.48"],
        ["Pension", "547.29"],
        ["Union fee", "259.87"],
    ]


def test_a_ledger_keeps_debit_and_credit_apart() -> None:
    schema = a_list(
        date=text("date"), description=text(), debit=text("money"), credit=text("money"), balance=text("money")
    )
    page = [
        "Date            Description                 Debit        Credit        Balance",
        "02/03/2024      Card payment                25.00                       975.00",
        "05/03/2024      Salary                                 2,000.00       2,975.00",
    ]
    assert rows(schema, page, path="transactions") == [
        ["02/03/2024", "Card payment", "25.00", None, "975.00"],
        ["05/03/2024", "Salary", None, "2,000.00", "2,975.00"],
    ]


def test_figures_of_a_line_mend_columns_that_do_not_multiply() -> None:
    page = [
        "Description      U.P Iss Exc      Sale      Amt",
        "White loaf       2.13   10   8       2      4.26",
        "Jumbo loaf       2.97   10   7       3      8.91",
        "Total                                      13.17",
    ]
    assert rows(INVOICE_ITEMS, page) == [["White loaf", "2", "2.13", "4.26"], ["Jumbo loaf", "3", "2.97", "8.91"]]


def test_every_value_comes_with_the_place_of_its_words() -> None:
    context = Context((page_of(INVOICE),))
    reading = read_list(INVOICE_ITEMS, "items", context)[1]["description"]
    assert [piece.page for piece in reading.pieces] == [1, 1]
    assert reading.pieces[0].box.y0 < reading.pieces[1].box.y0
    assert 0 < reading.confidence <= 1


def test_a_list_of_plain_values_stands_under_its_heading_or_behind_its_label() -> None:
    schema = {"type": "array", "items": text()}
    assert rows(schema, ["Skills", "- carpentry", "- first aid", "", "", "Signed"], path="skills") == [
        ["carpentry"],
        ["first aid"],
    ]
    assert rows(schema, ["Skills: carpentry, first aid", "Name: Ann"], path="skills") == [["carpentry"], ["first aid"]]


def test_an_empty_page_gives_no_rows() -> None:
    assert rows(INVOICE_ITEMS, []) == []
