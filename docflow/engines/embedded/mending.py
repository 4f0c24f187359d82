"""Mending what OCR does to names and addresses: letters for digits, digits for letters, stray accents.

Only where the neighbours leave no doubt, and never in the words of a text layer, which are what the file says.
"""

from __future__ import annotations

import re
import unicodedata

from docflow.engines.embedded.context import Context

_CAPITAL_I = re.compile(r"(?<=[a-z])I(?=[a-z]|\b)|(?<=[a-z])I(?=[A-Z][a-z])")
_O_IN_NUMBER = re.compile(r"(?<=\d)[Oo](?=\d|\b)|(?<![^\W\d_])[Oo](?=\d{2})")
_L_IN_NUMBER = re.compile(r"(?<=\d)[lI](?=\d)")
_ZERO_IN_WORD = re.compile(r"(?<=[A-Z])0(?=[A-Z]{2})|(?<=[A-Z]{2})0(?=[A-Z]|\b)")
_ONE_IN_WORD = re.compile(r"(?<=[a-z])1(?=[a-z]|\b)")
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
    if not text.isascii() and _accents(context.text) <= _FEW:
        text = "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))
        text = unicodedata.normalize("NFC", text)
    return text


def _accents(text: str) -> int:
    return sum(
        1 for char in text if not char.isascii() and char.isalpha() and len(unicodedata.normalize("NFD", char)) > 1
    )
