"""The samples' maker: the same seed, the same documents; and the truth is what stands on the page."""

from __future__ import annotations

import io
import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
from jsonschema import Draft202012Validator
from maker.collection import FIRST, KINDS, STARTER, Order, drawn, make, orders, record
from maker.conditions import CONDITIONS
from maker.locales import LOCALES
from maker.sheet import FAMILIES, Sheet, Span
from PIL import Image, ImageOps

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
PICTURES = sorted(set(CONDITIONS) - {"text_pdf", "scanned_pdf", "mixed_pdf", "broken"})


@pytest.mark.parametrize("condition", sorted(CONDITIONS))
def test_the_same_seed_gives_the_same_bytes_and_the_same_truth(condition: str) -> None:
    order = Order("receipt", "ticket", "en_GB", condition, 1)
    first, second = make(order, 5, 1), make(order, 5, 1)
    assert first.content == second.content
    assert first.truth == second.truth


def test_another_seed_gives_another_document() -> None:
    order = Order("receipt", "till", "en_GB", "text_pdf", 3)
    assert make(order, 5, 1).truth["record"] != make(order, 6, 1).truth["record"]


def test_more_documents_never_change_the_first_ones() -> None:
    assert orders(3, 90, list(KINDS))[:60] == orders(3, 60, list(KINDS))


def test_every_condition_and_every_layout_of_the_built_in_kinds_is_among_the_first() -> None:
    assert {order.condition for order in FIRST} == set(CONDITIONS)
    for kind in ("receipt", "invoice", "form"):
        assert {order.layout for order in FIRST if order.kind == kind} == set(KINDS[kind].layouts)


def _one_of_each_layout() -> list[Order]:
    rng = random.Random("layouts")
    return [
        Order(kind, layout, rng.choice(made.locales), "text_pdf", rng.choice((1, 4, 30)))
        for kind, made in KINDS.items()
        for layout in made.layouts
        for _ in range(3)
    ]


@pytest.mark.parametrize("order", _one_of_each_layout(), ids=lambda order: f"{order.layout}-{order.locale}")
def test_each_box_of_a_text_layer_pdf_holds_a_piece_of_its_value(order: Order) -> None:
    sample = make(order, 11, 1)
    document = pypdfium2.PdfDocument(sample.content)
    values = _leaves(sample.truth["record"])
    assert sample.truth["boxes"].keys() <= values.keys()
    for path, pieces in sample.truth["boxes"].items():
        value = values[path]
        for page_number, x0, y0, x1, y1 in pieces:
            page = document[page_number - 1]
            text = page.get_textpage().get_text_bounded(x0, page.get_height() - y1, x1, page.get_height() - y0)
            assert text.strip(), path
            if isinstance(value, str) and not _is_typed(path):
                assert _letters(text) in _letters(value), path
    document.close()


def _leaves(node: Any, path: str = "") -> dict[str, Any]:
    if isinstance(node, dict):
        return {
            k: v for key, child in node.items() for k, v in _leaves(child, f"{path}.{key}" if path else key).items()
        }
    if isinstance(node, list):
        return {k: v for index, child in enumerate(node) for k, v in _leaves(child, f"{path}[{index}]").items()}
    return {path: node}


TYPED = ("date", "total", "amount", "tax", "price", "quantity", "currency", "start", "end", "_on", "pay", "rent")
TYPED_TOO = ("deposit", "deductions", "hours", "result", "date_of_birth")


def _is_typed(path: str) -> bool:
    """Whether a value stands in the truth in another form than on the page."""
    name = path.rsplit(".", 1)[-1]
    return any(part in name for part in TYPED + TYPED_TOO)


def _letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


@pytest.mark.parametrize("condition", PICTURES)
def test_boxes_follow_the_page_through_scanner_and_camera(condition: str) -> None:
    sheet = Sheet(220, 330, FAMILIES["sans"])
    for row, (x, y) in enumerate(((30, 60), (120, 60), (30, 290), (120, 290))):
        sheet.text(x, y, Span("HHHHHHH", f"mark{row}"), bold=True, size=14)
    delivery = CONDITIONS[condition](sheet, random.Random(condition))
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(delivery.content))).convert("L")
    pixels = np.asarray(image, dtype=np.float64)
    for pieces in sheet.pieces.values():
        _, x0, y0, x1, y1 = (round(value) for value in delivery.box(pieces[0]))
        height, width = y1 - y0, x1 - x0
        ink = pixels[y0:y1, x0:x1].mean()
        if width > height:
            around = (pixels[y0 - height : y0, x0:x1], pixels[y1 : y1 + height, x0:x1])
        else:  # the page lies on its side
            around = (pixels[y0:y1, x0 - width : x0], pixels[y0:y1, x1 : x1 + width])
        assert ink < min(part.mean() for part in around) - 25


def test_a_scanned_pdf_has_no_text_and_its_boxes_lie_on_the_page() -> None:
    sample = make(Order("invoice", "classic", "de_DE", "scanned_pdf", 3), 1, 1)
    document = pypdfium2.PdfDocument(sample.content)
    assert document[0].get_textpage().get_text_range() == ""
    width, height = document[0].get_size()
    for _, x0, y0, x1, y1 in sample.truth["boxes"]["amount"]:
        assert 0 < x0 < x1 < width
        assert 0 < y0 < y1 < height
    document.close()


def test_a_mixed_pdf_has_text_on_all_pages_but_the_last() -> None:
    sample = make(Order("invoice", "two_columns", "nl_NL", "mixed_pdf", 34), 1, 1)
    document = pypdfium2.PdfDocument(sample.content)
    lengths = [len(page.get_textpage().get_text_range()) for page in document]
    document.close()
    assert len(lengths) == 2
    assert lengths[0] > 100
    assert lengths[1] == 0


def test_a_table_goes_on_over_the_page_break() -> None:
    sample = make(Order("invoice", "letter", "fr_FR", "text_pdf", 44), 1, 1)
    pages = {pieces[0][0] for path, pieces in sample.truth["boxes"].items() if path.endswith(".description")}
    assert pages == {1, 2}
    assert len(sample.truth["record"]["items"]) == 44


def test_korean_text_can_be_taken_from_the_text_layer() -> None:
    sample = make(Order("invoice", "classic", "ko_KR", "text_pdf", 3), 1, 1)
    document = pypdfium2.PdfDocument(sample.content)
    text = document[0].get_textpage().get_text_range()
    document.close()
    assert _letters(sample.truth["record"]["issuer"]) in _letters(text)


def test_the_broken_document_cannot_be_decoded_and_its_truth_says_so() -> None:
    sample = make(Order("receipt", "till", "en_AU", "broken", 4), 1, 1)
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(sample.content)).load()
    assert sample.truth["status"] == "failed"
    assert sample.truth["record"] is None


@pytest.mark.parametrize("seed", range(12))
def test_the_sums_of_an_invoice_add_up(seed: int) -> None:
    order = Order("invoice", "classic", random.Random(seed).choice(KINDS["invoice"].locales), "text_pdf", 6)
    invoice = record(drawn(order, seed, 1), KINDS["invoice"])
    assert Decimal(invoice["amount_untaxed"]) + Decimal(invoice["tax"]) == Decimal(invoice["amount"])
    assert sum(Decimal(item["amount"]) for item in invoice["items"]) == Decimal(invoice["amount_untaxed"])


@pytest.mark.parametrize("locale", sorted(set(LOCALES) - {"ko_KR"}))
def test_no_texts_run_into_each_other_or_off_the_paper(locale: str) -> None:
    for kind in ("receipt", "invoice", "form"):
        for layout in KINDS[kind].layouts:
            assert drawn(Order(kind, layout, locale, "clean", 6), 4, 1).sheet.collisions() == []


@pytest.mark.parametrize("kind", [kind for kind, made in KINDS.items() if made.schema])
def test_the_schema_of_a_kind_names_what_its_documents_say(kind: str) -> None:
    made = KINDS[kind]
    assert made.schema is not None
    schema = json.loads((SAMPLES / "schemas" / made.schema).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == {*made.fields, *made.lists}
    for name, fields in made.lists.items():
        assert set(schema["properties"][name]["items"]["properties"]) == set(fields)
    order = Order(kind, next(iter(made.layouts)), "en_GB", "text_pdf", 4)
    values = record(drawn(order, 1, 1), made)
    for name, property_schema in schema["properties"].items():
        if "enum" in property_schema and values[name] is not None:
            assert values[name] in property_schema["enum"]


@pytest.mark.parametrize(
    ("folder", "seed", "wanted"), [("", 1, orders(1, 50, list(KINDS))), ("starter", 7, list(STARTER))]
)
def test_the_committed_samples_are_what_the_script_makes(folder: str, seed: int, wanted: list[Order]) -> None:
    truths = [json.loads(path.read_text(encoding="utf-8")) for path in (SAMPLES / folder / "truth").glob("*.json")]
    assert len(truths) == len(wanted)
    for truth in truths:
        assert (SAMPLES / folder / "documents" / truth["document"]).stat().st_size > 500
        number = int(Path(truth["document"]).stem.rsplit("-", 1)[1])
        order = wanted[number - 1]
        made = record(drawn(order, seed, number), KINDS[order.kind])
        assert truth["record"] == (None if order.condition == "broken" else made)
