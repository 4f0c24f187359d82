"""What SGLang and vLLM have in common: a Request as an OpenAI chat request, and what comes back as an Answer. Pure.

The bytes of a request depend on the Request alone, and a longer conversation begins with the bytes of the shorter one:
that is what a server's prefix cache goes by. Images go as ``data:`` URIs in their place among the text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docflow.engines.base import Answer, Request, StopReason, TokenProb, Turn, Usage, WantJson
from docflow.engines.images import page_image
from docflow.engines.probabilities import hints_of
from docflow.engines.wire import wire_schema
from docflow.errors import BadAnswer

PATH = "/v1/chat/completions"
_STOPS: Mapping[str, StopReason] = {"stop": "stop", "length": "length"}
_TURN_TOKENS = 8
_FIRST_TOKENS = 64
"""The system turn that the model's template writes of its own where a conversation has none, and some room."""


def body_of(request: Request, model: str, constraint: Mapping[str, Any], *, top: int = 0) -> bytes:
    """The body of a chat request: ``constraint`` says what is wanted in the server's words.

    ``top`` is how many alternatives are reported for each token. Raises DocumentError when a page cannot be shown.
    """
    limits = request.limits
    options: dict[str, Any] = {
        "temperature": limits.temperature,
        "top_p": limits.top_p,
        "seed": limits.seed,
        "max_tokens": limits.max_tokens,
        "logprobs": True,
    }
    if top:
        options["top_logprobs"] = top
    if limits.stop:
        options["stop"] = list(limits.stop)
    if request.begun:
        options |= {"continue_final_message": True, "add_generation_prompt": False}
    options |= constraint
    # By hand, not by json.dumps as a whole: a page is some 400 KB of base64, in which there is nothing to escape.
    pieces = [b'{"model":', _json(model), b',"messages":[']
    for number, turn in enumerate(request.turns):
        pieces += [b"," if number else b"", *_message(turn, limits.page_tokens)]
    if request.begun:
        pieces += [b"," if request.turns else b"", b'{"role":"assistant","content":', _json(request.begun), b"}"]
    pieces += [b"],", _json(options)[1:]]
    return b"".join(pieces)


def json_constraint(want: WantJson) -> dict[str, Any]:
    """JSON of a schema, in the words that both servers take."""
    schema = {"name": "record", "schema": wire_schema(want.schema), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def choice_regex(choices: Sequence[str]) -> str:
    """A regular expression that matches these texts and nothing else."""
    return f"({'|'.join(_escaped(choice) for choice in choices)})"


def room_for(request: Request, context: int) -> int:
    """How many tokens of ``context`` are sure to be left for the answer; it is more where the text is in few tokens."""
    pages = sum(page_image(page, request.limits.page_tokens).tokens + 2 for page in request.pages)
    text = sum(len(turn.text.encode("utf-8", "replace")) for turn in request.turns) + len(request.begun.encode())
    return context - pages - text // 2 - _TURN_TOKENS * (len(request.turns) + 1) - _FIRST_TOKENS


def _message(turn: Turn, page_tokens: int) -> Iterator[bytes]:
    yield b'{"role":"%b","content":' % turn.role.encode()
    if not turn.pages:
        yield _json(turn.text)
    else:
        for number, part in enumerate(turn.parts):
            yield b"," if number else b"["
            if isinstance(part, str):
                yield b'{"type":"text","text":%b}' % _json(part)
            else:
                yield b'{"type":"image_url","image_url":{"url":"'
                yield page_image(part, page_tokens).data_uri.encode("ascii")
                yield b'"}}'
        yield b"]"
    yield b"}"


def _json(value: object) -> bytes:
    # "replace": text of a PDF may hold half of a surrogate pair, which no server takes
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


_SPECIAL_CHARACTERS = re.compile(r"[\\^$.|?*+()\[\]{}/-]")


def _escaped(text: str) -> str:
    """Text as a regular expression. Not re.escape: that escapes blanks too, which grammars need not understand."""
    return _SPECIAL_CHARACTERS.sub(lambda match: "\\" + match.group(), text)


# --- what comes back ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One token that was written, as bytes, and what could have stood in its place, each with its probability."""

    token: bytes
    top: Mapping[bytes, float]


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat response, read."""

    text: str
    stop: StopReason
    steps: tuple[Step, ...]
    usage: Usage


def reply_of(data: Any, shown: str) -> Reply:
    """Read a chat response. ``shown`` names the server in errors. Raises BadAnswer."""
    try:
        choice = data["choices"][0]
        text = choice["message"].get("content") or ""
        finish = choice.get("finish_reason")
        logprobs = (choice.get("logprobs") or {}).get("content") or ()
        steps = tuple(_step(token) for token in logprobs)
        usage = _usage(data.get("usage") or {})
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise BadAnswer(f"{shown} answered JSON that is no chat completion") from error
    if not isinstance(text, str):
        raise BadAnswer(f"{shown} answered JSON that is no chat completion")
    return Reply(text, _STOPS.get(finish, "abort") if isinstance(finish, str) else "abort", steps, usage)


def answer_of(reply: Reply, request: Request, *, engine: str, model: str, shown: str) -> Answer:
    """The Answer to a request for text or JSON: what follows the begun turn. Raises BadAnswer when it is empty."""
    wants_json = isinstance(request.want, WantJson)
    if wants_json and not reply.text.strip() and reply.stop == "stop":
        raise BadAnswer(f"{shown} gave an empty answer")
    tokens = token_probs(reply.text, reply.steps)
    return Answer(
        reply.text,
        tokens=tokens,
        hints=hints_of(reply.text, tokens) if wants_json else {},
        usage=reply.usage,
        stop=reply.stop,
        engine=engine,
        model=model,
    )


def token_probs(text: str, steps: Sequence[Step]) -> tuple[TokenProb, ...]:
    """The tokens of a text as pieces of it; those that hold parts of one character are joined.

    SGLang gives each token's own bytes, vLLM none until a character is whole, and then all of them. Both tell of the
    token that ended the answer, too, which is no piece of the text.
    """
    pieces: list[TokenProb] = []
    pending, prob = b"", 1.0
    for step in steps:
        pending, prob = pending + step.token, prob * step.top[step.token]
        try:
            piece = pending.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.end == len(pending) and len(pending) - error.start < 4:
                continue  # the character goes on in the next token
            piece = pending.decode("utf-8", "replace")
        if piece:
            pieces.append(TokenProb(piece, prob))
            pending, prob = b"", 1.0
    if pending:
        pieces.append(TokenProb(pending.decode("utf-8", "replace"), prob))
    length = sum(len(piece.text) for piece in pieces)
    while pieces and length - len(pieces[-1].text) >= len(text):
        length -= len(pieces.pop().text)
    return tuple(pieces)


def _step(said: Mapping[str, Any]) -> Step:
    token = _bytes(said)
    top = {_bytes(other): _prob(other) for other in reversed(said.get("top_logprobs") or ())}
    return Step(token, {**top, token: _prob(said)})


def _bytes(said: Mapping[str, Any]) -> bytes:
    given = said.get("bytes")
    return bytes(given) if given is not None else str(said["token"]).encode("utf-8", "replace")


def _prob(said: Mapping[str, Any]) -> float:
    prob = math.exp(min(0.0, float(said["logprob"])))
    return prob if prob == prob else 0.0


def _usage(said: Mapping[str, Any]) -> Usage:
    details = said.get("prompt_tokens_details") or {}
    return Usage(
        prompt=int(said.get("prompt_tokens") or 0),
        cached=int(details.get("cached_tokens") or 0),
        output=int(said.get("completion_tokens") or 0),
        calls=1,
    )
