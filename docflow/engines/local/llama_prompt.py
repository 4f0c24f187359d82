"""Conversations as what a model reads: its own template around the texts and images, which stay what they are.

A template comes with a model's file and is rendered in Jinja's sandbox. In place of each text and image it gets a mark,
and what it made is cut at the marks: so what stands in a document cannot speak as the template does (``<|im_end|>`` in
a text is read as these ten characters), and an image stays in its place whatever the template makes of texts.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from docflow.engines.local.model import Message
from docflow.errors import EngineRefused

_LONGEST_TEMPLATE = 200_000
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Text:
    """A text to be read; names of special tokens in it are those tokens where it is ``special``."""

    text: str
    special: bool


Part = Text | bytes


def prompt_of(template: str, messages: Sequence[Message], begun: str, names: Mapping[str, str]) -> list[Part]:
    """What the model reads, up to where it goes on. ``names`` are its special tokens, as ``bos_token``.

    Without a template a turn is its role, a colon and its text. Raises EngineRefused where the template takes no such
    conversation.
    """
    marked = _Marked(messages)
    if not template:
        turns = [f"{message.role.capitalize()}: {marked.content(message)}\n" for message in messages]
        parts = marked.cut("".join(turns) + "Assistant:") or []
    else:
        parts = _by_template(template, marked, names)
    return [*parts, Text(begun, False)] if begun else parts


class _Marked:
    """The texts and images of a conversation, each behind a mark that nobody could have foreseen."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.key = secrets.token_hex(8)
        self.parts: list[str | bytes] = [part for message in messages for part in message.parts if part]
        self.numbers: dict[int, list[int]] = {}
        number = 0
        for index, message in enumerate(messages):
            count = sum(1 for part in message.parts if part)
            self.numbers[index] = list(range(number, number + count))
            number += count

    def content(self, message: Message) -> str:
        [index] = [at for at, other in enumerate(self.messages) if other is message]
        return "".join(f"[{self.key}-{number}]" for number in self.numbers[index])

    def turns(self, *, typed: bool, system_apart: bool) -> list[dict[str, Any]]:
        """The turns as a template gets them, in one of the ways that templates know."""
        turns: list[dict[str, Any]] = []
        before = ""
        for message in self.messages:
            content = self.content(message)
            if message.role == "system" and not system_apart:
                before += content + "\n\n"
                continue
            turns.append({"role": message.role, "content": before + content})
            before = ""
        if typed:
            turns = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
        return turns

    def cut(self, rendered: str) -> list[Part] | None:
        """What was rendered, with the texts and images in their places; None where one is missing or moved."""
        pieces = re.split(rf"\[{self.key}-(\d+)\]", rendered)
        if [int(number) for number in pieces[1::2]] != list(range(len(self.parts))):
            return None
        parts: list[Part] = []
        for at, piece in enumerate(pieces):
            if at % 2:
                part = self.parts[int(piece)]
                parts.append(part if isinstance(part, bytes) else Text(part, False))
            elif piece:
                parts.append(Text(piece, True))
        return parts


def _by_template(template: str, marked: _Marked, names: Mapping[str, str]) -> list[Part]:
    # Imported here: Jinja comes with llama-cpp-python
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    known = {"raise_exception": refuse, "strftime_now": lambda layout: datetime.now().strftime(layout)}
    said = ""
    try:
        if len(template) > _LONGEST_TEMPLATE:
            raise jinja2.TemplateError("it is too long")
        made = environment.from_string(template, globals=known)
        for typed, system_apart in ((False, True), (True, True), (False, False), (True, False)):
            turns = marked.turns(typed=typed, system_apart=system_apart)
            try:
                # Models that think aloud before they answer are asked not to: a schema leaves no room for it.
                rendered = made.render(messages=turns, add_generation_prompt=True, enable_thinking=False, **names)
            except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
                said = said or str(error)
                continue
            parts = marked.cut(rendered)
            if parts is not None:
                return parts
    except (jinja2.TemplateError, RecursionError) as error:
        said = str(error)
    raise EngineRefused(
        f"the model's chat template takes no such conversation: {said[:_SHOWN] or 'it leaves out a part'}",
        hint="Let user and assistant take turns, the system first; or use another model.",
    )
