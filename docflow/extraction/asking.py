"""What an engine is asked about a record: for all of it, and again for the leaves that did not pass."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docflow.documents.model import Page
from docflow.engines.base import Answer, LeafHint
from docflow.engines.bridge import Conversation
from docflow.engines.shape import has_shape
from docflow.errors import BadAnswer, EngineRefused
from docflow.extraction.leaves import Keys, Leaf, leaves_of, parse_answer, schema_for
from docflow.extraction.record import Reading, Record
from docflow.program import RECORD


@dataclass(slots=True)
class Window:
    """Some pages of a document that were asked about together, and the conversation about them.

    A ``free`` one was answered by the cheap engine.
    """

    pages: Sequence[Page]
    talk: Conversation
    free: bool = False

    def record_answer(self, schema: dict[str, Any]) -> Answer:
        """The answer that holds the record; one that is no JSON, or of another shape, is asked for once more.

        Of one that has another shape again, what can be used is used. Raises EngineError.
        """
        answer = self.talk.answer(RECORD)
        if is_json(answer) and has_shape(schema, parse_answer(answer.text)):
            return answer
        text = "That was not the JSON object that was asked for. Give the whole object again, and nothing else."
        if answer.stop == "length":
            text = (
                "That answer was too long and was cut off. Give the whole object again from its beginning, "
                "without blanks between its parts, and say nothing twice."
            )
        try:
            again = self.talk.ask_json("record_again", text, schema)
        except EngineRefused as error:  # what was cut off may have left no room in the model's context
            if answer.stop == "length":
                raise _no_record(answer) from error
            raise
        if not is_json(again):
            raise _no_record(again)
        if not parse_answer(again.text).keys() & schema["properties"].keys():
            raise BadAnswer("the engine's answer has none of the fields that were asked for, and had none before")
        return again


def is_json(answer: Answer) -> bool:
    """Whether an answer is a JSON object, and all of it."""
    try:
        parse_answer(answer.text)
    except BadAnswer:
        return False
    return True


def _no_record(answer: Answer) -> BadAnswer:
    """The error for an answer that is no JSON, though it was asked for again."""
    text = answer.text.rstrip()
    blank = 2 * len(text) < len(answer.text)
    length = f" after {answer.usage.output:,} tokens" if answer.usage.output else ""
    if not answer.text:
        return BadAnswer("the engine's answer is empty, and was when asked again")
    if answer.stop == "length" and not blank:
        return BadAnswer(
            f"the engine's answer was cut off{length}, twice: it ends with {text[-40:]!r}",
            hint="Raise extraction.max_tokens, or set extraction.pages_per_call so that an answer covers fewer pages.",
            retryable=False,
        )
    if blank:
        return BadAnswer(
            f"the engine wrote white space in place of the answer{length}, twice",
            hint="Start the server so that its JSON has none: SGLang with --constrained-json-disable-any-whitespace, "
            "vLLM with disable_any_whitespace among its structured outputs settings.",
        )
    return BadAnswer(f"the engine's answer is no JSON, and was none when asked again: {text[:80]!r}")


def readings_of(answer: Answer, schema: Mapping[str, Any], window: int) -> list[Reading]:
    """The readings of every leaf that the schema names, from one answer. Raises BadAnswer."""
    data = parse_answer(answer.text)
    readings = [
        Reading(leaf, leaf.keys, window, answer.hints.get(leaf.path, LeafHint())) for leaf in leaves_of(schema, data)
    ]
    for reading in readings:
        # An object where a text belongs was an answer, but none that can be read.
        reading.unreadable = reading.leaf.printed is None and _is_misshapen(data, reading.leaf.keys)
    return readings


def _is_misshapen(data: Any, keys: Keys) -> bool:
    """Whether something else than a single value, or null, is where the keys lead."""
    for key in keys:
        if isinstance(data, dict):
            data = data.get(key)
        elif isinstance(data, list) and isinstance(key, int):
            data = data[key]
        else:
            return data is not None
    return isinstance(data, dict | list)


def by_window(readings: Mapping[Keys, Reading]) -> dict[int, dict[Keys, Reading]]:
    """The readings, by the window that gave them."""
    sorted_out: dict[int, dict[Keys, Reading]] = {}
    for keys, reading in readings.items():
        sorted_out.setdefault(reading.window, {})[keys] = reading
    return sorted_out


def repair(record: Record, windows: Sequence[Window], rounds: int) -> None:
    """Ask again for the leaves that failed, each where it was answered, with the reason. Raises EngineError."""
    for number in range(1, rounds + 1):
        failing = record.failing()
        if not failing:
            return
        for window, readings in by_window({keys: record.readings[keys] for keys in failing}).items():
            asked = [reading.as_asked for reading in readings.values()]
            text = _repair_text([(leaf, failing[keys]) for leaf, keys in zip(asked, readings, strict=True)])
            answer = windows[window].talk.ask_json(f"repair_{number}", text, schema_for(asked))
            if not is_json(answer):
                continue  # what was answered first stands, for what it is worth
            again = parse_answer(answer.text)
            for leaf, reading in zip(asked, readings.values(), strict=True):
                reading.say(scalar(again.get(leaf.path)), answer.hints.get(leaf.path))
                record.type(reading)
    # What still cannot be read as its kind is an honest null, its raw text kept as evidence.
    for reading in record.readings.values():
        if reading.value is not None and reading.value.value is None:
            reading.unreadable = True


def _repair_text(failing: Sequence[tuple[Leaf, str]]) -> str:
    intro = "These values were not accepted. Look again: give each exactly as printed, or null if it is not there."
    lines = [intro]
    for leaf, message in failing[:50]:
        lines.append(f"- {leaf.path}: {json.dumps(str(leaf.printed)[:200], ensure_ascii=False)}: {message[:300]}")
    return "\n".join(lines)


def scalar(value: Any) -> str | bool | None:
    """What was answered for one leaf; null for anything that is no single value."""
    if isinstance(value, bool) or value is None:
        return value
    return str(value).strip() or None if isinstance(value, str | int | float) else None
