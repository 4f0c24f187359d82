from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.fields import detect, rank

PAGES: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("pages.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("code", PAGES)
def test_a_page_tells_its_country_and_language_line_by_line_and_word_by_word(code: str) -> None:
    assert detect(PAGES[code]).code == code
    assert detect(" ".join(PAGES[code]).split()).code == code


def test_a_page_without_evidence_is_neutral() -> None:
    for texts in ([], ["12.90"], ["qwertz", "1 2 3"]):
        ranked = rank(texts)
        assert (ranked.locale.code, ranked.score) == ("und", 0.0)


def test_english_alone_decides_neither_the_order_of_dates_nor_the_currency() -> None:
    locale = detect(["Receipt", "Thank you for your visit", "Total amount", "Date 03/04/2018", "Cash", "Change"])
    assert (locale.language, locale.country) == ("en", "")
    assert (locale.date_order, locale.currency) == (None, None)


def test_german_alone_decides_what_all_german_speaking_countries_share() -> None:
    locale = detect(["Rechnung", "Vielen Dank für Ihren Einkauf", "Zwischensumme", "Rechnungsdatum"])
    assert (locale.language, locale.date_order) == ("de", "dmy")
    assert locale.words["company"]


def test_the_dates_of_the_page_decide_the_order_where_the_country_does_not() -> None:
    assert detect(["25/12/2018", "03/04/2018"]).date_order == "dmy"
    assert detect(["12/25/2018", "03/04/2018"]).date_order == "mdy"
    assert detect(["25/12/2018", "12/25/2018"]).date_order is None


def test_the_amounts_of_the_page_decide_the_decimal_mark_where_the_country_does_not() -> None:
    assert detect(["1.234,50", "12,00"]).decimal == ","
    assert detect(["1,234.50", "12.00"]).decimal == "."
    assert detect(["12,00", "12.00"]).decimal is None


@given(texts=st.lists(st.text(max_size=40), max_size=10))
def test_any_page_has_a_locale(texts: list[str]) -> None:
    ranked = rank(texts)
    assert ranked.locale.words
    assert (ranked.score > 0) == (ranked.locale.code != "und" or bool(ranked.score))


def test_documents_alike_share_one_locale_so_that_nothing_is_compiled_twice() -> None:
    page = ["Receipt", "Thank you for your visit", "Total amount", "25/12/2018", "Cash 12.00", "Change 1.50"]
    assert detect(page) is detect([*page, "25/11/2018"])
    assert detect(["12,00", "13,00"]) is detect(["1,50", "2,50"])
