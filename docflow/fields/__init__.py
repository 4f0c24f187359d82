"""The field vocabulary, and printed text -> typed value, by locale."""

from docflow.fields.amounts import FoundAmount, find_amounts
from docflow.fields.currencies import FoundCurrency, currencies, find_currency
from docflow.fields.dates import FoundDate, find_dates
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
from docflow.fields.locale import Locale, codes, locale, neutral
from docflow.fields.text import collapse, fold

__all__ = [
    "KIND_KEY",
    "Address",
    "Currency",
    "Date",
    "FoundAmount",
    "FoundCurrency",
    "FoundDate",
    "Identifier",
    "Kind",
    "Locale",
    "Money",
    "Party",
    "Quantity",
    "Text",
    "codes",
    "collapse",
    "currencies",
    "find_amounts",
    "find_currency",
    "find_dates",
    "fold",
    "locale",
    "neutral",
]
