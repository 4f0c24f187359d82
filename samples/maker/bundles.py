"""Several documents in one file, as a batch of scans or a saved pile of mail has them."""

from __future__ import annotations

import copy
import io
import random
import re
from dataclasses import dataclass

import pypdfium2
from PIL import Image
from reportlab.pdfgen import canvas

from maker.collection import KINDS, Order, drawn
from maker.conditions import CONDITIONS
from maker.locales import LOCALES
from maker.sheet import Placed, Sheet

_A4 = (595.0, 842.0)
_KINDS = ("receipt", "receipt", "receipt", "invoice", "invoice", "invoice", "form", "payslip", "lab_report", "lease")
_LINES = (3, 5, 7, 9, 28, 32, 36, 40, 46, 66, 74)
"""Of invoices: from 26 on they take two pages, from 60 on three."""
_AMOUNT = re.compile(r"\d[\d.,' ]*[.,]\d\d$")


@dataclass(frozen=True)
class Bundle:
    """A file, and the first and last page of each document in it; blank pages between documents are of none."""

    name: str
    content: bytes
    parts: tuple[tuple[int, int], ...]
    kinds: tuple[str, ...]
    scanned: bool


def bundle(seed: int, number: int, *, scanned: bool | None = None) -> Bundle:
    """Two to six documents of mixed kinds; the same seed and number give the same bundle.

    One in three holds two invoices in a row of one company, on its paper and to the same customer. Half of the
    documents of several pages have no page numbers. ``scanned`` pages have no text of their own; by default three in
    ten bundles are.
    """
    rng = random.Random(f"bundle/{seed}/{number}")
    sheets: list[tuple[str, Sheet]] = []
    home = rng.choice(sorted(LOCALES))
    wanted = rng.randrange(2, 7)
    twins = rng.random() < 0.33
    while len(sheets) < wanted:
        kind = "invoice" if twins and not sheets else rng.choice(_KINDS)
        sheet = _sheet(rng, kind, home, seed * 1000 + number * 10 + len(sheets))
        sheets.append((kind, sheet))
        if kind == "invoice" and twins and len(sheets) < wanted:
            sheets.append((kind, _sequel(rng, sheet)))
            twins = False
    if rng.random() < 0.7:  # kept in pairs otherwise, the one after the other
        rng.shuffle(sheets)
    if scanned is None:
        scanned = rng.random() < 0.3
    same_paper = rng.random() < 0.5
    backs = rng.random() < 0.15
    pages: list[pypdfium2.PdfDocument] = []
    parts = []
    at = 1
    for _, sheet in sheets:
        if same_paper:
            sheet.width, sheet.height = max(sheet.width, _A4[0]), max(sheet.height, _A4[1])
        content = CONDITIONS["scanned_pdf" if scanned else "text_pdf"](sheet, rng).content
        pages.append(pypdfium2.PdfDocument(content))
        parts.append((at, at + sheet.page - 1))
        at += sheet.page
        if backs:
            pages.append(pypdfium2.PdfDocument(_blank(sheet)))
            at += 1
    merged = pypdfium2.PdfDocument.new()
    for document in pages:
        merged.import_pages(document)
    kinds = tuple(kind for kind, _ in sheets)
    if scanned and rng.random() < 0.4:
        return Bundle(f"bundle-{number:03}.tiff", _tiff(merged), tuple(parts), kinds, scanned)
    out = io.BytesIO()
    merged.save(out)
    return Bundle(f"bundle-{number:03}.pdf", out.getvalue(), tuple(parts), kinds, scanned)


def _sheet(rng: random.Random, kind: str, home: str, number: int) -> Sheet:
    made = KINDS[kind]
    locale = home if home in made.locales and rng.random() < 0.7 else rng.choice(made.locales)
    count = rng.choice(_LINES) if kind == "invoice" else rng.randrange(2, 8)
    layout = rng.choice(sorted(made.layouts))
    sheet = drawn(Order(kind, layout, locale, "text_pdf", count), rng.randrange(10**6), number).sheet
    if sheet.page > 1 and rng.random() < 0.5:
        sheet.texts = [text for text in sheet.texts if text.y != sheet.height - 22]
    return sheet


def _sequel(rng: random.Random, sheet: Sheet) -> Sheet:
    """The next invoice of the same company: another number and other amounts, and now and then another day."""
    other = copy.deepcopy(sheet)
    printed = str(sheet.values["invoice_number"])
    new = _other_digits(rng, printed, 3)

    def changed(placed: Placed) -> Placed:
        text = placed.text
        if printed in text:
            text = text.replace(printed, new)
        elif _AMOUNT.search(text):
            text = _other_digits(rng, text, 4)
        return placed._replace(text=text)

    other.texts = [changed(placed) for placed in sheet.texts]
    return other


def _other_digits(rng: random.Random, text: str, most: int) -> str:
    """The text with its last digits (at most so many) drawn anew, at least one of them another."""
    places = [place for place, letter in enumerate(text) if letter.isdigit()][-most:]
    letters = list(text)
    for place in places:
        letters[place] = str((int(letters[place]) + rng.randrange(1, 10)) % 10)
    return "".join(letters)


def _blank(sheet: Sheet) -> bytes:
    """The empty back of a page."""
    out = io.BytesIO()
    pdf = canvas.Canvas(out, pagesize=(sheet.width, sheet.height), invariant=1)
    pdf.showPage()
    pdf.save()
    return out.getvalue()


def _tiff(merged: pypdfium2.PdfDocument) -> bytes:
    frames: list[Image.Image] = [page.render(scale=2.1).to_pil().convert("L") for page in merged]
    out = io.BytesIO()
    frames[0].save(out, "TIFF", compression="jpeg", save_all=True, append_images=frames[1:], dpi=(150, 150))
    return out.getvalue()
