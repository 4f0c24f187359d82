"""Numbers and codes that carry their own proof: IBANs and VAT numbers."""

from __future__ import annotations

import re

# Length of an IBAN by country.
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24, "DE": 22,
    "DK": 18, "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28,
    "PT": 25, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26, "UA": 29,
}  # fmt: skip
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z\d]{11,30}")
_SPACED_IBAN = re.compile(r"(?<![A-Za-z\d])[A-Z]{2}\d{2}(?:[ ]?[A-Z\d]{1,4}){3,8}(?![A-Za-z\d])")


def valid_iban(text: str) -> bool:
    """Whether a text is an IBAN of the right length with valid check digits; spaces do not matter."""
    iban = re.sub(r"\s", "", text).upper()
    if not iban.isascii() or not _IBAN.fullmatch(iban) or len(iban) != _IBAN_LENGTHS.get(iban[:2], len(iban)):
        return False
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97 == 1


def find_ibans(text: str) -> list[tuple[int, int]]:
    """Where valid IBANs stand in a line of text, as (start, end)."""
    found = []
    for match in _SPACED_IBAN.finditer(text):
        # What follows the account on the line may look like more of it: take the part that checks.
        length = _IBAN_LENGTHS.get(match[0][:2], 0)
        end, kept = match.start(), 0
        while end < match.end() and kept < length:
            kept += not text[end].isspace()
            end += 1
        if valid_iban(text[match.start() : end]):
            found.append((match.start(), end))
    return found


def valid_vat(text: str) -> bool:
    """Whether a text is a VAT number of Austria, Belgium, Germany, Spain, France, Italy, the Netherlands, Poland or
    Portugal, country letters included, whose check digit fits; spaces, dots and hyphens do not matter.
    """
    number = re.sub(r"[\s.\-]", "", text).upper()
    check = _VAT_CHECKS.get(number[:2])
    return check is not None and number.isascii() and check(number[2:])


def _weighted(figures: str, weights: tuple[int, ...]) -> int:
    return sum(int(figure) * weight for figure, weight in zip(figures, weights, strict=True))


def _luhn_total(figures: str) -> int:
    """The sum of the figures, every second one from the right (the check digit not counted) doubled."""
    doubled = (int(figure) * 2 for figure in figures[-2::-2])
    return sum(value // 10 + value % 10 for value in doubled) + sum(int(figure) for figure in figures[::-2])


def _german(body: str) -> bool:
    if not re.fullmatch(r"[1-9]\d{8}", body):
        return False
    product = 10
    for figure in body[:8]:
        total = (int(figure) + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10 == int(body[8])


def _austrian(body: str) -> bool:
    if not re.fullmatch(r"U\d{8}", body):
        return False
    total = sum(
        int(figure) if index % 2 == 0 else int(figure) * 2 // 10 + int(figure) * 2 % 10
        for index, figure in enumerate(body[1:8])
    )
    return (10 - (total + 4) % 10) % 10 == int(body[8])


def _belgian(body: str) -> bool:
    return bool(re.fullmatch(r"[01]\d{9}", body)) and 97 - int(body[:8]) % 97 == int(body[8:])


def _french(body: str) -> bool:
    if not re.fullmatch(r"\d{11}", body):
        return False
    return _luhn_total(body[2:]) % 10 == 0 and int(body[:2]) == (12 + 3 * (int(body[2:]) % 97)) % 97


def _italian(body: str) -> bool:
    return bool(re.fullmatch(r"\d{11}", body)) and _luhn_total(body) % 10 == 0


def _dutch(body: str) -> bool:
    if not re.fullmatch(r"\d{9}B\d{2}", body):
        return False
    old_style = _weighted(body[:8], (9, 8, 7, 6, 5, 4, 3, 2)) % 11 == int(body[8])
    # Numbers of sole traders since 2020 are checked like an IBAN, country letters in front.
    return old_style or int("".join(str(int(char, 36)) for char in "NL" + body)) % 97 == 1


def _polish(body: str) -> bool:
    return bool(re.fullmatch(r"\d{10}", body)) and _weighted(body[:9], (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == int(body[9])


def _portuguese(body: str) -> bool:
    if not re.fullmatch(r"[1-9]\d{8}", body):
        return False
    rest = 11 - _weighted(body[:8], (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if rest > 9 else rest) == int(body[8])


def _spanish(body: str) -> bool:
    if re.fullmatch(r"\d{8}[A-Z]", body):
        return "TRWAGMYFPDXBNJZSQVHLCKE"[int(body[:8]) % 23] == body[8]
    if not re.fullmatch(r"[A-HJNPQRSUVW]\d{7}[\dA-J]", body):
        return False
    check = (10 - _luhn_total(body[1:8] + "0") % 10) % 10
    return body[8] in (str(check), "JABCDEFGHI"[check])


_VAT_CHECKS = {
    "AT": _austrian,
    "BE": _belgian,
    "DE": _german,
    "ES": _spanish,
    "FR": _french,
    "IT": _italian,
    "NL": _dutch,
    "PL": _polish,
    "PT": _portuguese,
}
