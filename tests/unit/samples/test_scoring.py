"""The scores of the quality bench."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from tests.bench.scoring import ListScore, PairScore, Score, grounded, same


@pytest.mark.parametrize(
    ("true", "got"),
    [
        ("12.50", Decimal("12.500000")),
        ("2024-03-12", dt.date(2024, 3, 12)),
        ("Torvane Ltd., Leeds", "TORVANE LTD LEEDS"),
        ("18", 18),
        (True, True),
        (None, None),
    ],
)
def test_values_that_say_the_same(true: Any, got: Any) -> None:
    assert same(true, got)


@pytest.mark.parametrize(
    ("true", "got"),
    [
        ("12.50", Decimal("125.0")),
        ("2024-03-12", dt.date(2024, 12, 3)),
        ("0042", "42"),
        (False, None),
        (True, "Yes"),
        (None, "x"),
        ("x", None),
        ("", ""),
        ("abc", Decimal(1)),
    ],
)
def test_values_that_do_not_say_the_same(true: Any, got: Any) -> None:
    assert not same(true, got)


def test_a_value_for_what_is_not_printed_is_an_invention_and_no_error_of_reading() -> None:
    score = Score()
    score.add("1.00", Decimal(1))
    score.add("2.00", None)
    score.add(None, Decimal(3))
    score.add(None, None)
    assert (score.printed, score.right, score.absent, score.invented) == (2, 1, 2, 1)
    assert score.accuracy == 0.5


def test_a_missed_row_does_not_spoil_the_rows_after_it() -> None:
    true = [{"description": name, "amount": amount} for name, amount in (("a", "1"), ("b", "2"), ("c", "3"))]
    got = [{"description": "a", "amount": Decimal(1)}, {"description": "c", "amount": Decimal(4)}]
    score = ListScore()
    score.add(true, got)
    assert (score.rows, score.rows_right, score.cells, score.cells_right, score.extra) == (3, 1, 6, 3, 0)


def test_rows_too_many_are_counted() -> None:
    score = ListScore()
    score.add([{"amount": "1"}], [{"amount": Decimal(1)}, {"amount": Decimal(1)}])
    assert (score.rows_right, score.extra) == (1, 1)


def test_a_pair_is_right_when_label_and_value_are() -> None:
    score = PairScore()
    true: list[dict[str, Any]] = [{"label": "Name", "value": "Ann"}, {"label": "Town", "value": None}]
    score.add(true, [{"label": "Name:", "value": "Ann"}, {"label": "Town", "value": "Name"}])
    assert score.as_dict() == {"true": 2, "got": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5}


PIECES = {"address": [[1, 10.0, 10.0, 110.0, 20.0], [1, 10.0, 30.0, 110.0, 40.0]]}


def test_evidence_must_cover_half_of_a_value_in_all_its_pieces() -> None:
    assert grounded("address", PIECES, {}, [(1, (10, 10, 110, 20)), (1, (10, 30, 50, 40))])
    assert not grounded("address", PIECES, {}, [(1, (10, 10, 90, 20))])


def test_evidence_on_another_page_covers_nothing() -> None:
    assert not grounded("address", PIECES, {}, [(2, (0, 0, 200, 200))])


def test_any_place_where_a_value_is_printed_will_do() -> None:
    assert grounded("total", {"total": [[1, 0, 0, 10, 10]]}, {"total": [[2, 5, 5, 15, 15]]}, [(2, (5, 5, 15, 15))])


def test_the_floors_name_every_field_of_the_built_in_programs() -> None:
    from docflow.programs.invoice import invoice
    from docflow.programs.receipt import receipt

    from tests.bench.quality import FLOORS

    for program in (receipt, invoice):
        assert set(program.schema["properties"]) <= FLOORS[program.name].keys()


def test_a_figure_that_is_low_or_missing_is_below_its_floor() -> None:
    from tests.bench.quality import FLOORS, _below_floors

    figures: dict[str, Any] = {
        program: {
            "fields": {name: {"accuracy": 1.0} for name in floors if name not in ("items", "pairs")},
            "items": {"cell_accuracy": 1.0},
            "pairs": {"f1": 1.0},
            **dict.fromkeys(("grounded", "accuracy", "all_fields", "fields_and_cells"), 1.0),
        }
        for program, floors in FLOORS.items()
    }
    assert list(_below_floors(figures)) == []
    figures["receipt"]["items"]["cell_accuracy"] = 0.1
    figures["invoice"]["fields"]["date"]["accuracy"] = None
    del figures["auto"]
    assert [name for name, _, _ in _below_floors(figures)] == ["receipt items", "invoice date", "auto accuracy"]
