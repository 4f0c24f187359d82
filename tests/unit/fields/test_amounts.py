from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from docflow.fields import Locale, codes, currencies, find_amounts, find_currency, locale_named, neutral

LOCALES = [neutral(), *(locale_named(code) for code in codes())]
CENTS = st.integers(0, 99_999_999).map(lambda cents: Decimal(cents) / 100)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.56", "1234.56"), ("1.234,56", "1234.56"), ("1 234,56", "1234.56"), ("1'234.56", "1234.56"),
        ("1’234.56", "1234.56"), ("1\u202f234,56", "1234.56"), ("12,34", "12.34"), ("319.00", "319.00"),
        ("RM12.90", "12.90"), ("RM.12.90", "12.90"), ("$ 4.11", "4.11"), ("€12,-", "12"), ("CHF 12.--", "12"),
        ("99:-", "99"), ("Rs. 500/-", "500"), ("(12.00)", "-12.00"), ("12.00-", "-12.00"), ("-12.00", "-12.00"),
        ("12.00 CR", "-12.00"), ("RM-5.00", "-5.00"), ("-RM5.00", "-5.00"), ("(RM 12.00)", "-12.00"),
        ("RM (12.00)", "-12.00"), ("- 5.00", "-5.00"), ("¥1,200", "1200"), ("¥1,200-", "1200"), ("1,200円", "1200"),
        ("₩12,000", "12000"), ("12.90SR", "12.90"), ("RM134.80 S", "134.80"), ("12 .90", "12.90"),
        ("12. 90", "12.90"), ("1O.00", "10.00"), ("l2.50", "12.50"), (".00", "0.00"), ("0.125", "0.125"),
        ("3.1800", "3.1800"), ("1234.567", "1234.567"), ("₹12,34,567.00", "1234567.00"), ("1.234.567", "1234567"),
        ("12.345.678,90", "12345678.90"), ("TOTAL12.90", "12.90"), ("EUR 3,50/kg", "3.50"),
        ("１２，３４５円", "12345"), ("$12.50 USD", "12.50"), ("R$ 1.234,56", "1234.56"), ("1.000,00 zł", "1000.00"),
        ("£1,234", "1234"),
    ],
)  # fmt: skip
def test_an_amount_is_read_however_it_is_written(text: str, value: str) -> None:
    assert [(str(found.value), found.ambiguous) for found in find_amounts(text)] == [(value, False)]


@pytest.mark.parametrize(
    "text",
    [
        "", "no figures", "25/12/2018", "12.03.18", "14:03", "05:23PM", "03-55423213", "10/500", "557752-H", "A4",
        "B12", "#12", "2nd", "007", "1,2,3", "12.5.6", "1,23.45", "12345678901234567890", "2018-5",
    ],
)  # fmt: skip
def test_what_is_no_amount_is_left_alone(text: str) -> None:
    assert find_amounts(text) == []


def test_three_figures_behind_a_mark_are_ambiguous_without_a_locale() -> None:
    for text in ("1.234", "1,234", "€ 1.234"):
        (found,) = find_amounts(text)
        assert (found.value, found.ambiguous, found.alternatives) == (1234, True, (Decimal("1.234"),))


@pytest.mark.parametrize(
    ("code", "text", "value"),
    [
        ("DE", "1.234", "1234"), ("DE", "1,234", "1.234"), ("US", "1.234", "1.234"), ("US", "1,234", "1234"),
        ("KR", "12,000원", "12000"), ("FR", "1 234", "1234"), ("FR", "1 234,5", "1234.5"), ("CH", "1'234", "1234"),
    ],
)  # fmt: skip
def test_the_locale_decides_what_a_mark_means(code: str, text: str, value: str) -> None:
    assert [(str(found.value), found.ambiguous) for found in find_amounts(text, locale_named(code))] == [(value, False)]


def test_figures_apart_by_a_space_are_two_numbers_where_spaces_do_not_group() -> None:
    assert [found.value for found in find_amounts("2 100.00", locale_named("MY"))] == [2, 100]
    assert [found.value for found in find_amounts("2 100,00", locale_named("FR"))] == [2100]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("2 x 3.50", "x"),
        ("2x3,50", "x"),
        ("3 @ 4.50", "x"),
        ("3 pcs", "pcs"),
        ("0,750 kg", "kg"),
        ("500ml", "ml"),
        ("x3", "x"),
    ],
)
def test_the_unit_behind_a_number_is_told(text: str, unit: str) -> None:
    assert find_amounts(text, locale_named("GB"))[0].unit == unit


@pytest.mark.parametrize("text", ["6%", "@6%", "7,7 %", "19.00% MwSt", "(21%)"])
def test_percentages_are_told_apart(text: str) -> None:
    (found,) = find_amounts(text)
    assert found.percent
    assert found.unit is None


@pytest.mark.parametrize(("text", "code"), [("12.90SR", "SR"), ("RM79.00 Z", "Z"), ("4,99 B", "B"), ("12.90 A *", "A")])
def test_a_tax_letter_behind_an_amount_is_no_part_of_it(text: str, code: str) -> None:
    (found,) = find_amounts(text)
    assert found.code == code
    assert code not in text[found.start : found.end]


def test_the_span_holds_currency_and_sign_and_the_figures_have_their_own() -> None:
    text = "Total: -RM 1,234.50 incl."
    (found,) = find_amounts(text)
    assert text[found.start : found.end] == "-RM 1,234.50"
    assert text[slice(*found.number)] == "1,234.50"
    assert (found.currency, found.decimals, found.value) == ("MYR", 2, Decimal("-1234.50"))


def test_a_sign_between_two_numbers_belongs_to_the_one_it_touches() -> None:
    assert [(str(found.value), found.currency) for found in find_amounts("1 $5.00")] == [("1", None), ("5.00", "USD")]
    assert [(found.value, found.currency) for found in find_amounts("5 € 3,50")] == [
        (5, "EUR"),
        (Decimal("3.50"), None),
    ]


@pytest.mark.parametrize(
    ("code", "sign", "value"),
    [
        ("US", "$", "USD"), ("SG", "$", "SGD"), ("MY", "$", "MYR"), ("CA", "$", "CAD"), ("SE", "kr", "SEK"),
        ("DK", "kr", "DKK"), ("JP", "¥", "JPY"), ("CN", "¥", "CNY"), ("IN", "Rs.", "INR"), ("DE", "€", "EUR"),
        ("CH", "Fr.", "CHF"),
    ],
)  # fmt: skip
def test_the_locale_decides_what_a_sign_means(code: str, sign: str, value: str) -> None:
    for text in (f"{sign} 12", f"12 {sign}"):
        (found,) = find_currency(text, locale_named(code))
        assert (found.value, found.ambiguous) == (value, False)
        (amount,) = find_amounts(text, locale_named(code))
        assert (amount.currency, amount.currency_ambiguous) == (value, False)


def test_a_shared_sign_is_ambiguous_without_a_locale() -> None:
    (found,) = find_currency("$ 12.00")
    assert (found.value, found.ambiguous) == ("USD", True)
    assert {"SGD", "AUD", "CAD"} <= set(found.alternatives)
    assert find_amounts("$ 12.00")[0].currency_ambiguous


def test_words_that_look_like_a_code_are_no_currency() -> None:
    assert find_currency("please try all of them") == []
    assert [found.value for found in find_currency("Total TRY 12")] == ["TRY"]


def _written(value: Decimal, locale: Locale) -> list[str]:
    plain = f"{value:.2f}"
    whole, cents = plain.split(".")
    texts = [f"{whole}{locale.decimal}{cents}"]
    for mark in locale.groups:
        grouped = f"{int(whole):,}".replace(",", mark)
        texts.append(f"{grouped}{locale.decimal}{cents}")
    signs = [locale.currency, *(sign for sign in locale.signs if sign[0] not in ":,")]
    texts += [f"{sign} {text}" for sign in signs for text in texts] + [
        f"{text} {sign}" for sign in signs for text in texts
    ]
    return texts


@given(
    value=CENTS,
    locale=st.sampled_from([one for one in LOCALES if one.currency and currencies()[one.currency]["minor"]]),
)
def test_every_amount_comes_back_from_every_way_its_locale_writes_it(value: Decimal, locale: Locale) -> None:
    for text in _written(value, locale):
        assert [(found.value, found.ambiguous) for found in find_amounts(text, locale)] == [(value, False)], text
        for negative in (f"-{text}", f"({text})"):
            assert [found.value for found in find_amounts(negative, locale)] == [-value], negative


@given(value=CENTS)
def test_an_amount_without_a_locale_is_right_or_says_that_it_may_not_be(value: Decimal) -> None:
    for locale in LOCALES[1:]:
        for text in _written(value, locale)[: 1 + len(locale.groups)]:
            (found,) = find_amounts(text) if " " not in text else find_amounts(text, locale)
            assert value == found.value, text


@given(figures=st.from_regex(r"\A\d{1,3}[.,]\d{3}\Z"), locale=st.sampled_from(LOCALES[1:]))
def test_what_a_locale_reads_without_doubt_is_among_the_readings_without_one(figures: str, locale: Locale) -> None:
    decided, undecided = find_amounts(figures, locale), find_amounts(figures)
    assume(decided and undecided)
    assert not decided[0].ambiguous
    assert decided[0].value in (undecided[0].value, *undecided[0].alternatives)


@given(text=st.text(max_size=60), locale=st.sampled_from(LOCALES))
def test_any_text_gives_ordered_spans_inside_it(text: str, locale: Locale) -> None:
    ends = 0
    for found in find_amounts(text, locale):
        assert ends <= found.start <= found.number[0] < found.number[1] <= found.end <= len(text)
        ends = found.end
    for mark in find_currency(text, locale):
        assert 0 <= mark.start < mark.end <= len(text)


@given(text=st.text(alphabet="0123456789.,' -()RM$€kr%xOlS:/", max_size=30), locale=st.sampled_from(LOCALES))
def test_texts_made_of_amount_characters_fit_the_columns_they_go_to(text: str, locale: Locale) -> None:
    for found in find_amounts(text, locale):
        assert abs(found.value) < Decimal(10) ** 18
        assert -6 <= int(found.value.as_tuple().exponent) <= 0
        assert found.ambiguous == bool(found.alternatives)
