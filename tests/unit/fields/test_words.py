from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.fields import find_emails, find_links, find_phones, find_shapes, find_words, fold, locale_named
from docflow.fields.text import collapse, plain


@pytest.mark.parametrize(
    "name",
    [
        "MAJU SDN. BHD.", "MAJU SDN BHD", "Müller GmbH & Co. KG", "Dupont S.A.R.L.", "Dupont SARL", "Bakker B.V.",
        "Tan Pte. Ltd.", "Kowalski Sp. z o.o.", "Svensson AB", "Meier AG (Zürich)", "株式会社山田", "Acme Corp.",
        "Silva, Lda.",
    ],
)  # fmt: skip
def test_a_company_suffix_is_found_however_it_is_printed(name: str) -> None:
    assert find_words("company", name)


@pytest.mark.parametrize("text", ["as printed above", "so say we all", "AB 12", "sa", "KG"])
def test_a_common_word_is_no_company_suffix(text: str) -> None:
    assert find_words("company", text) == []


def test_words_are_found_with_their_place_in_the_text() -> None:
    text = "NO 12, JALAN BUNGA RAYA"
    (span,) = find_words("street", text, locale_named("MY"))
    assert text[span.start : span.end] == "JALAN"
    assert find_words("street", "Königstraße 1", locale_named("DE")) == []  # inside a word
    assert find_words("no such role", text) == []


@pytest.mark.parametrize(
    ("code", "shape", "text", "printed"),
    [
        ("MY", "postcode", "43300 SERI KEMBANGAN, SELANGOR", "43300"),
        ("NL", "postcode", "3012 CN Rotterdam", "3012 CN"),
        ("GB", "postcode", "London SW1A 1AA", "SW1A 1AA"),
        ("JP", "postcode", "〒150-0001 東京都", "〒150-0001"),
        ("MY", "registration", "MAJU (860671-D)", "860671-D"),
        ("DE", "registration", "Amtsgericht Bonn HRB 12345", "HRB 12345"),
        ("DE", "vat", "UStId DE 232 446 240", "DE 232 446 240"),
        ("NL", "vat", "BTW NL810433941B01", "NL810433941B01"),
    ],
)
def test_the_shapes_of_a_country_are_found(code: str, shape: str, text: str, printed: str) -> None:
    spans = find_shapes(shape, text, locale_named(code))  # type: ignore[arg-type]
    assert [text[span.start : span.end] for span in spans] == [printed]


@pytest.mark.parametrize(
    "text", ["03-8079 0255", "+60 12-918 7937", "(217) 555-0134", "+49 (0)30 123456", "01 23 45 67 89"]
)
def test_telephone_numbers_are_found(text: str) -> None:
    (span,) = find_phones(f"Tel: {text}")
    assert f"Tel: {text}"[span.start : span.end] == text


@pytest.mark.parametrize("text", ["12.90", "43300", "A123456789", "1,234,567.89"])
def test_amounts_and_codes_are_no_telephone_numbers(text: str) -> None:
    assert find_phones(text) == []


def test_e_mail_and_web_addresses_are_found() -> None:
    text = "Mail info@example.com or see www.example.com/shop, thanks"
    assert [text[slice(*span)] for span in find_emails(text)] == ["info@example.com"]
    assert [text[slice(*span)] for span in find_links(text)] == ["www.example.com/shop"]


@given(text=st.text(max_size=60))
def test_folding_keeps_every_position(text: str) -> None:
    assert len(fold(text)) == len(plain(text)) == len(text)
    assert fold(fold(text)) == fold(text)
    assert collapse(collapse(text)) == collapse(text)


def test_folding_makes_prints_of_one_word_alike() -> None:
    assert fold("MÄRZ") == fold("märz") == "marz"
    assert fold("ＡＢＣ　１２") == "abc 12"
