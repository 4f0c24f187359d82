"""The field vocabulary, and printed text as typed values."""

from docflow.fields.kinds import (
    KIND_KEY,
    Address,
    Currency,
    Date,
    Identifier,
    Kind,
    Money,
    Party,
    Quantity,
    Text,
)

__all__ = ["KIND_KEY", "Address", "Currency", "Date", "Identifier", "Kind", "Money", "Party", "Quantity", "Text"]
