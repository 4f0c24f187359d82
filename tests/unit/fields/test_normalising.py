from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.fields import Kind, codes, locale_named, neutral, normalise

LOCALES = [None, neutral(), *(locale_named(code) for code in codes())]


@pytest.mark.parametrize(
    ("kind", "raw", "code", "value"),
    [
        (Kind.DATE, "Date: 25/12/2018 14:03", None, dt.date(2018, 12, 25)),
        (Kind.DATE, "03/04/2018", "MY", dt.date(2018, 4, 3)), (Kind.DATE, "25122018", None, dt.date(2018, 12, 25)),
        (Kind.MONEY, "1.234,56 EUR", None, Decimal("1234.56")),
        (Kind.MONEY, "Total RM 12.90 (3 items)", "MY", Decimal("12.90")),
        (Kind.MONEY, "1 234", None, Decimal("1234")), (Kind.MONEY, "RM 1 234.50", "MY", Decimal("1234.50")),
        (Kind.MONEY, "1.234", "DE", Decimal("1234")), (Kind.MONEY, "(12.00)", None, Decimal("-12.00")),
        (Kind.QUANTITY, "1.000 kg", "GB", Decimal("1.000")), (Kind.QUANTITY, "1.000 kg", "DE", Decimal("1000")),
        (Kind.QUANTITY, "2 x", None, Decimal("2")), (Kind.QUANTITY, "7,7 %", None, Decimal("7.7")),
        (Kind.CURRENCY, "RM", None, "MYR"), (Kind.CURRENCY, "usd", None, "USD"), (Kind.CURRENCY, "$", "SG", "SGD"),
        (Kind.CURRENCY, "12,00 zł", None, "PLN"), (Kind.CURRENCY, "euro", None, "EUR"),
        (Kind.IDENTIFIER, "  : INV  001 ", None, "INV 001"),
        (Kind.IDENTIFIER, "IBAN: NL50 INGB 0683 2513 09", None, "NL50INGB0683251309"),
        (Kind.IDENTIFIER, "NL50 INGB 0683 2513 08", None, "NL50 INGB 0683 2513 08"),
        (Kind.PARTY, " ABC SDN.  BHD. ,", None, "ABC SDN. BHD."), (Kind.PARTY, "Foo\nBar S.A.", None, "Foo Bar S.A."),
        (Kind.ADDRESS, "LOT 1,\n JALAN 2,\n43300 X.", None, "LOT 1, JALAN 2, 43300 X."),
        (Kind.ADDRESS, "'s-Gravelandseweg 1, 1211 BP Hilversum", None, "'s-Gravelandseweg 1, 1211 BP Hilversum"),
        (Kind.TEXT, "* two \t words *", None, "two words"),
    ],
)  # fmt: skip
def test_printed_text_becomes_a_typed_value(kind: Kind, raw: str, code: str | None, value: object) -> None:
    normalised = normalise(raw, kind, locale_named(code) if code else None)
    assert normalised.value == value
    assert type(normalised.value) is type(value)
    assert not normalised.ambiguous


@pytest.mark.parametrize(
    ("kind", "raw", "value", "alternatives"),
    [
        (Kind.DATE, "03/04/2018", dt.date(2018, 4, 3), (dt.date(2018, 3, 4),)),
        (Kind.DATE, "1 Jan 2018 - 31 Jan 2018", dt.date(2018, 1, 1), (dt.date(2018, 1, 31),)),
        (Kind.MONEY, "1.234", Decimal("1234"), (Decimal("1.234"),)),
        (Kind.QUANTITY, "1.234", Decimal("1.234"), (Decimal("1234"),)),
        (Kind.MONEY, "2.50 3.50", Decimal("2.50"), (Decimal("3.50"),)),
        (Kind.CURRENCY, "¥", "JPY", ("CNY",)),
        (Kind.CURRENCY, "RM or USD", "MYR", ("USD",)),
    ],
)
def test_what_can_be_read_two_ways_says_so(kind: Kind, raw: str, value: object, alternatives: object) -> None:
    normalised = normalise(raw, kind)
    assert (normalised.value, normalised.ambiguous, normalised.alternatives) == (value, True, alternatives)
    assert normalised.note


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (Kind.DATE, "31/02/2018"), (Kind.DATE, "December 2018"), (Kind.DATE, "n/a"), (Kind.MONEY, "n/a"),
        (Kind.MONEY, "25/12/2018"), (Kind.MONEY, "9" * 20), (Kind.QUANTITY, "0.1234567"), (Kind.CURRENCY, "bitcoin"),
        (Kind.BOOLEAN, "maybe"), (Kind.BOOLEAN, "Yes / No"), (Kind.IDENTIFIER, ":-"), (Kind.PARTY, " . "),
        (Kind.CHOICE, "anything"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_none_with_a_note(kind: Kind, raw: str) -> None:
    normalised = normalise(raw, kind)
    assert (normalised.value, normalised.ambiguous) == (None, False)
    assert normalised.note


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("yes", True), ("No", False), ("ja", True), ("Nein", False), ("oui", True), ("sí", True), ("não", False),
        ("はい", True), ("아니오", False), ("tak", True), ("☑", True), ("☒", True), ("☐", False), ("[x]", True),
        ("[ ]", False), ("✓", True), ("X", True), ("true", True), ("0", False), ("[x] yes [ ] no", True),
        ("[ ] yes [x] no", False), ("☐ Ja ☒ Nein", False), ("Yes, I agree", True),
    ],
)  # fmt: skip
def test_words_and_ticks_become_yes_or_no(raw: str, value: bool) -> None:
    assert normalise(raw, Kind.BOOLEAN).value is value


def test_no_word_means_yes_in_one_language_and_no_in_another() -> None:
    words = neutral().words
    assert set(words["yes"]).isdisjoint(words["no"])


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("CASH", "cash"), ("Credit Card", "credit_card"), ("credit-card", "credit_card"),
        ("Bank transfr", "bank transfer"), ("paid by cash", "cash"), ("cash, other", None), ("xyz", None), ("", None),
    ],
)  # fmt: skip
def test_a_choice_is_the_listed_value_it_is_most_like(raw: str, value: str | None) -> None:
    choices = ("cash", "credit_card", "bank transfer", "other")
    assert normalise(raw, Kind.CHOICE, choices=choices).value == value


def test_choices_that_are_equally_close_are_ambiguous() -> None:
    normalised = normalise("plan D", Kind.CHOICE, choices=("plan A", "plan B"))
    assert normalised.ambiguous
    assert {normalised.value, *normalised.alternatives} == {"plan A", "plan B"}


@given(
    raw=st.text(max_size=80),
    kind=st.sampled_from(list(Kind)),
    locale=st.sampled_from(LOCALES),
    choices=st.lists(st.text(max_size=10), max_size=4),
)
def test_no_text_of_any_kind_raises(raw: str, kind: Kind, locale: object, choices: list[str]) -> None:
    normalised = normalise(raw, kind, locale, choices)  # type: ignore[arg-type]
    assert normalised.value is not None or normalised.note
    assert normalised.ambiguous == bool(normalised.alternatives)
    assert normalised.value not in normalised.alternatives


@given(day=st.dates(dt.date(1900, 1, 1), dt.date(2099, 12, 31)), locale=st.sampled_from(LOCALES))
def test_an_iso_date_is_read_alike_in_every_locale(day: dt.date, locale: object) -> None:
    normalised = normalise(day.isoformat(), Kind.DATE, locale)  # type: ignore[arg-type]
    assert (normalised.value, normalised.ambiguous) == (day, False)


@given(value=st.decimals(-(10**12), 10**12, places=2), locale=st.sampled_from(LOCALES))
def test_a_plain_decimal_is_read_alike_in_every_locale(value: Decimal, locale: object) -> None:
    normalised = normalise(f"{value:f}", Kind.MONEY, locale)  # type: ignore[arg-type]
    assert (normalised.value, normalised.ambiguous) == (value, False)


@given(raw=st.text(max_size=60), kind=st.sampled_from([Kind.PARTY, Kind.ADDRESS, Kind.IDENTIFIER, Kind.TEXT]))
def test_trimming_twice_changes_nothing_more(raw: str, kind: Kind) -> None:
    once = normalise(raw, kind).value
    if once is not None:
        assert normalise(str(once), kind).value == once
