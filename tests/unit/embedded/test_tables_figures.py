"""Numbers in tables: where they stand in a text, and what they may be worth."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.engines.embedded.figures import Figure, figures, only_figure, product_fits


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1.234,56 EUR", ["1234.56"]),
        ("RM62.50 z", ["62.50"]),
        ("2×5.0000 10.00 SR", ["2", "5.0000", "10.00"]),
        ("Milk 1,5 L", ["1.5"]),
        ("-5.59", ["-5.59"]),
        ("1.234,56-", ["-1234.56"]),
        ("(12.50)", ["-12.50"]),
        ("6'255.00", ["6255.00"]),
        ("A-100", []),
        ("05/03/2018 12:14", []),
        ("WA45-/2A-12", []),
    ],
)
def test_numbers_of_a_text(text: str, values: list[str]) -> None:
    assert [figure.value for figure in figures(text)] == [Decimal(value) for value in values]


def test_a_dot_before_three_digits_may_group_or_part() -> None:
    assert figures("1.234")[0].values == (Decimal(1234), Decimal("1.234"))


@given(st.text(max_size=40))
def test_any_text_gives_figures_within_it(text: str) -> None:
    for figure in figures(text):
        assert 0 <= figure.start < figure.end <= len(text)
        assert figure.values
        assert only_figure(figure.text) is None or any(ch.isdigit() for ch in figure.text)


@given(st.integers(1, 99), st.decimals("0.01", "999.99", places=2))
def test_quantity_times_price_gives_the_amount_in_either_notation(count: int, price: Decimal) -> None:
    amount = count * price

    def figure(value: Decimal | int, comma: bool) -> Figure:
        text = f"{value:,}" if not comma else f"{value:,}".translate(str.maketrans(",.", ".,"))
        return figures(text)[0]

    for comma in (False, True):
        assert product_fits(figure(count, comma), figure(price, comma), figure(amount, comma))
        assert not product_fits(figure(count, comma), figure(price, comma), figure(amount * 2 + 1, comma))
