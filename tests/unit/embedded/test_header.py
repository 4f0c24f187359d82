"""Letterheads: whose name and address stand there, and what does not belong to them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from docflow.engines.embedded.addresses import addresses
from docflow.engines.embedded.context import Context
from docflow.engines.embedded.head import Head
from docflow.engines.embedded.lines import without_number
from docflow.engines.embedded.mending import mend
from docflow.engines.embedded.names import Names
from tests.unit.pages import page_of

BODY = ["Date: 12/03/2024", "Total      9.00"]


def head(lines: Sequence[str]) -> Head:
    context = Context((page_of([*lines, *BODY], text_layer=False),))
    return Head(context, context.labels)


def name(lines: Sequence[str]) -> str:
    return Names(head(lines)).issuers[0].text


def address(lines: Sequence[str]) -> str:
    return addresses(head(lines))[0].text


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("HOLLOWAY BOOKS LTD (812345-K)", "HOLLOWAY BOOKS LTD"),
        ("Holloway Books Ltd (Co. No. 812345-K)", "Holloway Books Ltd"),
        ("HOLLOWAY (NORTH) SDN BHD 812345-K", "HOLLOWAY (NORTH) SDN BHD"),
        ("HOLLOWAY (M) SDN BHD", "HOLLOWAY (M) SDN BHD"),
        ("STUDIO 54", "STUDIO 54"),
    ],
)
def test_a_registration_number_is_no_part_of_a_name(printed: str, expected: str) -> None:
    assert without_number(printed) == expected


def test_a_companys_suffix_outweighs_a_slogan_above_it() -> None:
    assert (
        name(["your friendly corner", "HOLLOWAY BOOKS LTD", "14 Mill Lane", "Bristol BS1 4QD"]) == "HOLLOWAY BOOKS LTD"
    )


def test_a_name_goes_on_in_the_next_line_while_a_bracket_is_open() -> None:
    lines = ["HOLLOWAY HARDWARE (BRISTOL", "NORTH) LTD", "14 Mill Lane", "Bristol BS1 4QD"]
    assert name(lines) == "HOLLOWAY HARDWARE (BRISTOL NORTH) LTD"


def test_the_legal_owner_is_not_the_name_over_the_door() -> None:
    lines = ["CORNER STATIONERY SHOP", "14 Mill Lane", "Bristol BS1 4QD", "Owned by:", "Holloway Supply Ltd (812345-K)"]
    assert name(lines) == "CORNER STATIONERY SHOP"


def test_a_label_before_a_name_is_no_part_of_it() -> None:
    assert name(["Tax Invoice", "Sold by: Holloway Books Ltd", "14 Mill Lane"]) == "Holloway Books Ltd"


def test_a_registration_line_inside_an_address_is_skipped() -> None:
    lines = ["HOLLOWAY BOOKS LTD", "14 Mill Lane,", "VAT No: GB 412 3344 55", "Bristol BS1 4QD", "Tel: 0117 496 0202"]
    assert address(lines) == "14 Mill Lane, Bristol BS1 4QD"


def test_an_address_ends_with_its_postcode_but_for_the_region() -> None:
    lines = ["KEDAI BUKU SDN BHD", "12, JALAN BESAR,", "43200 CHERAS", "SELANGOR", "WELCOME TO OUR SHOP"]
    assert address(lines) == "12, JALAN BESAR, 43200 CHERAS, SELANGOR"


def test_a_street_written_as_one_word_begins_an_address() -> None:
    assert (
        address(["Bäckerei Vogel GmbH", "Lindenweg 5", "70174 Stuttgart", "Tel. 0711 496020"])
        == "Lindenweg 5, 70174 Stuttgart"
    )


def test_the_address_of_the_customer_is_not_the_issuers() -> None:
    lines = [
        "HOLLOWAY BOOKS LTD",
        "14 Mill Lane, Bristol BS1 4QD",
        "Bill to:",
        "Anna Marsh",
        "3 Elm Close",
        "York YO8 8DX",
    ]
    assert address(lines) == "14 Mill Lane, Bristol BS1 4QD"


@pytest.mark.parametrize(
    ("read", "meant"),
    [
        ("Taste Of The WorId", "Taste Of The World"),
        ("4750O Subang", "47500 Subang"),
        ("St0NE MALL", "St0NE MALL"),
        ("L0T 12", "LOT 12"),
        ("Ma11 Road", "Mall Road"),
        ("Edilizia S.r.I.", "Edilizia S.r.l."),
        ("Unit B12", "Unit B12"),
    ],
)
def test_letters_taken_for_digits_are_mended_where_the_neighbours_leave_no_doubt(read: str, meant: str) -> None:
    context = Context((page_of(["Kuala Lumpur, Malaysia", read], text_layer=False),))
    assert mend(read, context) == meant


def test_the_words_of_a_text_layer_are_left_as_they_are() -> None:
    context = Context((page_of(["Taste Of The WorId"], text_layer=True),))
    assert mend("Taste Of The WorId", context) == "Taste Of The WorId"


def test_a_name_goes_on_in_a_line_that_holds_only_its_suffix() -> None:
    lines = ["KELLY & SONS CHEMIST", "ENTERPRISE", "12 Mill Road", "Bristol BS1 4DJ", "Tel: 0117 496 0000"]
    assert name(lines) == "KELLY & SONS CHEMIST ENTERPRISE"
