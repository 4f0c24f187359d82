"""What is asked of a model, as OpenAI's protocol writes it, turned into what a loaded model takes.

Images are their own bytes (``data:`` URLs, JPEG or PNG): no address is opened, and an image whose header promises more
pixels than a model could be shown goes no further.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from docflow.engines.base import Role
from docflow.engines.local.model import Form, JsonForm, Message, RegexForm, Sampling
from docflow.errors import UsageError

MOST_PIXELS = 64_000_000
MOST_TOP = 20
"""Alternatives told of each token."""
MOST_STOPS = 16
MOST_TEXTS = 2_048
LONGEST_TEXT = 4_000_000
_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

M = TypeVar("M", bound=BaseModel)

_Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class _Asked(BaseModel):
    """The fields that all requests for text have. Fields that are not known are passed over, as servers do."""

    model_config = ConfigDict(extra="ignore")

    model: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(
        None, description="a name, an alias or a file; models.default when it is missing"
    )
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(None, description="longest answer, in tokens")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        None, description="0 (the likeliest token each time) when it is missing"
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = Field(None, description="0 or -1: no bound")
    stop: _Text | Annotated[list[_Text], Field(max_length=MOST_STOPS)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Literal[1] | None = Field(None, description="one answer a request")
    stream: bool | None = Field(None, description="server-sent events")
    stream_options: dict[str, Any] | None = None


class ChatRequest(_Asked):
    """A conversation to be answered."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1_000)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    response_format: dict[str, Any] | None = Field(None, description="text, or json_schema with its schema")
    structured_outputs: dict[str, Any] | None = Field(None, description="regex, choice or json, as vLLM takes them")
    continue_final_message: bool | None = Field(None, description="go on with the last message, the assistant's")
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = Field(None, description="none are called")


class CompletionRequest(_Asked):
    """A text to be gone on with."""

    prompt: _Text


class EmbeddingRequest(BaseModel):
    """Texts to be given as vectors."""

    model_config = ConfigDict(extra="ignore")

    input: _Text | Annotated[list[_Text], Field(min_length=1, max_length=MOST_TEXTS)]
    model: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: None = Field(None, description="vectors are as long as the model gives them")

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a model takes it: a conversation or a prompt. ``given`` are the fields of Sampling that it names."""

    given: Mapping[str, Any]
    messages: tuple[Message, ...] = ()
    prompt: str = ""
    form: Form | None = None
    begun: str = ""
    logprobs: bool = False

    def sampling(self, default: Sampling) -> Sampling:
        """How the model writes: as it was asked, else as it does by default."""
        return replace(default, **self.given)


def chat_of(body: Mapping[str, Any]) -> Asked:
    """A request for a chat. Raises UsageError, which says which field is wrong, without what it holds."""
    asked = validated(ChatRequest, body)
    messages = [_message(number, one) for number, one in enumerate(asked.messages)]
    begun = ""
    if asked.continue_final_message:
        last = messages.pop()
        if last.role != "assistant" or last.images:
            raise UsageError("continue_final_message: the last message is no text of the assistant's")
        begun = last.text
    return Asked(
        given=_given(asked, asked.max_tokens or asked.max_completion_tokens)
        | ({"top": asked.top_logprobs or 0} if asked.logprobs else {}),
        messages=tuple(messages),
        form=_form(asked),
        begun=begun,
        logprobs=bool(asked.logprobs),
    )


def completion_of(body: Mapping[str, Any]) -> Asked:
    """A request for what follows a text. Raises UsageError."""
    asked = validated(CompletionRequest, body)
    return Asked(given=_given(asked, asked.max_tokens), prompt=asked.prompt)


def embedding_of(body: Mapping[str, Any]) -> EmbeddingRequest:
    """A request for vectors. Raises UsageError."""
    return validated(EmbeddingRequest, body)


def validated(kind: type[M], body: Mapping[str, Any]) -> M:
    """The fields of a body. Raises UsageError for the first that cannot be."""
    try:
        return kind.model_validate(dict(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part)[:60] for part in first["loc"][:6])
        raise UsageError(f"{where}: {first['msg'][:300]}") from None


def _given(asked: _Asked, max_tokens: int | None) -> dict[str, Any]:
    stop = None if asked.stop is None else (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop)
    fields = {
        "max_tokens": max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": None if asked.top_k is None else max(0, asked.top_k),
        "stop": None if stop is None else tuple(one for one in stop if one),
        "seed": asked.seed,
    }
    return {name: value for name, value in fields.items() if value is not None}


# --- messages ---------------------------------------------------------------------------------------------------------


def _message(number: int, given: Mapping[str, Any]) -> Message:
    where = f"messages.{number}"
    role = _ROLES.get(given["role"]) if isinstance(given.get("role"), str) else None
    if role is None:
        raise UsageError(f"{where}.role: roles are {', '.join(_ROLES)}")
    content = given.get("content")
    if isinstance(content, str):
        return Message(role, (content,))
    if not isinstance(content, Sequence) or not content:
        raise UsageError(f"{where}.content: it is no text, and no list of parts")
    return Message(role, tuple(_part(f"{where}.content.{place}", part) for place, part in enumerate(content)))


def _part(where: str, part: Any) -> str | bytes:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind != "image_url":
        raise UsageError(f"{where}: a part is a text, or an image_url")
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    marked = _DATA_URL.match(url) if isinstance(url, str) else None
    if not isinstance(url, str) or marked is None:
        raise UsageError(
            f"{where}: an image is a data: URL", hint="Write data:image/png;base64,...; addresses are not opened."
        )
    try:
        data = base64.b64decode(url[marked.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{where}: the image is not valid base64") from None
    _check_image(where, data)
    return data


def _check_image(where: str, data: bytes) -> None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:  # the header alone is read
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UsageError(f"{where}: the image is no JPEG and no PNG, or it is damaged") from None
    if width * height > MOST_PIXELS:
        raise UsageError(f"{where}: the image has {width * height:,} pixels, more than {MOST_PIXELS:,}")


# --- the form of the answer -------------------------------------------------------------------------------------------


def _form(asked: ChatRequest) -> Form | None:
    wanted = asked.response_format or {}
    kind = wanted.get("type", "text")
    if kind == "json_schema":
        named = wanted.get("json_schema")
        return _json_form(named.get("schema") if isinstance(named, Mapping) else None, "response_format")
    if kind != "text":
        raise UsageError(
            f"response_format: the type {str(kind)[:40]!r} is not known here",
            hint="Use text, or json_schema with the schema of what is wanted.",
        )
    given = {key: value for key, value in (asked.structured_outputs or {}).items() if value is not None}
    if not given:
        return None
    if isinstance(pattern := given.get("regex"), str):
        return RegexForm(pattern)
    choices = given.get("choice")
    if isinstance(choices, list) and choices and all(isinstance(one, str) for one in choices):
        from docflow.engines.chat import choice_regex

        return RegexForm(choice_regex(choices))
    return _json_form(given.get("json"), "structured_outputs")


def _json_form(schema: Any, where: str) -> JsonForm:
    if not isinstance(schema, Mapping):
        raise UsageError(f"{where}: it holds no JSON schema")
    from docflow.engines.wire import wire_schema

    return JsonForm(wire_schema(schema))
