"""A long PDF, made with ReportLab, through windows of pages."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from pydantic import BaseModel
from reportlab.pdfgen.canvas import Canvas

from docflow.documents.decoder import Decoder
from docflow.documents.sources import find
from docflow.engines.base import BEGINS, GOES_ON, Request, WantChoice
from docflow.engines.scripted import ScriptedEngine
from docflow.extraction import extract_document
from docflow.extraction.splitting import extract_parts
from docflow.fields import Money, Text
from docflow.program import program_for
from docflow.settings import DecodeLimits, ExtractionSettings

PAGES = 300
WINDOW = 10


class Entry(BaseModel):
    name: Text | None = None
    price: Money | None = None


class Ledger(BaseModel):
    owner: Text | None = None
    total: Money | None = None
    entries: list[Entry] = []


def _ledger(path: Path) -> Path:
    canvas = Canvas(str(path), pageCompression=0)
    for page in range(1, PAGES + 1):
        text = canvas.beginText(50, 800)
        text.textLine("Ledger of Acme Trading Ltd" if page == 1 else f"Sheet {page}")
        for line in range(20):
            text.textLine(f"Entry {page}-{line} {page}.{line:02d}")
        if page == PAGES:
            text.textLine("Grand total 98,765.43")
        canvas.drawText(text)
        canvas.showPage()
    canvas.save()
    return path


def _reply(request: Request) -> str | dict[str, object]:
    if isinstance(request.want, WantChoice):
        return BEGINS if request.pages[-1].number % WINDOW == 1 else GOES_ON
    numbers = [page.number for page in request.pages]
    return {
        "owner": "Acme Trading Ltd" if 1 in numbers else None,
        "total": "98,765.43" if PAGES in numbers else None,
        "entries": [{"name": f"Entry {n}-{line}", "price": f"{n}.{line:02d}"} for n in numbers for line in range(20)],
    }


def test_three_hundred_pages_go_through_windows_complete_and_in_flat_memory(tmp_path: Path) -> None:
    decoder = Decoder(DecodeLimits(), workers=1, pdf_dpi=72, max_side=1000)
    try:
        document = decoder.open(next(iter(find([_ledger(tmp_path / "ledger.pdf")], stdin=None))))
    finally:
        decoder.close()
    engine = ScriptedEngine(default=_reply)
    program = program_for(Ledger, "ledger")
    tracemalloc.start()
    try:
        result = extract_document(document, program, engine, ExtractionSettings(pages_per_call=WINDOW))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.status == "valid"
    assert result.record is not None
    assert result.record.owner == "Acme Trading Ltd"
    assert len(result.record.entries) == PAGES * 20
    assert [len(request.pages) for request in engine.requests] == [WINDOW] * (PAGES // WINDOW)
    places = {entry.path: entry.page for entry in result.evidence}
    assert places["total"] == PAGES
    assert places["entries[5999].name"] == PAGES
    assert places["entries[3000].price"] == 151
    assert all(entry.found == "exact" for entry in result.evidence)
    # 12,000 values with their evidence take about 20 MiB; nothing else is kept of the pages.
    assert peak < 40 * 2**20


def test_three_hundred_pages_are_split_in_flat_memory(tmp_path: Path) -> None:
    decoder = Decoder(DecodeLimits(), workers=1, pdf_dpi=72, max_side=1000)
    try:
        document = decoder.open(next(iter(find([_ledger(tmp_path / "ledgers.pdf")], stdin=None))))
    finally:
        decoder.close()
    engine = ScriptedEngine(default=_reply)
    tracemalloc.start()
    try:
        results = extract_parts(document, program_for(Ledger, "ledger"), engine, ExtractionSettings(split=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [(result.first_page, result.last_page) for result in results] == [
        (first, first + WINDOW - 1) for first in range(1, PAGES, WINDOW)
    ]
    assert sum(len(result.record.entries) for result in results if result.record) == PAGES * 20
    assert peak < 40 * 2**20
