"""Days of the month in running text."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field

from docflow.engines.embedded.engine import EmbeddedEngine
from docflow.extraction import extract_document
from docflow.fields import Quantity
from docflow.program import program_for
from tests.unit.pages import document_of, page_of


class Lease(BaseModel):
    payment_day: Quantity | None = Field(None, description="day of the month on which the rent is due")


class Stay(BaseModel):
    nights: Quantity | None = None


@pytest.mark.parametrize(
    ("line", "day"),
    [
        ("The rent is payable on the 3rd day of each month in advance.", 3),
        ("The rent is due on the 1st of every month.", 1),
        ("Rent due on day      15", 15),
        ("The rent of EUR 900.00 is due on day 5 of each month.", 5),
        ("Die Miete ist am 5. eines jeden Monats zu zahlen.", 5),
        ("Le loyer est payable le 10 de chaque mois.", 10),
        ("La renta se paga el d\u00eda 7 de cada mes.", 7),
        ("Il canone si paga il giorno 4 di ogni mese.", 4),
        ("De huur wordt betaald op de 2e van elke maand.", 2),
    ],
)
def test_a_day_of_the_month_is_read_from_a_sentence(line: str, day: int) -> None:
    result = extract_document(document_of(page_of(["Lease", "", line])), program_for(Lease, "lease"), EmbeddedEngine())
    assert result.data == {"payment_day": day}
    assert result.evidence[0].found == "exact"


@pytest.mark.parametrize(
    "line", ["The tenant gives notice within 14 days.", "Signed on 3 May 2024", "The 45th of each month"]
)
def test_other_numbers_are_no_day_of_the_month(line: str) -> None:
    result = extract_document(document_of(page_of(["Lease", "", line])), program_for(Lease, "lease"), EmbeddedEngine())
    assert result.data == {"payment_day": None}


def test_a_field_that_asks_for_no_day_gets_none() -> None:
    page = page_of(["Hotel", "", "Rent is due on the 3rd day of each month"])
    assert extract_document(document_of(page), program_for(Stay, "stay"), EmbeddedEngine()).data == {"nights": None}
