"""Records that the embedded engine reads from the words of a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from docflow.programs.invoice import Invoice
from docflow.programs.receipt import Receipt

from docflow.documents.model import Page
from docflow.engines.base import Answer, Request, Turn, WantChoice, WantJson, WantText
from docflow.engines.embedded.engine import EmbeddedEngine
from docflow.program import record_schema
from tests.unit.pages import page_of

RECEIPT = record_schema(Receipt)
INVOICE = record_schema(Invoice)


def leaf(kind: str, **more: object) -> dict[str, object]:
    return {"type": ["string", "null"], "x-kind": kind, **more}


def schema(**leaves: Mapping[str, object]) -> dict[str, Any]:
    return {"type": "object", "properties": leaves, "required": list(leaves), "additionalProperties": False}


def ask(lines: Sequence[str] | Page, wanted: Mapping[str, Any], *turns: Turn, text_layer: bool = False) -> Answer:
    page = lines if isinstance(lines, Page) else page_of(lines, text_layer=text_layer)
    return EmbeddedEngine().answer(Request((Turn("user", (page, "Read it.")), *turns), WantJson(wanted)))


def read(lines: Sequence[str] | Page, wanted: Mapping[str, Any], **more: bool) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(ask(lines, wanted, **more).text)
    return record


SHOP = [
    "           HOLLOWAY BOOKS LTD",
    "          (Co. Reg. No. 812345-K)",
    "             14 Mill Lane",
    "          Bristol BS1 4QD",
    "         Tel: 0117 496 0202",
    "Receipt No: R-20417",
    "Date: 12/03/2024 14:55",
    "Notebook                     3.00",
    "Pencil                       4.50",
    "Subtotal                     7.50",
    "VAT 20%                      1.50",
    "Total                        9.00",
    "Cash                        20.00",
    "Change                      11.00",
    "Thank you, please come again",
]


def test_a_receipt_gives_its_name_address_day_and_total_as_printed() -> None:
    record = read(SHOP, RECEIPT)
    assert record["company"] == "HOLLOWAY BOOKS LTD"
    assert record["address"] == "14 Mill Lane, Bristol BS1 4QD"
    assert record["date"] == "12/03/2024"
    assert (record["subtotal"], record["tax"], record["total"]) == ("7.50", "1.50", "9.00")
    assert record["receipt_number"] == "R-20417"
    assert record["payment_method"] == "Cash"


def test_every_value_says_where_it_was_read_and_how_sure_it_is() -> None:
    answer = ask(SHOP, RECEIPT)
    for path in ("company", "address", "date", "total"):
        hint = answer.hints[path]
        assert hint.pieces
        assert hint.confidence is not None
        assert 0.5 < hint.confidence < 1
        assert hint.reason is None
    (total,) = answer.hints["total"].pieces
    assert total.page == 1
    assert total.box.y0 == 20 * SHOP.index("Total                        9.00")
    assert len(answer.hints["address"].pieces) == 2


def test_a_label_glued_to_its_value_is_no_part_of_the_box() -> None:
    (piece,) = ask(["Corner Shop", "Date:12/03/2024"], schema(date=leaf("date"))).hints["date"].pieces
    assert piece.box.x0 == pytest.approx(50)


def test_what_was_paid_less_the_change_tells_the_total_among_totals() -> None:
    lines = [
        "Total 6% supplies       40.00",
        "Total 0% supplies       12.00",
        "Amount          52.00",
        "Cash   60.00",
        "Change   8.00",
    ]
    assert read(lines, schema(total=leaf("money")))["total"] == "52.00"


def test_the_rounded_total_is_what_is_paid() -> None:
    lines = ["Total               10.02", "Rounding            -0.02", "Total rounded       10.00", "Cash     10.00"]
    assert read(lines, schema(total=leaf("money")))["total"] == "10.00"


def test_the_sums_of_a_tax_table_are_not_the_total() -> None:
    lines = [
        "Bread            4.24",
        "Total           4.24",
        "GST Summary      Amount      Tax",
        "SR 6%            4.00        0.24",
        "Total            4.00        0.24",
    ]
    record = read(lines, schema(total=leaf("money"), tax=leaf("money")))
    assert record == {"total": "4.24", "tax": "0.24"}


@pytest.mark.parametrize(
    ("lines", "total"),
    [
        (["Zwischensumme     12,00", "MwSt 19%      2,28", "Gesamtbetrag    14,28 EUR"], "14,28 EUR"),
        (["Sous-total HT     10,00 €", "TVA      2,00 €", "Net à payer    12,00 €"], "12,00 €"),
        (["Subtotaal      10,00", "BTW 21%      2,10", "Te betalen      12,10"], "12,10"),
        (["공급가액      10,000", "부가세      1,000", "합계금액      11,000원"], "11,000원"),
    ],
)
def test_totals_in_other_languages(lines: list[str], total: str) -> None:
    assert read(lines, schema(total=leaf("money")))["total"] == total


def test_the_day_of_an_invoice_is_not_the_day_it_is_due() -> None:
    lines = ["Payment due: 01/04/2024", "Invoice date: 02/03/2024", "Order date: 28/02/2024"]
    record = read(lines, schema(date=leaf("date"), due_date=leaf("date"), order_date=leaf("date")))
    assert record == {"date": "02/03/2024", "due_date": "01/04/2024", "order_date": "28/02/2024"}


def test_a_period_has_a_first_and_a_last_day() -> None:
    record = read(
        ["Pay period: 01/02/2024 - 15/02/2024", "Pay date: 20/02/2024"],
        schema(period_start=leaf("date"), period_end=leaf("date"), pay_date=leaf("date")),
    )
    assert record == {"period_start": "01/02/2024", "period_end": "15/02/2024", "pay_date": "20/02/2024"}


INVOICE_LINES = [
    "Brightwater Tools Ltd                        INVOICE",
    "8 Dock Road, Hull HU1 3TE",
    "Tel: 01482 496 011                VAT No: GB 412 3344 55",
    "",
    "Bill to:                          Invoice No.   Date          Due date",
    "Anna Marsh                        BW-5521       02/03/2024    01/04/2024",
    "3 Elm Close",
    "York YO8 8DX",
    "",
    "Net total                         100.00",
    "VAT                               20.00",
    "Total due                         GBP 120.00",
    "IBAN: GB29 NWBK 6016 1331 9268 19",
]


def test_an_invoice_tells_issuer_from_customer_and_reads_values_under_their_labels() -> None:
    record = read(INVOICE_LINES, INVOICE, text_layer=True)
    assert record["issuer"] == "Brightwater Tools Ltd"
    assert record["customer"] == "Anna Marsh"
    assert record["invoice_number"] == "BW-5521"
    assert (record["date"], record["due_date"]) == ("02/03/2024", "01/04/2024")
    assert (record["amount_untaxed"], record["tax"], record["amount"]) == ("100.00", "20.00", "GBP 120.00")
    assert record["iban"] == "GB29 NWBK 6016 1331 9268 19"
    assert record["currency"] == "GBP"


def test_an_iban_whose_check_digits_are_wrong_is_none_without_a_label() -> None:
    wanted = schema(iban=leaf("identifier"))
    assert read(["Pay to GB29 NWBK 6016 1331 9268 19"], wanted)["iban"] == "GB29 NWBK 6016 1331 9268 19"
    assert read(["Pay to GB29 NWBK 6016 1331 9268 18"], wanted)["iban"] is None


def test_a_schema_never_seen_is_answered_by_the_words_of_its_fields() -> None:
    lines = [
        "Meadow Vale Stables",
        "Horse name:  Juniper        Passport no.:  826 004 1177",
        "Stable      Daily feed      Farrier visit",
        "B12         6.5 kg          14/05/2024",
        "Vaccinated     Yes",
        "Livery per week     GBP 145.00",
        "Insured      No",
    ]
    wanted = schema(
        horse_name=leaf("text"),
        passport_number=leaf("identifier"),
        stable=leaf("identifier"),
        daily_feed=leaf("quantity"),
        farrier_visit=leaf("date"),
        vaccinated={"type": ["boolean", "null"], "x-kind": "boolean"},
        weekly_livery=leaf("money", **{"x-labels": ["Livery per week"]}),
        insured={"type": ["boolean", "null"], "x-kind": "boolean"},
    )
    assert read(lines, wanted, text_layer=True) == {
        "horse_name": "Juniper",
        "passport_number": "826 004 1177",
        "stable": "B12",
        "daily_feed": "6.5",
        "farrier_visit": "14/05/2024",
        "vaccinated": True,
        "weekly_livery": "GBP 145.00",
        "insured": False,
    }


def test_a_sentence_can_answer_a_question_of_yes_or_no() -> None:
    wanted = schema(pets_allowed={"type": ["boolean", "null"], "x-kind": "boolean"})
    assert read(["6. Pets", "Pets are not allowed in the house."], wanted)["pets_allowed"] is False
    assert read(["6. Pets", "Pets are allowed in the garden."], wanted)["pets_allowed"] is True
    assert read(["6. Rent", "The rent is due on Monday."], wanted)["pets_allowed"] is None


def test_a_choice_is_given_as_the_schema_writes_it() -> None:
    wanted = schema(status={"enum": ["single", "married", None], "x-kind": "choice"})
    assert read(["Status:  MARRIED"], wanted)["status"] == "married"


def test_a_nested_group_is_filled_in_its_place() -> None:
    wanted = schema(
        meter={"type": "object", "properties": {"serial_number": leaf("identifier")}, "required": ["serial_number"]}
    )
    assert read(["Meter serial number:  KX-2210"], wanted) == {"meter": {"serial_number": "KX-2210"}}


def test_a_page_that_says_nothing_of_a_field_gives_null_and_the_reason() -> None:
    answer = ask(["Nothing of interest stands here"], RECEIPT)
    record = json.loads(answer.text)
    assert {value for value in record.values() if value != []} <= {None, "Nothing of interest stands here"}
    assert record["total"] is None
    assert answer.hints["total"].reason == "absent"


def test_a_page_that_could_not_be_read_is_no_page_without_the_field() -> None:
    page = page_of(["x"], text_layer=False)
    page.legibility = 0.1
    assert ask(page, RECEIPT).hints["total"].reason == "unreadable"


def test_a_blank_page_gives_a_whole_record_of_nulls() -> None:
    record = read([], RECEIPT)
    assert set(record) == set(RECEIPT["properties"])
    assert all(value in (None, []) for value in record.values())


def test_a_companys_suffix_is_no_currency_though_it_ends_in_the_code_of_one() -> None:
    lines = ["PERNIAGAAN JAYA SDN BHD", "12 Jalan Ampang", "50450 Kuala Lumpur", "Total      9.00"]
    assert read(lines, schema(currency=leaf("currency")))["currency"] is None
    assert read([*lines, "Cash  RM 9.00"], schema(currency=leaf("currency")))["currency"] == "RM"


def test_no_currency_is_answered_where_none_is_printed() -> None:
    assert read(["Total      9.00"], schema(currency=leaf("currency")))["currency"] is None
    assert read(["Total      RM 9.00"], schema(currency=leaf("currency")))["currency"] == "RM"


def repair(lines: Sequence[str], wanted: Mapping[str, Any], *answers: Mapping[str, Any]) -> dict[str, Any]:
    turns: list[Turn] = []
    for answer in answers:
        turns.append(Turn("assistant", (json.dumps(answer),)))
        turns.append(Turn("user", ("These fields failed.",)))
    record: dict[str, Any] = json.loads(ask(lines, wanted, *turns).text)
    return record


def test_a_repair_gives_the_next_best_value_and_never_a_rejected_one() -> None:
    lines = ["Harbour Cafe", "Invoice date: 30/03/2024", "Printed: 31/03/2024", "Date: 01/04/2024"]
    wanted = schema(date=leaf("date"))
    first = read(lines, wanted)["date"]
    second = repair(lines, wanted, {"date": first})["date"]
    assert second is not None
    assert second != first
    third = repair(lines, wanted, {"date": first}, {"date": second})["date"]
    assert third not in (first, second)


def test_a_repair_without_another_candidate_gives_null() -> None:
    assert repair(["Total      9.00"], schema(total=leaf("money")), {"total": "9.00"}) == {"total": None}


def test_an_answer_that_nobody_judged_is_not_rejected() -> None:
    turn = Turn("assistant", (json.dumps({"total": "9.00"}),))
    answer = ask(["Total      9.00"], schema(total=leaf("money")), turn)
    assert json.loads(answer.text) == {"total": "9.00"}


def test_free_text_is_the_page_with_its_columns_kept_together() -> None:
    page = page_of(["Ann Lee               Invoice 12", "1 High Street         3 May 2024"])
    answer = EmbeddedEngine().answer(Request((Turn("user", (page,)),), WantText()))
    assert answer.text == "Ann Lee\n1 High Street\n\nInvoice 12\n3 May 2024"


def test_a_choice_of_kinds_comes_with_probabilities() -> None:
    page = page_of(SHOP)
    answer = EmbeddedEngine().answer(Request((Turn("user", (page,)),), WantChoice(("receipt", "invoice", "form"))))
    assert answer.text == "receipt"
    assert sum(answer.choice_probs.values()) == pytest.approx(1)


def test_one_engine_answers_several_threads_alike() -> None:
    engine = EmbeddedEngine()
    pages = [
        page_of([*SHOP[:11], f"Total                        {number}.00"], text_layer=False) for number in range(1, 9)
    ]

    def total(page: Page) -> str:
        answer = engine.answer(Request((Turn("user", (page,)),), WantJson(RECEIPT)))
        return str(json.loads(answer.text)["total"])

    with ThreadPoolExecutor(4) as pool:
        totals = list(pool.map(total, pages * 3))
    assert totals == [f"{number}.00" for number in range(1, 9)] * 3
    assert engine.health().ok
    engine.close()


def test_a_repair_knows_a_rejected_name_although_its_letters_were_mended() -> None:
    lines = ["HoIloway Books Ltd", "Mill Lane Trading Ltd", "14 Mill Lane", "Bristol BS1 4QD"]
    wanted = schema(company=leaf("party"))
    first = read(lines, wanted)["company"]
    assert first == "Holloway Books Ltd"
    assert repair(lines, wanted, {"company": first})["company"] != first


def test_misread_letters_lower_the_confidence() -> None:
    page = page_of(SHOP, text_layer=False)
    doubtful = page_of(SHOP, text_layer=False)
    worse = tuple(replace(word, score=0.6) for word in doubtful.reader(doubtful))
    doubtful.reader = lambda _: worse
    sure, unsure = (ask(one, RECEIPT).hints["company"].confidence or 0.0 for one in (page, doubtful))
    assert unsure < 0.7 * sure


@pytest.mark.parametrize("label", ["Uw BTW nummer", "Your VAT number", "Ihre USt-IdNr.", "Customer VAT no"])
def test_a_vat_number_that_is_the_customers_is_not_the_issuers(label: str) -> None:
    lines = ["Northwind Ltd", "Invoice 4711", "Date: 12/03/2024", f"{label}: NL810433941B01", "Total    9.00"]
    assert read(lines, INVOICE)["vat"] is None
    assert read([*lines, "VAT no: GB980780684"], INVOICE)["vat"] == "GB980780684"
