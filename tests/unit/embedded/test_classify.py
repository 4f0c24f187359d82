"""Which kind of document a page is."""

from __future__ import annotations

import pytest

from docflow.engines.embedded.classify import choose
from docflow.engines.embedded.context import Context
from tests.unit.pages import page_of

QUESTION = "What kind of document is this?"
PAGES = {
    "receipt": [
        "CORNER SHOP", "TAX INVOICE", "Cashier: Ann     12:31", "Milk          2.50", "Bread         3.00",
        "TOTAL         5.50", "CASH         10.00", "CHANGE        4.50", "Thank you, please come again",
    ],
    "invoice": [
        "Hall & Sons Ltd                                             INVOICE",
        "Invoice number: 4711                      Invoice date: 01.02.2024",
        "Bill to: Mill Ltd, 4 High Street, Leeds   Due date: 01.03.2024",
        "Description                    Qty      Unit price          Amount",
        "Copper pipe                      2           10.50           21.00",
        "Total                                                        21.00",
        "Payment terms: 30 days   IBAN: DE89 3704 0044 0532 0130 00",
    ],
    "form": [
        "Library Membership Application", "", "Full name:          Ann Lee", "Date of birth:      01.02.1990",
        "Occupation:", "Email:              ann@example.org", "Signature:          ___________",
        "Please return this form to the front desk.",
    ],
    "payslip": [
        "Pay Statement", "Employee: Ann Lee      Pay period: May 2024", "Earnings      Hours      Amount",
        "Basic pay       160    2,400.00", "Gross pay              2,400.00",
        "Income tax               400.00", "Net pay                2,000.00",
    ],
    "letter": [
        "Dear Mr Wu,", "thank you very much for your letter of the third of May about the roof.",
        "We shall come on Monday to look at it and tell you what it needs.", "Yours sincerely", "Ann Lee",
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_taken_for_what_it_is(kind: str) -> None:
    chances = choose(tuple(PAGES), QUESTION, Context((page_of(PAGES[kind]),)))
    assert max(chances, key=lambda choice: chances[choice]) == kind
    assert sum(chances.values()) == pytest.approx(1.0)


def test_choices_may_be_phrases_that_contain_a_known_kind() -> None:
    chances = choose(("a shop receipt", "application form"), QUESTION, Context((page_of(PAGES["form"]),)))
    assert chances["application form"] > 0.8


def test_unknown_choices_are_judged_by_whether_the_page_names_them() -> None:
    page = page_of(["SHIP'S MANIFEST", "Cargo of the vessel Aurora", "120 crates"])
    chances = choose(("manifest", "herbarium"), QUESTION, Context((page,)))
    assert chances["manifest"] > chances["herbarium"]


def test_a_question_about_a_label_is_answered_by_its_value() -> None:
    page = page_of(["Name: Ann", "Payment method: cash", "Cards are welcome"], text_layer=False)
    chances = choose(("card", "cash"), "Which payment method was used?", Context((page,)))
    assert chances["cash"] > 0.8


def test_an_empty_page_leaves_all_choices_alike() -> None:
    chances = choose(("apple", "pear"), QUESTION, Context((page_of([]),)))
    assert chances == {"apple": pytest.approx(0.5), "pear": pytest.approx(0.5)}


def test_no_choices_give_no_chances() -> None:
    assert choose((), QUESTION, Context((page_of([]),))) == {}
