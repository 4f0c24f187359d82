"""Words -> lines, cells and blocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.documents.model import Box, Page, Word
from docflow.reading.layout import Layout, arrange
from tests.unit.pages import page_of


def layout_of(page: Page) -> Layout:
    return arrange(page, page.words)


def texts(page: Page) -> list[list[str]]:
    return [[cell.text for cell in line.cells] for line in layout_of(page).lines]


def test_a_wide_gap_parts_a_line_into_cells() -> None:
    assert texts(page_of(["Total           12.50", "one two  three"])) == [
        ["Total", "12.50"],
        ["one two  three".replace("  ", " ")],
    ]


def test_a_page_without_words_has_no_lines() -> None:
    layout = layout_of(page_of([]))
    assert (layout.lines, layout.blocks, layout.height, layout.text) == ((), (), 0.0, "")


@pytest.mark.parametrize("slope", [-0.03, -0.01, 0.0, 0.01, 0.03])
def test_rows_of_a_skewed_photo_stay_together(slope: float) -> None:
    words = []
    for row in range(12):
        for column, text in enumerate((f"item{row}", f"{row}.50")):
            x = 20.0 + 500 * column
            y = 30.0 * row + slope * x
            words.append(Word(text, Box(x, y, x + 60, y + 18), 1.0, 2 * row + column))
    layout = arrange(page_of([], text_layer=False), words)
    assert [line.text.split() for line in layout.lines] == [[f"item{row}", f"{row}.50"] for row in range(12)]


def test_lines_go_by_the_levelled_boxes_and_evidence_by_the_boxes_on_the_page() -> None:
    # A page turned by a quarter: what stands side by side on the levelled page stands one above the other on the image.
    words = [
        Word("Total", Box(100, 500, 116, 550), 1.0, 0, Box(10, 10, 60, 26)),
        Word("9.00", Box(100, 300, 116, 340), 1.0, 1, Box(210, 10, 250, 26)),
    ]
    (line,) = arrange(page_of([], text_layer=False), words).lines
    assert [cell.text for cell in line.cells] == ["Total", "9.00"]
    assert line.cells[1].place == Box(100, 300, 116, 340)


def test_a_tall_stamp_does_not_join_two_rows() -> None:
    words = [
        Word("first", Box(10, 10, 60, 26), 1.0, 0),
        Word("second", Box(10, 40, 70, 56), 1.0, 1),
        Word("PAID", Box(300, 5, 400, 65), 1.0, 2),
    ]
    lines = [line.text for line in arrange(page_of([], text_layer=False), words).lines]
    assert not any("first" in line and "second" in line for line in lines)


def test_columns_side_by_side_are_blocks_of_their_own() -> None:
    page = page_of(
        ["Ann Lee               Invoice 12", "1 High Street         3 May 2024", "Leeds                 GBP"]
    )
    blocks = [block.text for block in layout_of(page).blocks]
    assert "Ann Lee\n1 High Street\nLeeds" in blocks


def test_the_cell_under_a_cell_is_the_one_that_shares_its_width() -> None:
    layout = layout_of(page_of(["Customer           Number", "Ann Lee            4711"]))
    number = layout.lines[0].cells[1]
    below = layout.below(number)
    assert below is not None
    assert below.text == "4711"
    assert layout.below(below) is None


boxes = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h),
    st.floats(0, 1000),
    st.floats(0, 1000),
    st.floats(0, 200),
    st.floats(0, 60),
)


@given(
    st.lists(st.builds(Word, st.text("abc1", min_size=1, max_size=8), boxes, st.just(1.0), st.integers(0, 5))),
    st.booleans(),
)
def test_every_word_stands_on_exactly_one_line(words: list[Word], text_layer: bool) -> None:
    layout = arrange(page_of([], text_layer=text_layer), words)
    placed = [word for line in layout.lines for word in line.words]
    assert sorted(map(id, placed)) == sorted(map(id, words))
    assert sum(len(block.cells) for block in layout.blocks) == sum(len(line.cells) for line in layout.lines)
    for line in layout.lines:
        starts = [cell.box.x0 for cell in line.cells]
        assert starts == sorted(starts)
