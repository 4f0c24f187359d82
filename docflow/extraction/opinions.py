"""Second opinions: what one reading is unsure of is read once more, and two readings are weighed against each other.

``verify`` asks the same engine again, in another framing. ``ask_better`` asks another engine what a cheap one is unsure
of. Two readings that agree are surer than each alone; of two that differ the one stands that the page bears out, and
counts less; where nothing tells which, the leaf is null with the reason ``conflict``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from typing import Any

from docflow.documents.model import Page
from docflow.engines.base import Answer, Engine, LeafHint, Limits
from docflow.engines.bridge import run_program, without_markup
from docflow.errors import BadAnswer
from docflow.extraction.asking import Window, by_window, scalar
from docflow.extraction.leaves import Keys, Leaf, parse_answer, schema_for
from docflow.extraction.merging import NEARLY_TIED, conflict, same
from docflow.extraction.record import Reading, Record
from docflow.extraction.result import Found
from docflow.program import RECORD, Program, images, instructions

_BORNE_OUT: dict[Found | None, int] = {"exact": 2, "normalised": 2, "fuzzy": 1, None: 1, "not on the page": 0}


def verify(record: Record, windows: Sequence[Window], below: float) -> None:
    """Ask once more for the values whose confidence is under ``below``, and weigh both readings. Raises EngineError.

    Values that have had a second opinion, and those of an engine that always says the same, are not asked again.
    """
    sure = record.confidences()
    unsure = {
        keys: reading
        for keys, reading in record.readings.items()
        if reading.typed is not None and reading.seconded is None and sure[keys] < below
    }
    failing = set(record.failing())
    for number, readings in by_window(unsure).items():
        talk = windows[number].talk
        if talk.bridge.answers[-1].by_rules:
            continue
        asked = [reading.as_asked for reading in readings.values()]
        text = (
            "Read again, independently of your answer so far: for each of these fields find its place on the page anew "
            "and give what is printed there, or null if it is not there.\n" + _names(record, readings)
        )
        answer = talk.ask_json("second_opinion", text, schema_for(asked))
        for keys, second in _second_readings(record, answer, readings, number).items():
            record.readings[keys] = _settle(record, record.readings[keys], second)
    for keys in unsure.keys() & (set(record.failing()) - failing):
        # A second reading that does not pass validation is no better than the first.
        record.readings[keys] = unsure[keys]
        unsure[keys].seconded = False


def unsure_leaves(record: Record, below: float) -> set[Keys] | None:
    """The leaves that another engine should read: unsure ones (nulls too), and those that do not pass.

    None when the record as a whole does not pass, so that no leaf can be named.
    """
    unsure = {keys for keys, sure in record.confidences().items() if sure < below}
    unsure |= set(record.failing())
    for at, _ in record.validate()[1]:
        below_it = {keys for keys in record.readings if keys[: len(at)] == at}
        if not at or not below_it:
            return None
        unsure |= below_it
    return unsure


def ask_better(record: Record, windows: list[Window], unsure: Set[Keys], engine: Engine, limits: Limits) -> None:
    """Have ``engine`` read the leaves that are ``unsure``, and weigh both readings. Raises EngineError.

    The windows that are asked are appended to ``windows``, so that what ``engine`` answered is repaired by it.
    """
    failing = record.failing()
    for number, readings in by_window(
        {keys: record.readings[keys] for keys in record.readings if keys in unsure}
    ).items():
        pages = windows[number].pages
        asked = [reading.as_asked for reading in readings.values()]
        text = "Read these fields of this document.\n" + _names(record, readings)
        window = Window(pages, run_program(_narrow(record.program, asked, text), pages, engine, limits))
        answer = window.record_answer(schema_for(asked))
        windows.append(window)
        record.grounders.append(record.grounders[number])
        for keys, second in _second_readings(record, answer, readings, len(windows) - 1).items():
            first = record.readings[keys]
            if keys in failing and second.typed is not None:
                record.readings[keys] = second
            else:
                record.readings[keys] = _settle(record, first, second, better=True)


def _narrow(program: Program, leaves: Sequence[Leaf], text: str) -> Program:
    """The program that asks for these leaves alone; its system text is that of the whole record."""
    model = program.model
    assert model is not None
    schema = json.dumps(schema_for(leaves), ensure_ascii=False)

    def ask(s: Any, pages: Sequence[Page]) -> None:
        import sglang as sgl

        s += sgl.system(instructions(model))
        s += sgl.user(images(pages) + without_markup(text))
        s += sgl.assistant(sgl.gen(RECORD, json_schema=schema))

    return Program(program.name, ask, model)


def _names(record: Record, readings: Mapping[Keys, Reading]) -> str:
    """A line a field: its name, its kind, what it means, and for an item's the row it belongs to."""
    lines = []
    for keys, reading in readings.items():
        leaf = reading.as_asked
        line = f"- {leaf.path} ({leaf.kind})"
        if leaf.schema.get("description"):
            line += f": {leaf.schema['description']}"
        row = _row(record, keys, readings)
        lines.append(f"{line}; in the row with {row}" if row else line)
    return "\n".join(lines)


def _row(record: Record, keys: Keys, asked: Collection[Keys]) -> str:
    """What the leaves beside this one say that are not asked for: so that a reader finds the row."""
    if len(keys) < 2 or not any(isinstance(key, int) for key in keys):
        return ""
    beside = (
        reading
        for other, reading in record.readings.items()
        if other[: len(keys) - 1] == keys[:-1] and other not in asked and reading.typed is not None
    )
    return ", ".join(json.dumps(str(reading.leaf.printed)[:80], ensure_ascii=False) for reading in beside)


def _second_readings(
    record: Record, answer: Answer, readings: Mapping[Keys, Reading], window: int
) -> dict[Keys, Reading]:
    """What was answered the second time; nothing where that is no JSON: then the first reading stands alone."""
    seconds: dict[Keys, Reading] = {}
    with suppress(BadAnswer):
        again = parse_answer(answer.text)
        for keys, first in readings.items():
            path = first.as_asked.path
            if path not in again:
                continue
            leaf = replace(first.leaf, printed=scalar(again[path]))
            second = Reading(leaf, first.asked, window, answer.hints.get(path, LeafHint()))
            record.type(second)
            seconds[keys] = second
    return seconds


def _settle(record: Record, first: Reading, second: Reading, *, better: bool = False) -> Reading:
    """The reading that stands; ``better`` says that the second reader is trusted more than the first."""
    for reading in (first, second):
        record.look_up(reading)
    if same(first, second):
        agreed = second if better and _borne_out(second) >= _borne_out(first) else first
        agreed.seconded = True
        return agreed
    if first.typed is None:
        return second
    if second.typed is None:
        if not _borne_out(first):
            return conflict(first, ())
        first.seconded = False
        return first
    gap = _borne_out(second) - _borne_out(first)
    if not gap and better:
        gap = 1
    if not gap:
        difference = record.sure(second) - record.sure(first)
        if abs(difference) <= NEARLY_TIED:
            return conflict(first, (second,))
        gap = 1 if difference > 0 else -1
    stands = second if gap > 0 else first
    stands.seconded = False
    return stands


def _borne_out(reading: Reading) -> int:
    return _BORNE_OUT[reading.found]
