"""Whether a server does what clients of the OpenAI protocol and docflow ask of it, a step at a time."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from docflow.engines.base import ServerOptions
from docflow.engines.transport import Transport
from docflow.errors import BadAnswer, EngineError

_SCHEMA = {
    "type": "object",
    "properties": {"readable": {"type": "boolean"}, "pages": {"enum": [1, 2, 3]}},
    "required": ["readable", "pages"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried: whether it worked, what was seen, and the seconds it took."""

    name: str
    passed: bool
    detail: str
    seconds: float


def steps(url: str, options: ServerOptions, seconds: float = 60.0) -> Iterator[Step]:
    """Try health, models, a completion, a chat, JSON by a schema, and an image; each for at most ``seconds``.

    Where the server cannot be reached, or has no model, the others are not tried. Raises ConfigError for a URL that is
    none.
    """
    transport = Transport(url, options)
    try:
        model = options.model
        tries: tuple[tuple[str, Callable[[], str]], ...] = (
            ("health", lambda: _health(transport, seconds)),
            ("models", lambda: _models(transport, seconds)),
            ("completion", lambda: _completion(transport, model, seconds)),
            ("chat", lambda: _chat(transport, model, "Say hello.", seconds)),
            ("JSON grammar", lambda: _grammar(transport, model, seconds)),
            ("image", lambda: _chat(transport, model, _image_parts(), seconds)),
        )
        for number, (name, work) in enumerate(tries):
            begun = time.monotonic()
            try:
                detail, passed = work(), True
            except EngineError as error:
                detail, passed = error.message, False
            yield Step(name, passed, detail, time.monotonic() - begun)
            if number < 2 and not passed:
                return
            if name == "models" and not model:
                model = detail.partition(",")[0]
    finally:
        transport.close()


def _health(transport: Transport, seconds: float) -> str:
    transport.probe("/health", seconds)
    return "well"


def _models(transport: Transport, seconds: float) -> str:
    said = transport.get("/v1/models", seconds)
    try:
        names = [str(one["id"]) for one in said["data"]]
    except (LookupError, TypeError) as error:
        raise BadAnswer("what it answered is no list of models") from error
    if not names:
        raise BadAnswer("it lists no model")
    return ", ".join(names)


def _completion(transport: Transport, model: str, seconds: float) -> str:
    body = {"model": model, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    return _said(_post(transport, "/v1/completions", body, seconds), lambda choice: choice["text"])


def _chat(transport: Transport, model: str, content: Any, seconds: float) -> str:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 8,
        "temperature": 0,
    }
    return _said(_post(transport, "/v1/chat/completions", body, seconds), lambda choice: choice["message"]["content"])


def _grammar(transport: Transport, model: str, seconds: float) -> str:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Is this text readable? How many pages has it? Answer in JSON."}],
        "max_tokens": 64,
        "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA}},
    }
    text = _said(_post(transport, "/v1/chat/completions", body, seconds), lambda choice: choice["message"]["content"])
    try:
        answer = json.loads(text)
    except ValueError as error:
        raise BadAnswer("what it answered is no JSON, though a schema was given") from error
    if not isinstance(answer, dict) or answer.keys() != {"readable", "pages"} or answer["pages"] not in (1, 2, 3):
        raise BadAnswer("what it answered does not follow the schema that was given")
    return text


def _post(transport: Transport, path: str, body: dict[str, Any], seconds: float) -> Any:
    return transport.post(path, json.dumps(body).encode(), seconds)


def _said(answer: Any, text_of: Callable[[Any], Any]) -> str:
    try:
        text = text_of(answer["choices"][0])
    except (LookupError, TypeError) as error:
        raise BadAnswer("what it answered has no choice in it") from error
    if not isinstance(text, str):
        raise BadAnswer("what it answered holds no text")
    return text  # which may be empty: a model may have nothing to say


def _image_parts() -> list[dict[str, Any]]:
    """A small picture, and a question about it."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (224, 112), "white")
    ImageDraw.Draw(picture).text((20, 45), "TOTAL 12.50", fill="black")
    data = io.BytesIO()
    picture.save(data, "PNG")
    url = "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What does it say?"}]
