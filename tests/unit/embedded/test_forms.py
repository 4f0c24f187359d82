"""Label/value pairs of any form."""

from __future__ import annotations

from collections.abc import Sequence

from docflow.programs.form import Form

from docflow.documents.model import Box, Page, Word
from docflow.engines.embedded.context import Context
from docflow.engines.embedded.pairs import pairs
from docflow.engines.embedded.tables import read_list
from docflow.program import record_schema
from tests.unit.pages import page_of

Placed = tuple[str, float, float, float]
"""Text, left, top, height; each letter is half as wide as it is high."""


def pairs_of(lines: list[str]) -> list[tuple[str, str | None]]:
    return [(pair.label, pair.value) for pair in pairs(Context((page_of(lines, text_layer=False),)))]


def placed(texts: Sequence[Placed]) -> Page:
    words = []
    for segment, (text, left, top, height) in enumerate(texts):
        x = left
        for piece in text.split():
            width = len(piece) * height / 2
            words.append(Word(piece, Box(x, top, x + width, top + height), 1.0, segment))
            x += width + height / 3
    page = page_of([], text_layer=False)
    page.width, page.height = 600.0, 800.0
    page.reader = lambda _: words
    return page


def test_labels_with_a_colon_and_values_behind_them() -> None:
    assert pairs_of(
        ["Name: Ann Lee", "Date of birth: 01.02.1990      Town: Ghent", "This line is a sentence of the form."]
    ) == [
        ("Name", "Ann Lee"),
        ("Date of birth", "01.02.1990"),
        ("Town", "Ghent"),
    ]


def test_a_time_is_no_label() -> None:
    assert pairs_of(["Arrival: 10:30", "Left at 12:45 with the bus"]) == [("Arrival", "10:30")]


def test_two_aligned_columns_without_colons_are_pairs_and_blank_ones_too() -> None:
    assert pairs_of(
        [
            "Application",
            "",
            "Applicant               Ann Lee",
            "Occupation              Baker",
            "Employer",
            "Home address            4 High Street, Leeds",
            "Start date              1 May 2024",
        ]
    ) == [
        ("Applicant", "Ann Lee"),
        ("Occupation", "Baker"),
        ("Employer", None),
        ("Home address", "4 High Street, Leeds"),
        ("Start date", "1 May 2024"),
    ]


def test_small_labels_over_their_values_in_boxes() -> None:
    page = placed(
        [
            ("Visitor pass", 40, 20, 24),
            ("Visitor", 40, 100, 8), ("Company", 300, 100, 8),
            ("Ann Lee", 43, 116, 12), ("Bakery Ltd", 303, 116, 12),
            ("Host", 40, 150, 8), ("Badge number", 300, 150, 8),
            ("Tom Wu", 43, 166, 12), ("B-417", 303, 166, 12),
            ("Purpose of visit", 40, 200, 8), ("Escort", 300, 200, 8),
            ("Delivery", 43, 216, 12),
        ]
    )  # fmt: skip
    found = {(pair.label, pair.value) for pair in pairs(Context((page,)))}
    assert found == {
        ("Visitor", "Ann Lee"),
        ("Company", "Bakery Ltd"),
        ("Host", "Tom Wu"),
        ("Badge number", "B-417"),
        ("Purpose of visit", "Delivery"),
        ("Escort", None),
    }


def test_dotted_leaders_are_no_part_of_label_or_value() -> None:
    assert pairs_of(["Name: ........ Ann Lee", "Signature: ____________"]) == [("Name", "Ann Lee"), ("Signature", None)]


def test_numbered_entries_and_what_was_filled_in_below_them() -> None:
    assert pairs_of(
        [
            "APPLICATION FOR A PERMIT",
            "1. Full name of applicant",
            "   Maria Gonzales",
            "2. Mailing address",
            "   12 Elm St, Springfield",
            "3. Phone number: (555) 010-0199",
            "4. Signature ___________   Date _________",
        ]
    ) == [
        ("1. Full name of applicant", "Maria Gonzales"),
        ("2. Mailing address", "12 Elm St, Springfield"),
        ("3. Phone number", "(555) 010-0199"),
        ("4. Signature", None),
        ("Date", None),
    ]


def test_ticked_boxes_are_the_value_of_the_label_before_them() -> None:
    assert pairs_of(["Marital status: ☐ single ☑ married", "Newsletter: [x] yes [ ] no"]) == [
        ("Marital status", "married"),
        ("Newsletter", "yes"),
    ]


def test_an_address_goes_on_in_the_lines_under_it() -> None:
    assert pairs_of(["Address: 4 High Street", "         Leeds LS1 4AB", "", "", "Phone: 0113 496 0000"]) == [
        ("Address", "4 High Street Leeds LS1 4AB"),
        ("Phone", "0113 496 0000"),
    ]


def test_paragraphs_are_no_pairs() -> None:
    assert (
        pairs_of(["We write to you about the meeting of last week.", "It went well, and we thank all who came."]) == []
    )


def test_a_list_of_label_and_value_is_read_as_pairs() -> None:
    schema = record_schema(Form)["properties"]["fields"]
    context = Context((page_of(["Name: Ann Lee", "Phone:"], text_layer=False),))
    rows = read_list(schema, "fields", context)
    assert [(row["label"].printed, row["value"].printed) for row in rows] == [("Name", "Ann Lee"), ("Phone", None)]
    assert rows[1]["value"].reason == "absent"
    assert rows[0]["value"].pieces[0].page == 1
