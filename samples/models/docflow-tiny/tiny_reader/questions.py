"""What the model is asked and what it should answer: the turns that docflow's programs send, and plain reading."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from docflow.programs.receipt import Receipt
from pydantic import BaseModel, create_model

from docflow.program import RULES, instructions_text
from tiny_reader.pages import FIELDS, ITEM_FIELDS, Strings
from tiny_reader.vocabulary import Vocabulary

ASK = "Read this receipt."
COPY = "You copy text from pages.\n"
GO_ON = "Go on after: "
BESIDE = "What stands beside: "
IGNORED = -100
SEPARATORS = ((",", ":"), (", ", ": "))
"""Between the parts of JSON: a server's grammar forbids blanks, or the model is free to write them."""


@dataclass(frozen=True)
class Question:
    """What follows the page in the user's turn, and the answer. ``spans`` are values' places in the answer."""

    text: str
    answer: str
    spans: tuple[tuple[str, int, int], ...] = ()


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """The tokens, with the texts of the receipt program as it is now."""
    text = instructions_text(Receipt)
    lines = [line for line in text.removeprefix(RULES).splitlines(keepends=True) if line.strip()]
    keys = [f'"{key}":' for key in (*FIELDS, *ITEM_FIELDS)]
    roles = ("system\n", "user\n", "assistant\n")
    return Vocabulary((*roles, RULES, *lines, ASK, COPY, GO_ON, BESIDE, *keys))


@lru_cache(maxsize=2048)
def system_text(fields: tuple[str, ...]) -> str:
    """The system turn of a program that asks for these fields of a receipt."""
    return instructions_text(model_of(fields))


def model_of(fields: tuple[str, ...]) -> type[BaseModel]:
    """The receipt's record with these fields only."""
    if fields == FIELDS:
        return Receipt
    made: dict[str, Any] = {
        name: (Receipt.model_fields[name].annotation, Receipt.model_fields[name]) for name in fields
    }
    part: type[BaseModel] = create_model("Part", **made)
    return part


def before_page(system: str) -> str:
    """The prompt up to the page, by Qwen2-VL's chat template."""
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n<|vision_start|>"


def after_page(text: str) -> str:
    """The prompt from the page to the answer."""
    return f"<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"


def record_question(record: dict[str, Any], fields: Sequence[str], separators: tuple[str, str]) -> Question:
    """The question of the receipt program, and the JSON of these fields."""
    comma, colon = separators
    out = "{"
    spans: list[tuple[str, int, int]] = []

    def value(path: str, text: str | None) -> None:
        nonlocal out
        start = len(out)
        out += json.dumps(text, ensure_ascii=False)
        spans.append((path, start, len(out)))

    for number, name in enumerate(fields):
        out += f'{comma if number else ""}"{name}"{colon}'
        if name != "items":
            value(name, record[name])
            continue
        start = len(out)
        out += "["
        for place, item in enumerate(record["items"]):
            out += f"{comma if place else ''}{{"
            for inner, key in enumerate(ITEM_FIELDS):
                out += f'{comma if inner else ""}"{key}"{colon}'
                value(f"items.{key}", item[key])
            out += "}"
        out += "]"
        spans.append(("items", start, len(out)))
    return Question(ASK, out + "}", tuple(spans))


def reading_questions(rng: random.Random, page: Strings, most: int) -> list[Question]:
    """Questions about a page of random letters, each with one answer only."""
    text = "\n".join(page.rows)
    made: list[Question] = []
    for label, value in page.pairs:
        if sum(row.startswith(label) for row in page.rows) == 1 and text.count(label) == 1:
            made.append(Question(BESIDE + label, value))
    for line in (*page.lines, *(f"{value}" for _, value in page.pairs)):
        if len(line) < 4:
            continue
        start = rng.randrange(0, len(line) - 3)
        known = line[start : start + 3]
        if text.count(known) == 1:
            made.append(Question(GO_ON + known, line[start:]))
    rng.shuffle(made)
    return made[:most]
