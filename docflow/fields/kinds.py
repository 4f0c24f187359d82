"""The field vocabulary: what kind of thing a leaf of a record is.

A program's record model annotates its leaves with these types. Pydantic validates the typed value; the
JSON schema carries the kind under ``x-kind``, so that prompts and engines can use it.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints, WithJsonSchema

KIND_KEY = "x-kind"
"""The JSON schema keyword that carries a leaf's kind."""


class Kind(StrEnum):
    """What kind of thing a leaf is."""

    PARTY = "party"  # a company, shop, authority or person
    ADDRESS = "address"  # a postal address, one line of text, pieces joined by ", "
    IDENTIFIER = "identifier"  # a number or code that names something: invoice number, IBAN, VAT number
    TEXT = "text"  # any other text
    DATE = "date"  # a calendar day
    MONEY = "money"  # an amount; the currency is a field of its own
    CURRENCY = "currency"  # an ISO 4217 code
    QUANTITY = "quantity"  # a number that is no amount: count, weight, percentage
    BOOLEAN = "boolean"  # yes or no, a check box
    CHOICE = "choice"  # one of the values the schema lists (enum)


def _text(kind: Kind) -> tuple[StringConstraints, WithJsonSchema]:
    return StringConstraints(strip_whitespace=True, min_length=1), WithJsonSchema({"type": "string", KIND_KEY: kind})


Party = Annotated[str, *_text(Kind.PARTY)]
Address = Annotated[str, *_text(Kind.ADDRESS)]
Identifier = Annotated[str, *_text(Kind.IDENTIFIER)]
Text = Annotated[str, *_text(Kind.TEXT)]
Date = Annotated[dt.date, WithJsonSchema({"type": "string", "format": "date", KIND_KEY: Kind.DATE})]
Money = Annotated[Decimal, WithJsonSchema({"type": "string", KIND_KEY: Kind.MONEY})]
Quantity = Annotated[Decimal, WithJsonSchema({"type": "string", KIND_KEY: Kind.QUANTITY})]
Currency = Annotated[
    str, StringConstraints(pattern=r"^[A-Z]{3}$"), WithJsonSchema({"type": "string", KIND_KEY: Kind.CURRENCY})
]
