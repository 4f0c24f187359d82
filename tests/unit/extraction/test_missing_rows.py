"""Rows that stand on the pages and not in the record are said, whoever answered."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from docflow.documents.model import Box, Document, Page, Word
from docflow.engines.scripted import ScriptedEngine
from docflow.extraction import extract_document
from docflow.extraction.result import MissingRow
from docflow.fields import Money, Quantity, Text
from docflow.program import program_for

GOODS = [("Blue paint", "2", "4.50", "9.00"), ("Brush", "1", "3.20", "3.20"), ("Ladder", "1", "45.00", "45.00")]
GOODS += [("Sandpaper", "5", "0.80", "4.00"), ("Masking tape", "2", "1.75", "3.50")]


class Item(BaseModel):
    description: Text | None = None
    quantity: Quantity | None = None
    unit_price: Money | None = None
    amount: Money | None = None


class Bill(BaseModel):
    number: Text | None = None
    items: list[Item] = []
    total: Money | None = None


def _page(number: int, lines: list[tuple[tuple[float, str], ...]]) -> Page:
    """A page whose lines are texts with the place of their left edge; six points a letter."""
    words = []
    for row, line in enumerate(lines):
        for left, text in line:
            for word in text.split():
                box = Box(left, 100 + 20 * row, left + 6 * len(word), 112 + 20 * row)
                words.append(Word(word, box, 1.0, len(words)))
                left = box.x1 + 5
    return Page("d", number, 600, 900, "pt", renderer=None, text_layer=True, layer_words=tuple(words))  # type: ignore[arg-type]


def _row(goods: tuple[str, ...]) -> tuple[tuple[float, str], ...]:
    description, quantity, price, amount = goods
    return (50, description), (250, quantity), (360 - 6 * len(price), price), (500 - 6 * len(amount), amount)


HEAD: list[tuple[tuple[float, str], ...]] = [
    ((50, "Bill 77-A"),),
    ((50, "Description"), (250, "Qty"), (325, "Price"), (465, "Amount")),
]
FOOT: list[tuple[tuple[float, str], ...]] = [((50, "Total"), (500 - 6 * 5, "64.70")), ((50, "Thank you"),)]


def _missing(pages: list[Page], goods: list[tuple[str, ...]], total: str | None = "64.70") -> tuple[MissingRow, ...]:
    names = ("description", "quantity", "unit_price", "amount")
    items = [dict(zip(names, row, strict=True)) for row in goods]
    answer: dict[str, Any] = {"number": "77-A", "items": items, "total": total}
    document = Document("d", "d.pdf", "application/pdf", tuple(pages))
    result = extract_document(document, program_for(Bill, "bill"), ScriptedEngine(default=answer))
    assert result.status == "valid"
    assert result.missing_rows is not None
    return result.missing_rows


def test_a_list_with_all_of_its_rows_raises_no_suspicion() -> None:
    assert _missing([_page(1, [*HEAD, *map(_row, GOODS), *FOOT])], GOODS) == ()


@pytest.mark.parametrize("gone", range(len(GOODS)))
def test_a_row_that_the_engine_left_out_is_said_with_its_place(gone: int) -> None:
    page = _page(1, [*HEAD, *map(_row, GOODS), *FOOT])
    [row] = _missing([page], [row for at, row in enumerate(GOODS) if at != gone])
    assert (row.path, row.page) == ("items", 1)
    assert GOODS[gone][0] in row.text
    assert row.box.y0 == 100 + 20 * (len(HEAD) + gone)


def test_several_rows_are_said_also_where_the_page_prints_no_total() -> None:
    page = _page(1, [*HEAD, *map(_row, GOODS), FOOT[1]])
    missing = _missing([page], [GOODS[0], GOODS[4]], total=None)
    assert [goods[0] in row.text for goods, row in zip(GOODS[1:4], missing, strict=True)] == [True, True, True]


def test_rows_that_go_on_over_the_page_are_looked_for_there() -> None:
    pages = [_page(1, [*HEAD, *map(_row, GOODS[:3])]), _page(2, [HEAD[1], *map(_row, GOODS[3:]), *FOOT])]
    assert _missing(pages, GOODS) == ()
    assert [row.page for row in _missing(pages, GOODS[:3])] == [2, 2]


def test_a_sum_carried_over_is_no_row() -> None:
    carried = [((50, "Carried forward"), (470, "57.20"))]
    pages = [
        _page(1, [*HEAD, *map(_row, GOODS[:3]), *carried]),
        _page(2, [HEAD[1], *carried, *map(_row, GOODS[3:]), *FOOT]),
    ]
    assert _missing(pages, GOODS) == ()
    [row] = _missing(pages, GOODS[:3] + GOODS[4:])
    assert "Sandpaper" in row.text


def test_a_discount_and_the_lines_of_one_row_are_no_rows() -> None:
    lines = [*HEAD, *map(_row, GOODS[:3]), ((50, "Discount"), (470, "-2.00")), *map(_row, GOODS[3:])]
    lines.insert(4, ((70, "washable, for wood"),))
    assert _missing([_page(1, [*lines, ((50, "Total"), (470, "62.70"))])], GOODS, total="62.70") == ()


def test_what_stands_far_under_the_list_is_no_row() -> None:
    blank: list[tuple[tuple[float, str], ...]] = [()] * 8
    lines = [*HEAD, *map(_row, GOODS), *blank, ((50, "Deposit for the key"), (470, "10.00"))]
    assert _missing([_page(1, lines)], GOODS, total=None) == ()


def test_pages_that_were_not_looked_at_say_nothing() -> None:
    from docflow.settings import ExtractionSettings

    page = _page(1, [*HEAD, *map(_row, GOODS), *FOOT])
    document = Document("d", "d.pdf", "application/pdf", (page,))
    engine = ScriptedEngine(default={"items": [{"amount": "9.00"}]})
    result = extract_document(document, program_for(Bill, "bill"), engine, ExtractionSettings(grounding="off"))
    assert result.missing_rows is None
