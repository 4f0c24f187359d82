from __future__ import annotations

import re
from decimal import Decimal

import pytest

from docflow.errors import ConfigError
from docflow.fields import codes, currencies, locale_named, neutral
from docflow.fields.locale import country_files, language_files
from docflow.fields.text import fold


def test_there_is_data_for_many_countries_and_every_language_they_name() -> None:
    assert len(country_files()) >= 25
    named = {language for data in country_files().values() for language in data["languages"]}
    assert named == set(language_files()), "a language file that no country uses, or the other way round"


@pytest.mark.parametrize("code", codes())
def test_every_locale_is_complete_and_consistent(code: str) -> None:
    locale = locale_named(code)
    assert locale.code == code
    assert locale.date_order in ("dmy", "mdy", "ymd")
    assert locale.decimal in (".", ",")
    assert locale.decimal not in locale.groups
    assert locale.groups
    assert locale.currency in currencies()
    assert locale.cash_unit is not None
    assert locale.cash_unit > 0
    assert re.fullmatch(r"\d{1,3}", locale.phone_prefix)
    assert len(locale.months) == 12
    assert all(locale.months)
    for role in (
        "company",
        "country",
        "city",
        "street",
        "tax",
        "date",
        "total",
        "phone",
        "invoice_number",
        "yes",
        "no",
    ):
        assert locale.pattern(role) is not None, role
    for shape in ("postcode", "registration", "vat"):
        assert locale.shape(shape) is not None, shape


@pytest.mark.parametrize("code", ["und", *codes()])
def test_every_word_is_found_by_the_pattern_of_its_role(code: str) -> None:
    locale = locale_named(code)
    for role, words in locale.words.items():
        pattern = locale.pattern(role)
        assert pattern is not None
        for word in words:
            assert pattern.search(fold(word.upper() if word.isascii() else word)), (role, word)


def test_data_files_know_no_other_keys() -> None:
    for country, data in country_files().items():
        keys = {"languages", "date_order", "decimal", "groups", "currency", "signs", "cash_unit", "phone_prefix"}
        assert data.keys() - {"in"} == keys | {"shapes", "words"}, country
        assert data["shapes"].keys() - {"distinctive"} == {"postcode", "registration", "vat"}, country
    for language, data in language_files().items():
        assert data.keys() == {"months", "common", "words"}, language
        assert data["words"].keys() <= language_files()["en"]["words"].keys(), language


def test_no_word_stands_twice_in_one_list() -> None:
    for name, data in [*country_files().items(), *language_files().items()]:
        for role, words in data["words"].items():
            assert len(words) == len(set(words)), (name, role)


def test_a_locale_is_named_in_several_ways() -> None:
    assert locale_named("de_CH") is not locale_named("fr_CH")
    assert locale_named("fr-ch").code == "fr_CH"
    assert locale_named("CH").code == "de_CH"
    assert locale_named("und") is neutral()
    for unknown in ("xx_DE", "de_XX", ""):
        with pytest.raises(ConfigError, match="no locale"):
            locale_named(unknown)


def test_a_language_may_write_numbers_its_own_way() -> None:
    assert (locale_named("en_CA").decimal, locale_named("fr_CA").decimal) == (".", ",")


def test_the_neutral_locale_decides_nothing_and_knows_all_words() -> None:
    one = neutral()
    assert (one.date_order, one.day_first, one.decimal, one.currency, one.cash_unit) == (None, None, None, None, None)
    assert {"sdn bhd", "gmbh", "s.a.r.l.", "pte ltd", "株式会社"} <= set(one.words["company"])


def test_cash_is_rounded_where_small_coins_are_gone() -> None:
    assert locale_named("MY").cash_unit == locale_named("CH").cash_unit == Decimal("0.05")
