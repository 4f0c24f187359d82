"""The geometry of turned pages, and how recognised characters become words."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.reading import levelling
from docflow.reading.recognition import _Line, fold_widths

sizes = st.floats(1, 4_000)
angles = st.floats(-180, 180)


@given(degrees=angles, width=sizes, height=sizes, x=st.floats(0, 1), y=st.floats(0, 1))
def test_turning_there_and_back_gives_the_same_point(
    degrees: float, width: float, height: float, x: float, y: float
) -> None:
    turn, new_width, new_height = levelling.rotation(degrees, width, height)
    point = np.array([x * width, y * height])
    there = levelling.mapped(turn, point)
    assert levelling.mapped(levelling.inverse(turn), there) == pytest.approx(point, abs=1e-6)
    assert -1e-6 <= there[0] <= new_width + 1e-6, "nothing is cut off"
    assert -1e-6 <= there[1] <= new_height + 1e-6


def test_a_quarter_turn_is_undone() -> None:
    image = np.arange(12).reshape(3, 4)
    turned = np.rot90(image)
    back = levelling.quarter_turn_back(image.shape[1])
    for (row, column), value in np.ndenumerate(turned):
        x, y = levelling.mapped(back, np.array([column + 0.5, row + 0.5]))
        assert image[int(y), int(x)] == value


def lines_at(degrees: float, *, along: float = 300, across: float = 20) -> levelling.Points:
    """Five lines of text under each other on a page turned clockwise."""
    quads = np.array([[[0, y], [along, y], [along, y + across], [0, y + across]] for y in range(0, 200, 40)], float)
    return levelling.mapped(levelling.rotation(degrees, along, 200)[0], quads)


@given(degrees=st.floats(-40, 40))
def test_the_skew_of_lines_is_found(degrees: float) -> None:
    assert levelling.dominant_skew(lines_at(degrees)) == pytest.approx(degrees, abs=1e-6)


def test_short_words_tell_no_skew() -> None:
    assert levelling.dominant_skew(lines_at(7, along=40)) == 0.0


@given(degrees=st.floats(-30, 30))
def test_lines_that_run_down_the_page_lie_sideways(degrees: float) -> None:
    assert not levelling.is_sideways(lines_at(degrees))
    assert levelling.is_sideways(np.roll(lines_at(degrees + 90), 1, axis=1))


def test_rows_are_read_from_the_top_and_from_the_left() -> None:
    boxes = [(200.0, 12.0, 260.0, 32.0), (0.0, 50.0, 90.0, 70.0), (0.0, 10.0, 90.0, 30.0), (100.0, 48.0, 190.0, 68.0)]
    assert levelling.reading_order(boxes) == [2, 0, 1, 3]


@given(st.lists(st.tuples(st.floats(0, 900), st.floats(0, 900), st.floats(1, 90), st.floats(1, 30)), max_size=30))
def test_the_reading_order_holds_every_box_once(places: list[tuple[float, float, float, float]]) -> None:
    order = levelling.reading_order([(x, y, x + width, y + height) for x, y, width, height in places])
    assert sorted(order) == list(range(len(places)))


QUAD = np.array([[0, 0], [400, 0], [400, 20], [0, 20]], float)


def line(text: str, columns: list[int], length: int = 40) -> _Line:
    """A line of 400 by 20 pixels, recognised with each character in one of ``length`` columns."""
    plain = [char for char in text if not char.isspace()]
    info = SimpleNamespace(word_cols=[columns], line_txt_len=length, confs=[0.5 if c == "x" else 1.0 for c in text])
    assert len(plain) == len(columns)
    return _Line(text, 0.9, info, QUAD)


def test_a_word_begins_and_ends_with_its_characters() -> None:
    found = line("ab xc", [1, 3, 9, 11])
    (ab, first, ab_quad), (xc, second, xc_quad) = found.words
    assert (ab, xc) == ("ab", "xc")
    assert first == 1.0
    assert second == 0.75, "the mean of its own characters"
    assert levelling.upright(ab_quad) == pytest.approx((5, 0, 45, 20))
    assert levelling.upright(xc_quad) == pytest.approx((85, 0, 125, 20))


def test_a_wide_gap_parts_a_date_from_the_time_behind_it() -> None:
    columns = [*range(10), *range(14, 19)]
    assert [text for text, _, _ in line("2024-05-0614:55", columns).words] == ["2024-05-06", "14:55"]


def test_letters_set_wide_stay_one_word() -> None:
    assert [text for text, _, _ in line("Complex", [0, 1, 3, 4, 5, 6, 7]).words] == ["Complex"]


@given(st.text("abZ059.:-/€ （１，テ株", max_size=12), st.data())
def test_every_character_of_a_line_is_in_one_word(text: str, data: st.DataObject) -> None:
    plain = "".join(text.split())
    columns = sorted(data.draw(st.lists(st.integers(0, 39), min_size=len(plain), max_size=len(plain))))
    words = line(text, columns).words
    assert "".join(word for word, _, _ in words) == fold_widths(plain)
    assert all(0 <= levelling.upright(quad)[0] <= levelling.upright(quad)[2] <= 400 for _, _, quad in words)


@pytest.mark.parametrize(
    ("read", "meant"),
    [
        ("（Ｎo．１２）", "(No.12)"),
        ("￥1，200", "¥1,200"),
        ("ﾃｽﾄ", "テスト"),
        ("2½", "2½"),
        ("10²", "10²"),
        ("€", "€"),
        ("e\u0301", "é"),
        ("Ⅳ", "Ⅳ"),
        ("株式会社", "株式会社"),
    ],
)
def test_full_width_forms_become_usual_ones_and_meaning_stays(read: str, meant: str) -> None:
    assert fold_widths(read) == meant
