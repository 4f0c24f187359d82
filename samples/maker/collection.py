"""Which documents a collection holds, and each document with its truth."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maker import forms, invoices, lab_reports, leases, payslips, receipts
from maker.conditions import CONDITIONS, Delivery
from maker.draft import Draft
from maker.locales import LOCALES, Locale
from maker.sheet import Piece

Layout = Callable[[random.Random, Locale, int], Draft]


@dataclass(frozen=True)
class Kind:
    """A kind of document: its layouts, its record's fields, and the countries it comes from."""

    layouts: Mapping[str, Layout]
    fields: tuple[str, ...]
    lists: Mapping[str, tuple[str, ...]]  # fields that are lists of objects, with the fields of their objects
    locales: tuple[str, ...]
    schema: str | None = None


_WESTERN = tuple(code for code in LOCALES if code != "ko_KR")
_ENGLISH = tuple(code for code in LOCALES if code.startswith("en"))

KINDS = {
    "receipt": Kind(receipts.LAYOUTS, receipts.FIELDS, {"items": receipts.ITEM_FIELDS}, _WESTERN + _ENGLISH),
    "invoice": Kind(invoices.LAYOUTS, invoices.FIELDS, {"items": invoices.ITEM_FIELDS}, _WESTERN),
    "form": Kind(forms.LAYOUTS, ("title",), {"fields": ("label", "value")}, _WESTERN + _ENGLISH),
    "payslip": Kind(
        payslips.PAYSLIPS, payslips.PAYSLIP_FIELDS, payslips.PAYSLIP_ITEMS, _ENGLISH, "payslip.schema.json"
    ),
    "lab_report": Kind(
        lab_reports.LAB_REPORTS, lab_reports.LAB_FIELDS, lab_reports.LAB_ITEMS, _ENGLISH, "lab_report.schema.json"
    ),
    "lease": Kind(leases.LEASES, leases.LEASE_FIELDS, {}, _ENGLISH, "lease.schema.json"),
}


@dataclass(frozen=True)
class Order:
    """One document to be made."""

    kind: str
    layout: str
    locale: str
    condition: str
    count: int  # lines of goods or results


# What every collection begins with: each condition and each layout at least once.
FIRST = (
    Order("receipt", "till", "en_MY", "scanned", 5),
    Order("invoice", "classic", "de_DE", "text_pdf", 4),
    Order("form", "lines", "en_GB", "clean", 0),
    Order("receipt", "till", "de_DE", "photographed", 6),
    Order("invoice", "letter", "en_US", "clean", 5),
    Order("form", "boxes", "de_DE", "scanned", 0),
    Order("receipt", "cash_bill", "en_SG", "clean", 4),
    Order("invoice", "letter", "fr_FR", "text_pdf", 44),
    Order("form", "grid", "fr_FR", "text_pdf", 0),
    Order("receipt", "ticket", "en_GB", "photographed", 1),
    Order("invoice", "band", "it_IT", "scanned", 4),
    Order("invoice", "classic", "ko_KR", "text_pdf", 4),
    Order("payslip", "payslip_halves", "en_GB", "text_pdf", 0),
    Order("lab_report", "lab_columns", "en_SG", "scanned", 4),
    Order("lease", "lease_terms", "en_US", "clean", 0),
    Order("receipt", "till", "fr_FR", "exif_turned", 5),
    Order("invoice", "statement", "en_GB", "scanned_pdf", 3),
    Order("form", "columns", "es_ES", "scanned_pdf", 0),
    Order("receipt", "restaurant", "de_AT", "photographed", 4),
    Order("invoice", "two_columns", "nl_NL", "mixed_pdf", 34),
    Order("receipt", "till", "es_ES", "gif", 4),
    Order("receipt", "emailed", "en_US", "text_pdf", 3),
    Order("payslip", "payslip_list", "en_US", "scanned", 0),
    Order("lab_report", "lab_cells", "en_AU", "text_pdf", 5),
    Order("lease", "lease_clauses", "en_GB", "scanned_pdf", 0),
    Order("receipt", "till", "en_US", "bmp", 5),
    Order("invoice", "letter", "de_AT", "frames_tiff", 36),
    Order("receipt", "cash_bill", "en_IN", "cmyk_jpeg", 5),
    Order("receipt", "till", "it_IT", "webp", 4),
    Order("receipt", "till", "en_AU", "broken", 4),
    Order("form", "boxes", "ko_KR", "text_pdf", 0),
    Order("invoice", "band", "de_CH", "photographed", 3),
    Order("receipt", "till", "pt_BR", "scanned", 4),
    Order("receipt", "till", "nl_NL", "sideways", 4),
)

# What comes with the package: small, one of each kind and condition that matters.
STARTER = (
    Order("receipt", "till", "en_MY", "scanned", 4),
    Order("receipt", "restaurant", "en_GB", "photographed", 3),
    Order("receipt", "till", "de_DE", "clean", 5),
    Order("invoice", "classic", "fr_FR", "text_pdf", 3),
    Order("invoice", "two_columns", "en_US", "text_pdf", 30),
    Order("invoice", "band", "de_DE", "scanned", 3),
    Order("form", "boxes", "en_GB", "clean", 0),
)

_USUAL = (
    "clean",
    "clean",
    "scanned",
    "scanned",
    "scanned",
    "photographed",
    "photographed",
    "text_pdf",
    "text_pdf",
    "scanned_pdf",
)
_COUNTS = (1, 2, 3, 3, 4, 4, 5, 6, 7, 9)


def orders(seed: int, count: int, kinds: Sequence[str], *, fresh: bool = False) -> list[Order]:
    """The documents of a collection; more of them never changes the first ones.

    ``fresh`` leaves out what every collection begins with: layouts, countries and conditions as they fall.
    """
    out = [] if fresh else [order for order in FIRST if order.kind in kinds][:count]
    rng = random.Random(f"orders/{seed}/{','.join(kinds)}")
    decks: dict[str, list[str]] = {}

    def draw(name: str, cards: Sequence[str]) -> str:
        """Cards come up equally often, as from a deck that is shuffled anew when it is used up."""
        if not decks.get(name):
            decks[name] = rng.sample(list(cards), len(cards))
        return decks[name].pop()

    while len(out) < count:
        kind = draw("kind", list(kinds))
        made = KINDS[kind]
        condition = draw(f"{kind}/condition", _USUAL)
        if kind == "receipt" and condition == "text_pdf" and rng.random() < 0.5:
            condition = "photographed"  # tills print on paper
        lines = rng.choice(_COUNTS)
        if kind == "invoice" and condition in ("text_pdf", "scanned_pdf") and rng.random() < 0.15:
            lines = rng.randrange(26, 50)
        out.append(
            Order(
                kind, draw(f"{kind}/layout", list(made.layouts)), draw(f"{kind}/locale", made.locales), condition, lines
            )
        )
    return out


@dataclass(frozen=True)
class Sample:
    """A finished document: its file name, its bytes, its truth."""

    name: str
    content: bytes
    truth: dict[str, Any]


def make(order: Order, seed: int, number: int) -> Sample:
    """The document of an order; the same seed and number give the same one."""
    made = KINDS[order.kind]
    draft = drawn(order, seed, number)
    rng = random.Random(f"{seed}/{number}/{order.condition}")
    delivery = CONDITIONS[order.condition](draft.sheet, rng)
    stem = f"{order.kind}-{number:03}"
    truth: dict[str, Any] = {
        "document": f"{stem}.{delivery.suffix}",
        "program": order.kind,
        "schema": made.schema,
        "status": "valid",
        "locale": order.locale,
        "layout": order.layout,
        "condition": order.condition,
        "unit": delivery.unit,
        "record": record(draft, made),
        "boxes": boxes(draft.sheet.pieces, delivery),
        "repeats": boxes(draft.sheet.repeats, delivery),
    }
    if order.condition == "broken":
        truth |= {"status": "failed", "record": None, "boxes": {}, "repeats": {}}
    return Sample(truth["document"], delivery.content, truth)


def drawn(order: Order, seed: int, number: int) -> Draft:
    """The sheet of an order: the first try on which no texts run into each other."""
    for attempt in range(20):
        rng = random.Random(f"{seed}/{number}/{attempt}/{order.kind}/{order.layout}/{order.locale}")
        draft = KINDS[order.kind].layouts[order.layout](rng, LOCALES[order.locale], order.count)
        if not draft.sheet.collisions():
            return draft
    raise RuntimeError(f"{order} does not fit its paper")


def record(draft: Draft, kind: Kind) -> dict[str, Any]:
    """What the document says, field by field; what it does not print is null."""
    values = draft.sheet.values
    out: dict[str, Any] = {name: values.get(name) for name in kind.fields}
    for name, fields in kind.lists.items():
        indices = [int(found[1]) for path in values if (found := re.match(rf"{name}\[(\d+)\]", path))]
        out[name] = [
            {field: values.get(f"{name}[{index}].{field}") for field in fields}
            for index in range(max(indices, default=-1) + 1)
        ]
    return out


def boxes(pieces: Mapping[str, Sequence[Piece]], delivery: Delivery) -> dict[str, list[list[float]]]:
    """For each printed path its pieces as [page, x0, y0, x1, y1]."""
    if not delivery.matrices:
        return {}
    return {path: [delivery.box(piece) for piece in places] for path, places in pieces.items()}


def write(folder: Path, seed: int, wanted: Sequence[Order]) -> list[Path]:
    """Make documents: ``documents/`` and ``truth/`` in ``folder``. The documents' paths come back."""
    (folder / "documents").mkdir(parents=True, exist_ok=True)
    (folder / "truth").mkdir(exist_ok=True)
    paths = []
    for number, order in enumerate(wanted, start=1):
        sample = make(order, seed, number)
        path = folder / "documents" / sample.name
        path.write_bytes(sample.content)
        text = json.dumps(sample.truth, ensure_ascii=False, indent=1)
        (folder / "truth" / f"{path.stem}.json").write_text(text + "\n", encoding="utf-8")
        paths.append(path)
    return paths
