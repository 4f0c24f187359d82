"""What the runs of these tests read: small PDFs with a text layer, and the engine that reads them.

The answer depends on the words of the page alone, so that every run must give the same rows. Among the papers are
copies, broken ones, ones without a number (an invalid row), and ones that the engine refuses until it is told better.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import sglang as sgl
from pydantic import BaseModel

from docflow.documents.model import Page
from docflow.engines.base import Answer, Health, Request, Usage
from docflow.errors import EngineRefused, EngineUnavailable
from docflow.fields.kinds import Date, Money, Party
from docflow.program import images, instructions, program, schema_of
from tests.unit.documents.made import pdf_page


class Ticket(BaseModel):
    number: str
    company: Party | None = None
    date: Date | None = None
    total: Money | None = None


@program(Ticket)
def ticket(s: Any, pages: Any) -> None:
    s += sgl.system(instructions(Ticket))
    s += sgl.user(images(pages) + "Read this ticket.")
    s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Ticket)))


def make(folder: Path, count: int) -> None:
    """Write ``count`` papers, in folders of a hundred."""
    content = b""
    for number in range(count):
        path = folder / f"{number // 100:02}" / f"{number:05}.pdf"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 25 != 24:  # else a copy of the one before
            content = paper(number)
        path.write_bytes(content)


def paper(number: int) -> bytes:
    if number % 40 == 17:
        return b"%PDF-1.7\n" + b"%d" % number  # cut off
    lines = [
        f"Number {'' if number % 75 == 30 else f'T-{number:05}'}",
        f"Company {'Refused' if number % 50 == 11 else 'Acme'} {number} Ltd",
        f"Date {number % 28 + 1:02}.03.2024",
        f"Total {number * 7 % 1000}.{number % 100:02}",
    ]
    shown = " ".join(f"({line}) Tj T*" for line in lines)
    return pdf_page(f"BT /F1 12 Tf 20 160 Td 18 TL {shown} ET".encode())


class TicketEngine:
    """Reads tickets by their words, ``seconds`` each.

    Fails once, in a way that may pass, when ``fail_next`` is set; answers nothing while ``open`` is not.
    """

    name = "scripted"
    model = "tickets"

    def __init__(self, seconds: float = 0.0, *, refuses: bool = True) -> None:
        self.fail_next = threading.Event()
        self.open = threading.Event()
        self.open.set()
        self._seconds, self._refuses = seconds, refuses

    def answer(self, request: Request) -> Answer:
        self.open.wait()
        time.sleep(self._seconds)
        if self.fail_next.is_set():
            self.fail_next.clear()
            raise EngineUnavailable("the engine is away for a moment", retryable=True)
        said = _said(request.pages[-1])
        company = said.get("Company", "")
        if self._refuses and company.startswith("Refused"):
            raise EngineRefused("the engine does not take this one")
        return Answer(
            json.dumps({name: said.get(name.title()) for name in Ticket.model_fields}),
            usage=Usage(calls=1),
            engine=self.name,
            model=self.model,
        )

    def health(self) -> Health:
        return Health(ok=True, model=self.model)

    def close(self) -> None:
        """Nothing to give back."""


def _said(page: Page) -> dict[str, str]:
    """What stands behind the first word of each line."""
    lines: dict[int, list[str]] = {}
    for word in page.words:
        lines.setdefault(round(word.box.y0 / 9), []).append(word.text)
    return {line[0]: " ".join(line[1:]) for line in lines.values() if len(line) > 1}
