"""The one SGLang backend: it turns the interpreter's state into Requests, and Answers into what that expects.

It stands in for the front end's own backends because those allow one image a request, have no time-outs, and turn a
server's error into a KeyError on the variable that was never filled.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sglang.lang.backend.base_backend import BaseBackend
from sglang.lang.chat_template import get_chat_template
from sglang.lang.choices import ChoicesDecision
from sglang.lang.interpreter import ProgramState, StreamExecutor
from sglang.lang.ir import SglSamplingParams

from docflow.documents.model import Page, deferred_pixels
from docflow.engines.base import (
    Answer,
    Engine,
    Limits,
    Request,
    Role,
    Turn,
    Usage,
    Want,
    WantChoice,
    WantJson,
    WantText,
)
from docflow.errors import BadAnswer, DocflowError, ProgramError
from docflow.program import Program

ANSWER = "answer"
"""The key under which a variable's meta information holds the engine's Answer."""

_REGEX_OF_DTYPE = {"int": r"[+-]?[0-9]+", "float": r"[+-]?[0-9]+(\.[0-9]+)?", "bool": r"(True|False)"}


@dataclass(eq=False)
class Conversation:
    """A program that has run, and its state, from which further questions can go on."""

    state: ProgramState
    bridge: Bridge

    def answer(self, variable: str) -> Answer:
        """The engine's answer behind a variable. Raises ProgramError when the program never asked for it."""
        meta = self.state.stream_executor.meta_info.get(variable)
        if not meta or ANSWER not in meta:
            raise ProgramError(
                f"the program gave no {variable!r}",
                hint=f'A program answers into sgl.gen("{variable}", json_schema=...).',
            )
        answer: Answer = meta[ANSWER]
        return answer

    def has(self, variable: str) -> bool:
        return ANSWER in (self.state.stream_executor.meta_info.get(variable) or {})

    def ask_json(self, variable: str, text: str, schema: dict[str, Any]) -> Answer:
        """Go on from the same state: one more user turn, and JSON of this schema for an answer. Raises EngineError."""
        import sglang as sgl

        with deferred_pixels():
            self.state += sgl.user(without_markup(text))
            self.state += sgl.assistant(sgl.gen(variable, json_schema=json.dumps(schema, ensure_ascii=False)))
        self.bridge.raise_failure()
        return self.answer(variable)

    @property
    def usage(self) -> Usage:
        """What all calls of the conversation cost together."""
        return sum((answer.usage for answer in self.bridge.answers), Usage())


def run_program(program: Program, pages: Sequence[Page], engine: Engine, limits: Limits) -> Conversation:
    """Run a program over pages on an engine.

    Raises EngineError or DocumentError as the engine raised it, and ProgramError for whatever else the program raises.
    """
    bridge = Bridge(engine, limits)
    try:
        with deferred_pixels():
            # use_thread=False: the interpreter's worker thread would turn an engine's error into a KeyError.
            state = program.sgl_function.run(
                pages,
                backend=bridge,
                use_thread=False,
                max_new_tokens=limits.max_tokens,
                temperature=limits.temperature,
                top_p=limits.top_p,
            )
    except DocflowError:
        raise
    except Exception as error:
        bridge.raise_failure()  # a failed fork leaves a variable empty; what the program then met is not the cause
        raise ProgramError(f"program {program.name} raised {type(error).__name__}: {error}") from error
    finally:
        bridge.end_forks()
    bridge.raise_failure()
    return Conversation(state, bridge)


class Bridge(BaseBackend):  # type: ignore[misc]
    """An SGLang backend that passes every question to one engine. One instance serves one program run."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        super().__init__()
        self.chat_template = get_chat_template("qwen2-vl")
        self.is_chat_model = True
        self.answers: list[Answer] = []
        self._engine = engine
        self._limits = limits
        self._thread = threading.get_ident()
        self._forks: set[StreamExecutor] = set()
        self._failure: DocflowError | None = None

    def get_model_name(self) -> str:
        return self._engine.model

    def raise_failure(self) -> None:
        """Raise what a fork's thread met, if anything."""
        if self._failure is not None:
            raise self._failure

    def end_forks(self) -> None:
        """Stop the threads of the forks: the interpreter leaves them waiting, and a process could not exit."""
        while self._forks:
            self._forks.pop().end()

    def generate(self, s: StreamExecutor, sampling_params: SglSamplingParams) -> tuple[str, dict[str, Any]]:
        if sampling_params.n not in (None, 1):
            raise ProgramError("sgl.gen with n above 1 is not supported", hint="Fork the state and ask in each branch.")
        answer = self._ask(s, _want(sampling_params), self._limits_of(sampling_params))
        return answer.text, {ANSWER: answer}

    def generate_stream(
        self, s: StreamExecutor, sampling_params: SglSamplingParams
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        yield self.generate(s, sampling_params)

    def select(
        self, s: StreamExecutor, choices: list[str], temperature: float, choices_method: object = None
    ) -> ChoicesDecision:
        answer = self._ask(s, WantChoice(tuple(choices)), self._limits)
        if answer.text not in choices:
            if self._failure is not None:
                return ChoicesDecision(choices[0], {ANSWER: answer})
            raise BadAnswer(f"the engine chose {answer.text[:80]!r}, which is none of the choices")
        return ChoicesDecision(answer.text, {ANSWER: answer})

    def _ask(self, s: StreamExecutor, want: Want, limits: Limits) -> Answer:
        if s.use_thread:
            self._forks.add(s)
        try:
            if self._failure is not None:
                raise self._failure
            answer = self._engine.answer(Request(turns_of(s), want, begun_of(s), limits))
        except DocflowError as error:
            if threading.get_ident() == self._thread:
                raise
            # In a fork's thread an exception would only become a warning, or with warnings as errors a hang:
            # the program goes on with nothing, and run_program raises this at its end.
            self._failure = error
            return Answer("")
        self.answers.append(answer)
        return answer

    def _limits_of(self, params: SglSamplingParams) -> Limits:
        stop = [params.stop] if isinstance(params.stop, str) else list(params.stop or ())
        own = set(self.chat_template.stop_str)
        return replace(
            self._limits,
            max_tokens=params.max_new_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            stop=tuple(text for text in stop if text not in own),
        )


def _want(params: SglSamplingParams) -> Want:
    if params.json_schema is not None:
        schema = params.json_schema
        return WantJson(json.loads(schema) if isinstance(schema, str) else schema)
    if params.regex is not None:
        return WantText(params.regex)
    return WantText(_REGEX_OF_DTYPE.get(str(params.dtype)) if params.dtype is not None else None)


# --- the interpreter's state as turns -------------------------------------------------------------------------------

_TEMPLATE = get_chat_template("qwen2-vl")
_IMAGE: str = _TEMPLATE.image_token
_MARKUP = (_IMAGE, "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|endoftext|>")


def without_markup(text: str) -> str:
    """Text from outside, without the marks that a chat template gives a meaning to."""
    for mark in _MARKUP:
        text = text.replace(mark, " ")  # not "": what stands on both sides of it could make another mark
    return text


def turns_of(s: StreamExecutor) -> tuple[Turn, ...]:
    """The finished turns of a state, each image back in its place as the Page that the program put there."""
    pages = [handle for handle, _ in s.images_]
    turns = []
    for message in s.messages_:
        content = message["content"]
        if isinstance(content, str):
            turns.append(_turn(message["role"], content, ()))
            continue
        count = len(content) - 1  # text first, then an entry an image
        turns.append(_turn(message["role"], content[0]["text"], pages[:count]))
        del pages[:count]
    open_text = s.text_[s.cur_role_begin_pos :] if s.cur_role else ""
    if s.cur_role is not None and s.cur_role != "assistant":
        turns.append(_turn(s.cur_role, open_text, pages))
    elif s.cur_role is None and not turns:  # a program without roles: all it wrote is the question
        turns.append(_turn("user", s.text_, pages))
    return tuple(turns)


def begun_of(s: StreamExecutor) -> str:
    """The text of an assistant turn that the program has begun itself."""
    return s.text_[s.cur_role_begin_pos :].lstrip() if s.cur_role == "assistant" else ""


def _turn(role: Role, text: str, pages: Sequence[Any]) -> Turn:
    pieces = text.split(_IMAGE)
    if len(pieces) != len(pages) + 1:
        raise ProgramError("the text of a turn contains the marker of an image", hint="Put images with images(pages).")
    parts: list[str | Page] = []
    for piece, page in zip(pieces, [*pages, None], strict=True):
        if piece:
            parts.append(piece)
        if page is not None:
            if not isinstance(page, Page):
                raise ProgramError(
                    f"an image is a {type(page).__name__}, not a page of a document",
                    hint="Programs show pages with images(pages); docflow opens no path or URL for a program.",
                )
            parts.append(page)
    return Turn(role, tuple(parts))
