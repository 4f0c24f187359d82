from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.fields import Locale, codes, find_dates, locale_named, neutral
from docflow.fields.dates import FUTURE_YEARS, read_bare_date
from docflow.fields.locale import all_months

CHRISTMAS = dt.date(2018, 12, 25)
LOCALES = [neutral(), *(locale_named(code) for code in codes())]
DAYS = st.dates(dt.date(1950, 1, 1), dt.date(2099, 12, 31))
NEAR_DAYS = st.dates(dt.date(1970, 1, 1), dt.date(2030, 12, 31))


@pytest.mark.parametrize(
    "text",
    [
        "25/12/2018", "25-12-18", "25.12.2018", "2018-12-25", "2018/12/25", "20181225", "25 DEC 2018", "25DEC18",
        "25-Dec-18", "Dec 25, 2018", "Dec.25.2018", "25th December, 2018", "Tuesday 25 December 2018",
        "le 25 décembre 2018", "25. Dezember 2018", "25 de diciembre de 2018", "25 de dez. de 2018",
        "25 dicembre 2018", "25 december 2018", "25 grudnia 2018 r.", "25. prosince 2018", "25 Disember 2018",
        "den 25. desember 2018", "2018年12月25日", "2018년 12월 25일", "平成30年12月25日", "民國107年12月25日",
        "２０１８年１２月２５日", "٢٥/١٢/٢٠١٨", "25/12-2018", "2018. 12. 25.", "December 25th 2018", "25 Dec '18",
        "2018 Dec 25", "Date:25-12-2018", "DATE25/12/2018", "25 / 12 / 2018",
    ],
)  # fmt: skip
def test_a_date_is_read_however_it_is_written(text: str) -> None:
    assert [(found.value, found.ambiguous) for found in find_dates(text)] == [(CHRISTMAS, False)]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("25/12/2018 14:03", "25/12/2018"),
        ("2018-12-25T10:00:00Z", "2018-12-25"),
        ("25/12/20181:03PM", "25/12/2018"),
        ("25/12/201814:03", "25/12/2018"),
        ("25-12-1814:03", "25-12-18"),
        ("07:31 25/12/2018", "25/12/2018"),
        ("25DEC201818:21", "25DEC2018"),
        ("25 DEC 2018 18:21", "25 DEC 2018"),
        ("20181225/191204", "20181225"),
    ],
)
def test_a_time_beside_a_date_stays_outside_its_span(text: str, printed: str) -> None:
    (found,) = find_dates(text)
    assert (found.value, text[found.start : found.end]) == (CHRISTMAS, printed)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1S/O3/2018", dt.date(2018, 3, 15)),
        ("25/1212018", CHRISTMAS),
        ("2O18-12-25", CHRISTMAS),
        ("O1 JAN 2019", dt.date(2019, 1, 1)),
        ("l1 JAN 2019", dt.date(2019, 1, 11)),
        ("25 0CT 2018", dt.date(2018, 10, 25)),
        ("25,12.2018", CHRISTMAS),
    ],
)
def test_misread_characters_are_repaired_and_the_repair_is_told(text: str, value: dt.date) -> None:
    (found,) = find_dates(text)
    assert (found.value, found.repaired) == (value, True)


@pytest.mark.parametrize(
    "text",
    [
        "", "12.50", "RM 1,234.56", "017-6057770", "TEL: 03 - 8079 0255", "1-300-80-2366", "v1.2.18",
        "Version 2.10.12", "192.168.1.10", "12.12.12.12", "31/02/2018", "29/02/2019", "00/00/2018", "2018-13-45",
        "INV20181225001", "12/2018", "Dec 2018", "Exp: 10/20", "3-4-12.50", "07 MAY 18:21", "1 SET 12.90", "2 SET 10",
        "HD03-04-06", "9555916500133", "NL50 INGB 0683 2513 09", "25-12-1860-33", "2018年12月",
    ],
)  # fmt: skip
def test_what_is_no_full_date_is_left_alone(text: str) -> None:
    assert find_dates(text) == []


def test_the_ends_of_a_range_are_both_found() -> None:
    found = find_dates("01.05.14-31.05.14", locale_named("DE"))
    assert [date.value for date in found] == [dt.date(2014, 5, 1), dt.date(2014, 5, 31)]


def test_without_a_locale_day_first_is_taken_and_said_to_be_ambiguous() -> None:
    (found,) = find_dates("03/04/2018")
    assert (found.value, found.ambiguous, found.alternatives) == (dt.date(2018, 4, 3), True, (dt.date(2018, 3, 4),))


@pytest.mark.parametrize(
    ("code", "value", "ambiguous"),
    [
        ("MY", dt.date(2018, 4, 3), False),
        ("US", dt.date(2018, 3, 4), False),
        ("KR", dt.date(2018, 4, 3), True),  # years stand first there: nothing says what stands second
    ],
)
def test_the_locale_decides_which_part_is_the_day(code: str, value: dt.date, ambiguous: bool) -> None:
    (found,) = find_dates("03/04/2018", locale_named(code))
    assert (found.value, found.ambiguous) == (value, ambiguous)


def test_a_part_above_twelve_is_the_day_whatever_the_locale_says() -> None:
    for locale in LOCALES:
        for text in ("25/12/2018", "12/25/2018"):
            assert [(date.value, date.ambiguous) for date in find_dates(text, locale)] == [(CHRISTMAS, False)]


def test_a_short_year_stands_first_where_years_do() -> None:
    assert [date.value for date in find_dates("18.12.25", locale_named("KR"))] == [CHRISTMAS]
    assert [date.value for date in find_dates("H30.12.25", locale_named("JP"))] == [CHRISTMAS]


def test_a_short_year_far_ahead_belongs_to_the_century_before() -> None:
    year = dt.date.today().year
    for ahead in (FUTURE_YEARS, FUTURE_YEARS + 1):
        (found,) = find_dates(f"25/12/{(year + ahead) % 100:02}")
        assert found.value.year == (year + ahead if ahead <= FUTURE_YEARS else year + ahead - 100)


def test_month_names_that_are_common_words_need_their_language_or_a_full_year() -> None:
    assert find_dates("2 set 10", locale_named("PT"))[0].value == dt.date(2010, 9, 2)
    assert find_dates("2 set 2010")[0].value == dt.date(2010, 9, 2)
    assert find_dates("2 set 10", locale_named("GB")) == []


def test_eight_figures_with_the_year_last_are_a_date_only_as_a_whole_text() -> None:
    assert [date.value for date in read_bare_date("25122018")] == [CHRISTMAS]
    assert read_bare_date("03042018")[0].ambiguous
    assert find_dates("No 25122018") == []
    assert read_bare_date("25122018 A") == []


def test_no_month_name_means_two_months_in_two_languages() -> None:
    months: dict[str, set[int]] = {}
    for locale in LOCALES:
        for number, names in enumerate(locale.months, start=1):
            for name in names:
                months.setdefault(name, set()).add(number)
    assert {name: numbers for name, numbers in months.items() if len(numbers) > 1} == {}
    assert len(all_months()) > 150


def _written(day: dt.date, locale: Locale) -> list[str]:
    mark = {"dmy": "/", "mdy": "/", "ymd": "-"}[locale.date_order or "dmy"]
    orders = {
        "dmy": (f"{day.day:02}", f"{day.month:02}", f"{day.year}"),
        "mdy": (f"{day.month:02}", f"{day.day:02}", f"{day.year}"),
        "ymd": (f"{day.year}", f"{day.month:02}", f"{day.day:02}"),
    }
    texts = [mark.join(orders[locale.date_order or "dmy"]), day.isoformat(), f"{day:%Y%m%d}"]
    for name in locale.months[day.month - 1]:
        if name[0].isdigit() or (not name.isascii() and locale.language == "zh"):
            continue  # written with signs behind the figures
        texts += [
            f"{day.day} {name} {day.year}",
            f"{name.upper()} {day.day}, {day.year}",
            f"{day.day}-{name}-{day.year}",
        ]
        texts += [f"{day.day}. {name.title()} {day.year}", f"{day.day} de {name} de {day.year}"]
    return texts


@given(day=DAYS, locale=st.sampled_from([locale for locale in LOCALES if locale.date_order]))
def test_every_day_comes_back_from_every_way_its_locale_writes_it(day: dt.date, locale: Locale) -> None:
    for text in _written(day, locale):
        assert [(found.value, found.ambiguous) for found in find_dates(text, locale)] == [(day, False)], text


@given(day=NEAR_DAYS)
def test_a_date_without_a_locale_is_right_or_says_that_it_may_not_be(day: dt.date) -> None:
    for text in (f"{day:%d/%m/%Y}", f"{day:%m/%d/%Y}", f"{day:%d.%m.%Y}"):
        (found,) = find_dates(text)
        assert day in (found.value, *found.alternatives)
        assert found.value == day or found.ambiguous


@given(text=st.text(max_size=60), locale=st.sampled_from(LOCALES))
def test_any_text_gives_ordered_spans_inside_it(text: str, locale: Locale) -> None:
    ends = 0
    for found in find_dates(text, locale):
        assert ends <= found.start < found.end <= len(text)
        assert found.value not in found.alternatives
        assert found.ambiguous == bool(found.alternatives)
        ends = found.end


@given(text=st.text(alphabet="0123456789/-.,: OlISZTJanDEC年月日'", max_size=30), locale=st.sampled_from(LOCALES))
def test_texts_made_of_date_characters_raise_nothing(text: str, locale: Locale) -> None:
    for found in find_dates(text, locale):
        assert 1600 <= found.value.year <= 2199
