"""Text as the readers of this room compare it: same length as printed, so that positions stay true."""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = "\u2018\u2019\u02bc\u00b4`\u2032\uff07"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d"
_BASES = {"ø": "o", "ł": "l", "đ": "d", "ı": "i", "ð": "d"}  # letters that Unicode does not decompose


def _plain_table() -> dict[int, str]:
    table = {ord(mark): "'" for mark in _APOSTROPHES} | {ord(dash): "-" for dash in _DASHES}
    for code in range(0xFF01, 0xFF5F):  # full-width forms of ASCII, as CJK documents print figures
        table.setdefault(code, chr(code - 0xFEE0))
    table |= {0x066B: ".", 0x066C: ","}  # Arabic decimal and thousand marks
    for first in (0x0660, 0x06F0, 0x0966, 0x09E6, 0x0E50):  # Arabic, Persian, Devanagari, Bengali and Thai digits
        table |= {first + digit: str(digit) for digit in range(10)}
    return table


def _fold_table() -> dict[int, str]:
    table = dict.fromkeys((0x00A0, 0x2007, 0x2009, 0x200A, 0x202F, 0x3000), " ")
    for code in (*range(0x41, 0x5B), *range(0xC0, 0x250), *range(0x370, 0x530), *range(0x1E00, 0x1F00)):
        lower = chr(code).lower()
        base = unicodedata.normalize("NFD", lower)[0] if code < 0x370 or code >= 0x1E00 else lower
        base = _BASES.get(base, base)
        if len(base) == 1 and base != chr(code):
            table[code] = base
    plain = _plain_table()
    return table | {code: char.lower() for code, char in plain.items()}


_PLAIN = _plain_table()
_FOLD = _fold_table()
_SPACE = re.compile(r"\s+")


def plain(text: str) -> str:
    """The text with ASCII digits, dashes and apostrophes; the same length, case and spaces kept."""
    return text if text.isascii() else text.translate(_PLAIN)


def fold(text: str) -> str:
    """The text in lower case without accents, with plain spaces; the same length."""
    return text.lower() if text.isascii() else text.translate(_FOLD)


def collapse(text: str) -> str:
    """The text with each stretch of white space as one space, none at the ends."""
    return _SPACE.sub(" ", text).strip()
