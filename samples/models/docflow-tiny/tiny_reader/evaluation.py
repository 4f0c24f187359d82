"""Receipts that the model never saw, read by docflow's own receipt program on an engine, and what of it was right."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from docflow.programs.receipt import receipt as whole
from PIL import Image
from till import FIELDS as TILL_FIELDS
from till import till

from docflow.documents import Decoder, from_bytes
from docflow.engines import create_one
from docflow.engines.base import Limits
from docflow.engines.bridge import run_program
from docflow.engines.specs import EngineSpec
from docflow.errors import EngineError, EngineUnavailable
from tiny_reader import pages
from tiny_reader.glyphs import composed, in_another_font, off_grid
from tiny_reader.pages import FIELDS, ITEM_FIELDS, Receipt

COLUMNS = 16
MOST_GOODS = 4
HELD_OUT = "held out until the end"
LIMITS = Limits(max_tokens=700, timeout_seconds=600.0)
PROGRAMS = {"receipt": (whole, FIELDS), "till": (till, TILL_FIELDS)}
"""What is asked: a receipt's whole record, or the fields that are read well."""
Look = Literal["grid", "off-grid", "fonts"]
LOOKS: tuple[Look, ...] = get_args(Look)


@dataclass
class Score:
    """How many values were asked for and how many were right, by field; ``records`` counts whole records."""

    fields: Sequence[str] = FIELDS
    asked: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    records: int = 0
    right_records: int = 0
    cut_off: int = 0

    def add(self, truth: dict[str, Any], answered: object) -> None:
        values = answered if isinstance(answered, dict) else {}
        whole = True
        for name in self.fields:
            hit = values.get(name, ...) == truth[name]
            whole = whole and hit
            self._count(name, hit)
        items = values.get("items")
        items = items if isinstance(items, list) else []
        for place, item in enumerate(truth["items"] if "items" in self.fields else ()):
            found = items[place] if place < len(items) and isinstance(items[place], dict) else {}
            for name in ITEM_FIELDS:
                self._count(f"items.{name}", found.get(name, ...) == item[name])
        self.records += 1
        self.right_records += whole

    def _count(self, name: str, hit: bool) -> None:
        self.asked[name] = self.asked.get(name, 0) + 1
        self.right[name] = self.right.get(name, 0) + hit

    def as_dict(self) -> dict[str, Any]:
        """Shares, by field and of whole records."""
        shares = {name: round(self.right[name] / count, 3) for name, count in self.asked.items()}
        return {
            "records": self.records,
            "all fields right": round(self.right_records / max(1, self.records), 3),
            "answers cut off": self.cut_off,
            "fields": shares,
        }


def held_out(count: int, seed: str = HELD_OUT) -> Iterator[Receipt]:
    """The receipts of the evaluation: always the same, of a seed that training does not use."""
    rng = random.Random(seed)
    for _ in range(count):
        yield pages.receipt(rng, COLUMNS, rng.randint(1, MOST_GOODS))


def png(receipt: Receipt, look: Look = "grid") -> bytes:
    """A receipt as a document: as it was learned, or off the grid, or in another font."""
    rows, rng = list(receipt.rows), random.Random("/".join(receipt.rows))
    page: Image.Image
    if look == "off-grid":
        page = off_grid(rows, COLUMNS, rng)
    elif look == "fonts":
        page = in_another_font(rows, COLUMNS, rng)
    else:
        page = composed(rows, COLUMNS)
    stream = io.BytesIO()
    page.convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def evaluate(engine: str, count: int, asked: str = "receipt", look: Look = "grid", seed: str = HELD_OUT) -> Score:
    """Read receipts through an engine, as ``transformers=FOLDER``, ``vllm=URL`` or ``sglang=URL`` names it.

    Raises EngineUnavailable where nobody answers, ConfigError for a name that is none.
    """
    reader = create_one(EngineSpec.parse(engine))
    program, fields = PROGRAMS[asked]
    score = Score(fields)
    try:
        health = reader.health()
        if not health.ok:
            raise EngineUnavailable(f"{engine} cannot be used: {health.detail}", hint=health.hint)
        with Decoder() as decoder:
            for number, receipt in enumerate(held_out(count, seed)):
                document = decoder.open(from_bytes(png(receipt, look), name=f"receipt-{number}.png"))
                try:
                    answer = run_program(program, document.pages, reader, LIMITS).answer("record")
                    score.cut_off += answer.stop == "length"
                    answered = json.loads(answer.text)
                except (EngineError, ValueError):  # no answer, or one that is no JSON: every field is wrong
                    answered = None
                score.add(receipt.record, answered)
    finally:
        reader.close()
    return score
