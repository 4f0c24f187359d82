"""Mending what OCR does to names and addresses: letters for digits, digits for letters, stray accents.

Only where the neighbours leave no doubt, and never in the words of a text layer, which are what the file says.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from docflow.engines.embedded.context import Context
from docflow.engines.embedded.lexicon import look_of
from docflow.fields.locale import Locale
from docflow.fields.text import fold

_CAPITAL_I = re.compile(r"(?<=[a-z])I(?=[a-z]|\b)|(?<=[a-z])I(?=[A-Z][a-z])")
_O_IN_NUMBER = re.compile(r"(?<=\d)[Oo](?=\d|\b)|(?<![^\W\d_])[Oo](?=\d{2})")
_L_IN_NUMBER = re.compile(r"(?<=\d)[lI](?=\d)")
_ZERO_IN_WORD = re.compile(r"(?<=[A-Z])0(?=[A-Z]{2})|(?<=[A-Z]{2})0(?=[A-Z]|\b)")
_ONE_IN_WORD = re.compile(r"(?<=[a-z])1(?=[a-z]|\b)")
_DOTTED = re.compile(r"(?<=\b[A-Za-z]\.[a-z]\.)I\.?(?![^\W_])")
"""A capital I at the end of an abbreviation in small letters is an l: "S.r.l.", "s.p.l."."""
_MIXED = re.compile(r"(?<![^\W_])(?=[^\W_]*\d)(?=[^\W_]*[^\W\d_])[^\W_]{3,}(?![^\W_])")
_PLAIN = frozenset({"en", "ms"})
"""Languages that are written without accents: in any other, and where the language is unknown, one is likely meant."""
_FEW = 3
"""So few accents on a page of plain letters are misread dust."""


def mend(text: str, context: Context) -> str:
    """The text with misread characters put right; the same text for pages that were not read by OCR."""
    if all(page.text_layer for page in context.pages):
        return text
    text = _CAPITAL_I.sub("l", text)
    text = _ONE_IN_WORD.sub("l", text)
    text = _O_IN_NUMBER.sub("0", text)
    text = _L_IN_NUMBER.sub("1", text)
    text = _ZERO_IN_WORD.sub("O", text)
    text = _DOTTED.sub(lambda match: match[0].replace("I", "l"), text)
    text = _MIXED.sub(lambda match: _known_word(match[0], context) or match[0], text)
    if not text.isascii() and _PLAIN.issuperset(context.locale.languages) and _accents(context.text) <= _FEW:
        text = "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))
        text = unicodedata.normalize("NFC", text)
    return text


@lru_cache(maxsize=32)
def _words_by_look(locale: Locale) -> dict[str, str]:
    """Words of addresses and company names, by what stays when letters that OCR mixes up are taken for the same."""
    roles = ("street", "place", "region", "city", "country", "company")
    words = {part for role in roles for word in locale.words.get(role, ()) for part in fold(word).split()}
    return {look_of(word): word for word in sorted(words) if len(word) >= 3 and word.isalpha()}


def _known_word(printed: str, context: Context) -> str | None:
    """The known word that a mixture of letters and digits must be, in the capitals that it is printed in."""
    word = _words_by_look(context.locale).get(look_of(fold(printed)))
    if word is None or not any(char.isalpha() for char in printed):
        return None
    if printed.upper() == printed:
        return word.upper()
    return word.capitalize() if printed[0].isupper() or printed[0].isdigit() else word


def _accents(text: str) -> int:
    return sum(
        1 for char in text if not char.isascii() and char.isalpha() and len(unicodedata.normalize("NFD", char)) > 1
    )
