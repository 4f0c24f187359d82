"""A dataset to look at, and the command line to look with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from docflow.cli.app import app
from docflow.documents.model import Box
from docflow.extraction.result import ErrorInfo, Evidence
from docflow.storage.store import Store
from tests.unit.storage.results import Results

HOSTILE = "\x1b[31mEvil\x1b[0m [bold]Corp[/bold]\u202e"
NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three bills (one hostile, one unsure, one invalid), one letter, two failed documents."""
    bills = Store(tmp_path / "out", Results.bill, "embedded", "rules", "one")
    results = [
        Results.valid(
            "scans/a.png",
            data={"company": HOSTILE, "date": dt.date(2024, 3, 12), "total": Decimal("12.50"), "items": []},
            evidence=(
                Evidence("company", HOSTILE, HOSTILE, 1, Box(10, 20, 110, 40), "exact", 0.9),
                Evidence("company", HOSTILE, HOSTILE, 1, Box(10, 41, 110, 58), "exact", 0.9),
                Evidence("date", "2024-03-12", "12. März 2024", 1, Box(10, 60, 90, 75), "normalised", 0.8),
                Evidence("total", "12.50", "12,50", 1, Box(10, 80, 50, 95), "normalised", 0.95),
            ),
            created_at=NOON,
        ),
        Results.valid(
            "scans/b.png",
            data={
                "company": "ACME",
                "date": None,
                "total": Decimal("1234.5"),
                "items": [{"name": "Tea", "count": Decimal(2)}, {"name": "Cake", "count": None}],
            },
            evidence=(
                Evidence("company", "ACME", "ACME", 1, Box(1, 2, 3, 4), "exact", 0.9),
                Evidence("date", None, None, None, None, None, 0.4, "unreadable"),
                Evidence("total", "1234.5", "1.234,5", 1, Box(1, 2, 3, 4), "fuzzy", 0.2),
            ),
            created_at=NOON + dt.timedelta(minutes=1),
        ),
        Results.valid(
            "scans/c.png",
            status="invalid",
            record=None,
            data={"company": "Shop", "date": None, "total": None, "items": []},
            evidence=(),
            error=ErrorInfo("validate", "ValidationError", "total: is required", "", False),
            created_at=NOON + dt.timedelta(minutes=2),
        ),
        Results.failed("scans/d\x1b[2J.png"),
        Results.failed("scans/e.pdf"),
    ]
    bills.write([bills.row(result)[1] for result in results], ["bills"])
    letters = Store(tmp_path / "out", Results.letter, "embedded", "rules", "two")
    letters.write([letters.row(Results.valid("letter.pdf", of=Results.letter))[1]], ["letters"])
    return tmp_path / "out"


@pytest.fixture
def docflow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in this process, on a terminal 80 characters wide."""
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
