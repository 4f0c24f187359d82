"""Conversations as the text that a model of the Hub reads: its own template around them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docflow.engines.chat import Reply
from docflow.engines.local.model import Form, Message, Sampling
from docflow.errors import EngineRefused


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model reads: a text, in which the template left a place for each of the images."""

    text: str
    images: tuple[bytes, ...]


class Template:
    """A model's template. ``reader`` is its processor or tokenizer, ``sees`` says whether it takes images."""

    def __init__(self, reader: Any, tokenizer: Any, *, sees: bool) -> None:
        self._reader = reader if getattr(reader, "chat_template", None) else tokenizer
        self._sees = sees
        self._marks = _either(_marks(tokenizer))

    def prompt(self, messages: Sequence[Message], begun: str) -> Prompt:
        """A conversation as a prompt, which ends where the answer goes on. Raises EngineRefused."""
        images = tuple(image for message in messages for image in message.images)
        if images and not self._sees:
            raise _elsewhere("this model takes no images", "Name one that reads them, as Qwen2-VL does.")
        return Prompt(self._rendered(messages) + self._plain(begun), images)

    def _rendered(self, messages: Sequence[Message]) -> str:
        if not getattr(self._reader, "chat_template", None):
            lines = (f"{message.role.capitalize()}: {self._plain(message.text)}\n" for message in messages)
            return "".join(lines) + "Assistant:"
        from jinja2 import TemplateError

        turns = [self._turn(message) for message in messages]
        try:
            try:
                return self._apply(turns)
            except TemplateError:
                if len(turns) < 2 or turns[0]["role"] != "system":
                    raise
                return self._apply(self._merged(messages))  # some know no system turn
        except (TemplateError, TypeError, ValueError, LookupError) as error:
            raise EngineRefused(
                f"the model's template does not take this conversation: {str(error)[:200]}",
                hint="Turns alternate between user and assistant, after one system turn at most.",
            ) from error

    def _apply(self, turns: Sequence[Mapping[str, Any]]) -> str:
        return str(self._reader.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True))

    def _turn(self, message: Message) -> dict[str, Any]:
        if not self._sees:
            return {"role": message.role, "content": self._plain(message.text)}
        parts = [
            {"type": "text", "text": self._plain(part)} if isinstance(part, str) else {"type": "image"}
            for part in message.parts
        ]
        return {"role": message.role, "content": parts}

    def _merged(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        system, first, *rest = messages
        together = Message(first.role, (system.text + "\n\n", *first.parts))
        return [self._turn(message) for message in (together, *rest)]

    def _plain(self, text: str) -> str:
        """A text in which no mark of the template stands: what a document says must not speak as the template does."""
        return self._marks.sub(lambda found: f"{found.group()[0]} {found.group()[1:]}", text) if self._marks else text


class ByTemplate(ABC):
    """A model of the Hub that is asked in the words of its template. A subclass sees to the answer."""

    _name: str
    _context: int
    _template: Template

    @property
    def name(self) -> str:
        return self._name

    @property
    def context(self) -> int:
        return self._context

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        form: Form | None = None,
        begun: str = "",
        on_text: Callable[[str], bool] | None = None,
    ) -> Reply:
        """The answer to a conversation. Raises EngineRefused, EngineError."""
        return self._answer(self._template.prompt(messages, begun), sampling, form, on_text, bare=False)

    def complete(self, prompt: str, sampling: Sampling, *, on_text: Callable[[str], bool] | None = None) -> Reply:
        """What follows a text; names of special tokens in it are those tokens. Raises EngineRefused, EngineError."""
        return self._answer(Prompt(prompt, ()), sampling, None, on_text, bare=True)

    @abstractmethod
    def _answer(
        self,
        prompt: Prompt,
        sampling: Sampling,
        form: Form | None,
        on_text: Callable[[str], bool] | None,
        *,
        bare: bool,
    ) -> Reply:
        """What follows a prompt; ``bare`` of one that no template wrote. Raises EngineRefused, EngineError."""


def _marks(tokenizer: Any) -> set[str]:
    """The tokens with which a template speaks: the special ones, and others in brackets, as ``<tool_call>``.

    Not all that were added: tokenizers for one purpose have common words and whole sentences among them.
    """
    bracketed = (mark for mark in tokenizer.get_added_vocab() if mark[:1] + mark[-1:] in ("<>", "[]"))
    return {mark for mark in (*tokenizer.all_special_tokens, *bracketed) if len(mark) > 2}


def _either(marks: Iterable[str]) -> re.Pattern[str] | None:
    """Any of these, the longest first."""
    kept = sorted(marks, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, kept))) if kept else None


def _elsewhere(message: str, hint: str) -> EngineRefused:
    """A refusal that says nothing of the request: another model may well answer it."""
    refused = EngineRefused(message, hint=hint)
    refused.elsewhere = True
    return refused


def too_long(prompt_tokens: int, context: int) -> EngineRefused:
    """The refusal of a conversation that leaves no room for an answer."""
    return _elsewhere(
        f"the conversation has {prompt_tokens} tokens, and with its answer {context} is the most",
        "Give the model a longer context, or show it fewer or smaller pages (extraction.page_tokens).",
    )
