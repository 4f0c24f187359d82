"""The floors of the quality bench."""

from __future__ import annotations

from typing import Any


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
