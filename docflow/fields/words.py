"""What the words and shapes of a line say it could be: a company, a street, a postcode line, a telephone number."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from docflow.fields.locale import Locale, neutral
from docflow.fields.text import fold, plain

Shape = Literal["postcode", "registration", "vat"]


class Span(NamedTuple):
    """A part of a text: ``text[start:end]``."""

    start: int
    end: int


_SHORT_SUFFIX = 3  # letters up to which a suffix is also a common word ("as", "co", "sa")
_ENDS_THERE = re.compile(r"\.?\s*(?:$|[,;:()\[\]|/]|-\s|\d)")
_PHONE = re.compile(r"(?<![\w.,/])(?:\+|00)?\(?\d{1,4}\)?(?:[\s.\-/]{0,2}\(?(?:\d{2,4}|0)\)?){2,5}(?![\w/]|[.,]\d)")
_EMAIL = re.compile(r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.)+[A-Za-z]{2,24}")
_LINK = re.compile(r"(?:https?://|www\.)[^\s,;()<>]+", re.IGNORECASE)


def find_words(role: str, text: str, locale: Locale | None = None) -> list[Span]:
    """Where words of a role stand in a line: "company", "street", "place", "region", "city", "country", "tax", "total",
    "date", "phone" and the other roles of the locale data. Without a locale the words of every language count.
    """
    pattern = (locale or neutral()).pattern(role)
    if pattern is None:
        return []
    spans = [Span(*match.span()) for match in pattern.finditer(fold(plain(text)))]
    return [span for span in spans if _is_suffix(text, span)] if role == "company" else spans


def _is_suffix(text: str, span: Span) -> bool:
    """Whether a company suffix is more than a common word: short ones have capitals and end a name."""
    printed = text[span.start : span.end]
    if not printed.isascii() or sum(char.isalpha() for char in printed) > _SHORT_SUFFIX:
        return True
    named = any(char.isalnum() for char in text[: span.start])
    return named and any(char.isupper() for char in printed) and bool(_ENDS_THERE.match(text, span.end))


def find_shapes(shape: Shape, text: str, locale: Locale | None = None) -> list[Span]:
    """Where postcodes, registration numbers or VAT numbers of the locale's country stand in a line.

    Without a locale the shapes of every country count: then nearly any number looks like a postcode of somewhere.
    """
    pattern = (locale or neutral()).shape(shape)
    return [Span(*match.span()) for match in pattern.finditer(plain(text))] if pattern else []


def find_phones(text: str) -> list[Span]:
    """Where figures stand that are grouped like a telephone number: seven to fifteen of them."""
    spans = [Span(*match.span()) for match in _PHONE.finditer(plain(text))]
    return [span for span in spans if 7 <= sum(char.isdigit() for char in text[span.start : span.end]) <= 15]


def find_emails(text: str) -> list[Span]:
    """Where e-mail addresses stand in a line."""
    return [Span(*match.span()) for match in _EMAIL.finditer(text)] if "@" in text else []


def find_links(text: str) -> list[Span]:
    """Where addresses of web sites stand in a line."""
    return [Span(*match.span()) for match in _LINK.finditer(text)]
