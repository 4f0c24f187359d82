from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.fields import find_ibans, valid_iban, valid_vat

VAT_COUNTRIES = ["AT", "BE", "DE", "ES", "FR", "IT", "NL", "PL", "PT"]


@pytest.mark.parametrize(
    "iban",
    [
        "DE89 3704 0044 0532 0130 00",
        "GB82WEST12345698765432",
        "FR14 2004 1010 0505 0001 3M02 606",
        "NO93 8601 1117 947",
    ],
)
def test_an_iban_checks_and_with_one_figure_changed_it_does_not(iban: str) -> None:
    assert valid_iban(iban)
    changed = iban[:-1] + str((int(iban[-1]) + 1) % 10)
    assert not valid_iban(changed)


@pytest.mark.parametrize(
    "text", ["", "DE89", "DE89 3704 0044 0532 0130 0", "XX00", "ＤＥ89370400440532013000", "٣" * 22]
)
def test_what_is_no_iban_is_refused(text: str) -> None:
    assert not valid_iban(text)


def test_an_iban_is_found_beside_other_words() -> None:
    text = "IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF"
    assert [text[start:end] for start, end in find_ibans(text)] == ["DE89 3704 0044 0532 0130 00"]
    assert find_ibans("DE12 3456 7890 1234 5678 90") == []


@pytest.mark.parametrize(
    "number",
    [
        "DE136695976", "DE 136 695 976", "ATU13585627", "BE0428759497", "FR40303265045", "IT00743110157",
        "NL004495445B01", "NL123456789B13", "PL8567346215", "PT501964843", "ESA13585625", "ES54362315K",
    ],
)  # fmt: skip
def test_a_vat_number_checks_and_with_one_figure_changed_it_does_not(number: str) -> None:
    assert valid_vat(number)
    place = next(index for index in range(len(number) - 4, 0, -1) if number[index].isdigit())
    changed = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
    assert not valid_vat(changed)


@given(text=st.text(max_size=40))
def test_any_text_is_only_valid_or_not(text: str) -> None:
    assert valid_iban(text) in (True, False)
    assert valid_vat(text) in (True, False)
    for start, end in find_ibans(text):
        assert valid_iban(text[start:end])


@given(
    body=st.text(alphabet="0123456789ABUTZ", min_size=7, max_size=12),
    country=st.sampled_from(["AT", "BE", "DE", "ES", "FR", "IT", "NL", "PL", "PT"]),
)
def test_vat_numbers_of_any_shape_raise_nothing(body: str, country: str) -> None:
    assert valid_vat(country + body) in (True, False)
