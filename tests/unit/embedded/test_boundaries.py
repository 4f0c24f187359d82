"""What tells the embedded engine that a document begins on a page, or goes on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from docflow.engines.base import BEGINS, GOES_ON, Request, Turn, WantChoice
from docflow.engines.embedded.boundaries import PageNumber, features, signs_of, weights
from docflow.engines.embedded.context import Context
from docflow.engines.embedded.engine import EmbeddedEngine
from tests.unit.pages import page_of

INVOICE = [
    "Northwind Supplies Ltd          INVOICE",
    "14 Mill Lane, Leeds LS1 4AB",
    "",
    "Invoice number: INV-20931      Date: 12/03/2024",
    "Customer: Brown Brothers",
    "",
    "Description      Quantity      Price      Amount",
    "Blue pens            2          1.50        3.00",
    "Paper A4            10          4.00       40.00",
]
TABLE = [
    "Description      Quantity      Price      Amount",
    "Ink                  1         12.00       12.00",
    "Total                                      55.00",
]
RECEIPT = ["Corner Cafe", "RECEIPT", "Date: 03/05/2024  10:21", "Latte   3.20", "Total   3.20", "Cash   5.00"]


def probability(before: Sequence[str], page: Sequence[str]) -> float:
    pages = (page_of(before, 1), page_of(page, 2))
    request = Request((Turn("user", (*pages, "New?")),), WantChoice((BEGINS, GOES_ON)))
    answer = EmbeddedEngine().answer(request)
    assert (answer.text == BEGINS) == (answer.choice_probs[BEGINS] > 0.5)
    assert sum(answer.choice_probs.values()) == pytest.approx(1)
    return answer.choice_probs[BEGINS]


def test_a_table_that_goes_on_is_no_new_document_and_another_letterhead_is_one() -> None:
    assert probability(INVOICE, TABLE) < 0.2
    assert probability([*INVOICE, "Total   43.00"], RECEIPT) > 0.8


def test_the_next_invoice_of_the_same_company_is_a_document_of_its_own() -> None:
    other = [line.replace("20931", "20932") for line in INVOICE]
    assert probability([*INVOICE, "Total   43.00"], other) > 0.8


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Page 2 of 3", PageNumber(2, 3)),
        ("Seite 2/3", PageNumber(2, 3)),
        ("Página 1 de 2", PageNumber(1, 2)),
        ("Pag. 4", PageNumber(4, None)),
        ("2 / 3 쪽", PageNumber(2, 3)),
        ("2 ページ", PageNumber(2, None)),
        ("- 2/7 -", PageNumber(2, 7)),
        ("p. 3", None),
        ("p. 3/4", PageNumber(3, 4)),
        ("Str. 12", None),
        ("3/2", None),
        ("Page 507", None),
    ],
)
def test_page_numbers_are_read_in_several_languages(text: str, number: PageNumber | None) -> None:
    assert signs_of(Context((page_of(["Some words of a page", "and more of them", text]),))).number == number


def test_pages_that_count_on_belong_together_and_a_count_that_begins_again_does_not() -> None:
    first, second = (["Terms of service", f"Page {number} of 2"] for number in (1, 2))
    assert probability(first, second) < 0.1
    assert probability(second, first) > 0.8


def test_a_sum_that_is_carried_over_goes_on() -> None:
    assert probability([*INVOICE, "Carried forward   43.00"], ["Brought forward   43.00", *TABLE]) < 0.05


def test_every_feature_has_a_weight_and_lies_between_0_and_1() -> None:
    before, page = (signs_of(Context((page_of(lines),))) for lines in (INVOICE, RECEIPT))
    found = features(before, page)
    assert set(found) | {"bias"} == set(weights())
    assert all(0 <= value <= 1 for value in found.values())


def test_an_empty_page_has_signs_too() -> None:
    empty = signs_of(Context((page_of([]),)))
    assert empty.number is None
    assert all(0 <= value <= 1 for value in features(empty, empty).values())
