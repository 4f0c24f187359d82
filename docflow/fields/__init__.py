"""The field vocabulary, and printed text -> typed value, by locale."""

from docflow.fields.amounts import FoundAmount, find_amounts
from docflow.fields.currencies import FoundCurrency, currencies, find_currency
from docflow.fields.dates import FoundDate, find_dates
from docflow.fields.detection import Ranked, detect, rank
from docflow.fields.identifiers import find_ibans, valid_iban, valid_vat
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
from docflow.fields.locale import Locale, codes, locale_named, neutral
from docflow.fields.normalising import Normalised, Value, normalise
from docflow.fields.text import collapse, fold
from docflow.fields.words import Span, find_emails, find_links, find_phones, find_shapes, find_words

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
    "Normalised",
    "Party",
    "Quantity",
    "Ranked",
    "Span",
    "Text",
    "Value",
    "codes",
    "collapse",
    "currencies",
    "detect",
    "find_amounts",
    "find_currency",
    "find_dates",
    "find_emails",
    "find_ibans",
    "find_links",
    "find_phones",
    "find_shapes",
    "find_words",
    "fold",
    "locale_named",
    "neutral",
    "normalise",
    "rank",
    "valid_iban",
    "valid_vat",
]
