"""Taking the value of a leaf out of the place where it is expected: what an identifier, a name, a choice looks like."""

from __future__ import annotations

import re
from functools import lru_cache

from docflow.engines.embedded.context import Context, Span
from docflow.engines.embedded.lexicon import lexicon, words_of
from docflow.fields.amounts import find_amounts
from docflow.fields.identifiers import find_ibans
from docflow.fields.kinds import Kind
from docflow.fields.locale import Locale
from docflow.fields.text import fold

_IBAN = re.compile(r"(?<![A-Z0-9])[A-Z]{2}\s?\d{2}(?:\s?[A-Z0-9]{2,5}){2,8}(?![A-Z0-9])")
_BIC = re.compile(r"(?<![A-Z0-9])[A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?(?![A-Z0-9])")
_EU_VAT = re.compile(
    r"(?<![A-Z0-9])(?:ATU|BE|BG|CHE|CY|CZ|DE|DK|EE|EL|ES|FI|FR|GB|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK|XI|NO)[\s.\-]?[A-Z0-9]{0,2}\s?\d(?:[\s.\-]?[A-Z0-9]){5,12}(?![A-Z0-9])"
)
_EMAIL = re.compile(r"[\w.+\-]+@[\w\-]+(?:\.[\w\-]+)+")
_SITE = re.compile(
    r"(?:https?://)?(?:www\.)?[\w\-]+(?:\.[\w\-]+)*\.(?:com|net|org|info|biz|eu|[a-z]{2})(?:/[\w\-./?=&%]*)?",
    re.IGNORECASE,
)
_PHONE = re.compile(r"\+?\(?\d[\d\s().\-/]{5,}\d")
_CODE = re.compile(r"#?\s?[^\W_][\w\-/.#+]*(?:(?<=\d)\s(?=\d{2,})[\d\-/]+)*")
_GROUPS = re.compile(r"(?=(?:\D*\d){4})[A-Z0-9]+(?:[ .\-/][A-Z0-9]+)*$")
_MORE_CODE = re.compile(r"(?: (?:[A-Z]{1,3}|[A-Z0-9\-/.]*\d[A-Z0-9\-/.]*)(?![a-z:]))+$")
"""Further groups of a code, up to the end of its cell: "AK71 PLM", "12 150789 V 004"."""
_GROUPED_CODE = re.compile(r"[A-Za-z]{0,4}[\s\-]?\d[\dA-Za-z]*(?:[\s.\-/][\dA-Za-z]*\d[\dA-Za-z]*)*")
_CENTS = re.compile(r"[.,]\d{2}$")
_BOX_YES = re.compile(r"[☒☑✓✔■]|\[\s*[xX✓]\s*\]|\(\s*[xX]\s*\)")
_BOX_NO = re.compile(r"☐|□|\[\s*\]|\(\s*\)")


def vat_numbers(text: str) -> list[tuple[int, int]]:
    """The spans of VAT numbers that begin with the letters of their country."""
    return [match.span() for match in _EU_VAT.finditer(text) if sum(char.isdigit() for char in match[0]) >= 7]


def take(kind: Kind, concept: str, region: Span, context: Context) -> tuple[Span, float] | None:
    """The value inside a region, and how much it looks like one (0 to 1); None where nothing fits."""
    if kind is Kind.IDENTIFIER or concept in _SHAPED:
        return _identifier(concept, region, context)
    if kind is Kind.PARTY:
        return _party(region)
    if kind is Kind.QUANTITY:
        return _quantity(region, context)
    return _text(region)


_SHAPED = ("phone", "fax", "email", "website", "iban", "bic", "vat")


def _identifier(concept: str, region: Span, context: Context) -> tuple[Span, float] | None:
    text = region.text
    if concept == "iban":
        for start, end in find_ibans(text):
            return _part(region, start, end), 1.0
        match = _IBAN.search(text)
        return (_part(region, *match.span()), 0.6) if match else None
    shape = {"email": _EMAIL, "website": _SITE, "bic": _BIC}.get(concept)
    if shape is not None:
        match = shape.search(text)
        return (_part(region, *match.span()), 1.0) if match else None
    if concept in ("phone", "fax"):
        match = _PHONE.search(text)
        return (_part(region, *match.span()), 1.0) if match else None
    if concept == "vat":
        for start, end in vat_numbers(text):
            return _part(region, start, end), 1.0
    if concept in ("vat", "registration_number", "account_number", "social_security_number"):
        match = _GROUPED_CODE.search(text)
        if (
            match
            and not _CENTS.search(text[match.start() : match.end() + 3].rstrip())
            and sum(char.isdigit() for char in match[0]) >= 4
        ):
            return _part(region, *match.span()), 0.9
        return None
    for match in _CODE.finditer(text):
        digits = sum(char.isdigit() for char in match[0])
        if not digits:
            continue
        span = _part(region, match.start(), match.end())
        stripped = span.text.rstrip(".,;:-/")
        span = Span(span.line, span.start, span.start + len(stripped))
        if any(span.start < date.end and date.start < span.end for date in context.dates.get(span.line.number, ())):
            continue
        rest = _MORE_CODE.match(region.line.text[: region.end], span.end)
        if rest and len(span.text) + len(rest[0]) <= 24:
            span = Span(span.line, span.start, rest.end())
        before = sum(char.isalpha() for char in text[: match.start()])
        look = 1.0 if digits >= 3 or len(stripped) >= 5 else 0.7
        if "." in stripped and stripped.replace(".", "").replace(",", "").isdigit():
            look -= 0.4  # an amount
        if ":" in text[match.end() : match.end() + 1] and len(stripped) <= 2:
            continue  # a time
        return span, look - min(0.5, 0.05 * before)
    return None


def _party(region: Span) -> tuple[Span, float] | None:
    text = region.text
    letters = sum(char.isalpha() for char in text)
    digits = sum(char.isdigit() for char in text)
    if letters < 2 or digits > letters:
        return None
    end = region.end
    while end > region.start and region.line.text[end - 1] in " ,;:*-":
        end -= 1
    look = 1.0 if letters >= 4 else 0.6
    if len(text) > 70 or len(text.split()) > 9:
        look -= 0.6  # a sentence
    if words_of(text) in lexicon().titles:
        look -= 0.5
    return Span(region.line, region.start, end), look - (0.3 if digits > 3 else 0.0)


def _quantity(region: Span, context: Context) -> tuple[Span, float] | None:
    dates = context.dates.get(region.line.number, ())
    for found in find_amounts(region.text, context.locale):
        start, end = region.start + found.start, region.start + found.end
        if any(start < date.end and date.start < end for date in dates):
            continue
        return Span(region.line, start, end), 1.0 if found.start <= 3 else 0.7
    return None


def _text(region: Span) -> tuple[Span, float] | None:
    return (region, 1.0) if any(char.isalnum() for char in region.text) else None


def _part(region: Span, start: int, end: int) -> Span:
    return Span(region.line, region.start + start, region.start + end)


# --- yes and no, one of several ---------------------------------------------------------------------------------


def yes_or_no(text: str, context: Context) -> bool | None:
    """What a text beside a question says: a word for yes or no, or a box ticked or empty."""
    words = words_of(text)
    if words:
        for role, meaning in (("yes", True), ("no", False)):
            if words[0] in _answers(role, context.locale):
                return meaning
    if _BOX_YES.search(text):
        return True
    if _BOX_NO.search(text):
        return False
    return None


@lru_cache(maxsize=32)
def _answers(role: str, locale: Locale) -> frozenset[str]:
    return frozenset(fold(word) for word in locale.words.get(role, ()))


def choice_in(text: str, choices: tuple[str, ...]) -> tuple[str, int, int] | None:
    """The first of the choices that the text holds as words, with its span; longer choices win at one place."""
    folded = fold(text)
    best: tuple[int, int, str] | None = None
    for choice in choices:
        spoken = fold(choice).replace("_", " ")
        match = re.search(rf"(?<![^\W_]){re.escape(spoken)}(?![^\W_])", folded)
        if match and (best is None or (match.start(), -len(spoken)) < (best[0], best[1])):
            best = (match.start(), -len(spoken), choice)
    return (best[2], best[0], best[0] - best[1]) if best else None
