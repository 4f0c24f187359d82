"""Receipts that the model never saw, read by docflow's own receipt program on an engine, and what of it was right."""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from docflow.programs.receipt import receipt as whole
from PIL import Image
from till import FIELDS as TILL_FIELDS
from till import till

from docflow.documents import Decoder, Document, from_bytes
from docflow.engines import create_one
from docflow.engines.base import Answer, Engine, Limits
from docflow.engines.bridge import run_program
from docflow.engines.specs import EngineSpec
from docflow.errors import EngineError, EngineUnavailable
from tiny_reader import pages
from tiny_reader.glyphs import composed, in_another_font, off_grid
from tiny_reader.pages import FIELDS, ITEM_FIELDS, Receipt

COLUMNS = 16
MOST_GOODS = 4
HELD_OUT = "held out until the end, again"
LIMITS = Limits(max_tokens=700, timeout_seconds=600.0)
PROGRAMS = {"receipt": (whole, FIELDS), "till": (till, TILL_FIELDS)}
"""What is asked: a receipt's whole record, or the fields that are read well."""
Look = Literal["grid", "off-grid", "fonts"]
LOOKS: tuple[Look, ...] = get_args(Look)


@dataclass(frozen=True)
class Reading:
    """What an engine answered to a receipt (None: nothing), and after how long."""

    receipt: Receipt
    answer: Answer | None
    seconds: float

    @property
    def values(self) -> dict[str, Any]:
        """The answer's; none where it is no record."""
        try:
            found = json.loads(self.answer.text) if self.answer else None
        except ValueError:
            found = None
        return found if isinstance(found, dict) else {}

    def leaves(self) -> Iterator[tuple[bool, float]]:
        """Of every value that was answered, those of the goods too, whether it is right, and how sure the model was."""
        truth = dict(_flat(self.receipt.record))
        for path, value in _flat(self.values):
            hint = self.answer.hints.get(path) if self.answer else None
            if hint is not None and hint.confidence is not None:
                yield truth.get(path, ...) == value, hint.confidence


def _flat(record: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """The values of a record by their paths, as engines name them."""
    for name, value in record.items():
        if not isinstance(value, list):
            yield name, value
            continue
        for place, item in enumerate(value):
            found = item.items() if isinstance(item, dict) else ()
            yield from ((f"{name}[{place}].{key}", inner) for key, inner in found)


@dataclass
class Score:
    """How many values were asked for and how many were right, by field; ``records`` counts whole records."""

    fields: Sequence[str] = FIELDS
    asked: dict[str, int] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    records: int = 0
    right_records: int = 0
    cut_off: int = 0

    def add(self, truth: dict[str, Any], values: dict[str, Any]) -> None:
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


def read(
    engine: Engine, receipts: Iterable[Receipt], asked: str = "receipt", look: Look = "grid", *, at_once: int = 1
) -> Iterator[Reading]:
    """Receipts through an engine, in their order, so many at a time."""
    program, _ = PROGRAMS[asked]

    def one(given: tuple[Receipt, Document]) -> Reading:
        receipt, document = given
        began = time.perf_counter()
        try:
            answer = run_program(program, document.pages, engine, LIMITS).answer("record")
        except EngineError:
            answer = None
        return Reading(receipt, answer, time.perf_counter() - began)

    with Decoder(workers=1) as decoder, ThreadPoolExecutor(at_once) as threads:
        documents = [
            (receipt, decoder.open(from_bytes(png(receipt, look), name="receipt.png"))) for receipt in receipts
        ]
        yield from threads.map(one, documents)


def evaluate(engine: str, count: int, asked: str = "receipt", look: Look = "grid", seed: str = HELD_OUT) -> Score:
    """Read receipts through an engine, as ``transformers=FOLDER``, ``vllm=URL`` or ``sglang=URL`` names it.

    Raises EngineUnavailable where nobody answers, ConfigError for a name that is none.
    """
    reader = create_one(EngineSpec.parse(engine))
    _, fields = PROGRAMS[asked]
    score = Score(fields)
    try:
        health = reader.health()
        if not health.ok:
            raise EngineUnavailable(f"{engine} cannot be used: {health.detail}", hint=health.hint)
        for reading in read(reader, held_out(count, seed), asked, look):
            score.cut_off += reading.answer is not None and reading.answer.stop == "length"
            score.add(reading.receipt.record, reading.values)
    finally:
        reader.close()
    return score
