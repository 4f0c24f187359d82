"""Answers to messages, prompts and images: ``/generate``, ``/vision`` and ``/multimodal``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from docflow.engines.base import Turn
from docflow.server.service.contracts import (
    EitherRequest,
    GenerateResponse,
    GenerationResponse,
    MessageRequest,
    ModelInfo,
    MultimodalRequest,
    Timings,
    VisionRequest,
)
from docflow.server.service.conversations import Conversation, Conversations, Message
from docflow.server.service.exchange import exchange_of
from docflow.server.service.generating import Generated, Generator, generator_of
from docflow.server.service.images import Shown, decoded
from docflow.server.service.keys import NOBODY
from docflow.server.service.refusals import Refusal
from docflow.server.service.spoken_json import json_in
from docflow.server.service.state import Service, service_of

router = APIRouter(tags=["generation"])
M = TypeVar("M", bound=BaseModel)

_MOST_FIELD_BYTES = 4 << 20
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "An image cannot be read, or the engine refuses the request"},
    404: {"description": "No such conversation, or no such model"},
    413: {"description": "The images are too large"},
    415: {"description": "Not a kind of image that is taken"},
    422: {"description": "The request is not well formed"},
    429: {"description": "The key has used up its share of the models that are run here"},
    500: {"description": "Generation failed"},
    501: {"description": "No engine here converses"},
    503: {"description": "No engine is ready, or the queue is full"},
    504: {"description": "No answer in time"},
    507: {"description": "Not enough memory for the model that is named"},
}


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """The engines, and the conversations that are kept."""
    await generator_of(service, stack)
    serve = service.settings.serve
    service.parts[Conversations] = Conversations(serve.conversations, serve.conversation_seconds)


@router.post("/generate", responses=_ERRORS)
async def generate(
    request: Request,
    body: Annotated[
        EitherRequest,
        Body(
            openapi_examples={
                "message": {"value": {"message": "What is a delivery note?", "max_tokens": 512, "temperature": 0.7}},
                "prompt": {"value": {"prompt": "What is a delivery note?", "max_tokens": 512, "top_p": 0.9}},
            }
        ),
    ],
) -> GenerationResponse | GenerateResponse:
    """Answer a message in a conversation, or a prompt on its own: the body holds the one or the other."""
    if isinstance(body, MessageRequest):
        return await _turn(request, body, [])
    generator = service_of(request).part(Generator)
    model = await generator.chosen(body.model)
    exchange_of(request.scope).read(len(body.prompt))
    shown = await _shown(request, [body.image] if body.image is not None else [])
    turn = Turn("user", (*(one.page for one in shown), body.prompt))
    generated = await generator.generate(
        request,
        [turn],
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        model=model,
    )
    return GenerateResponse(
        generated_text=generated.text, num_tokens=generated.tokens, finish_reason=generated.answer.stop
    )


def _either(model: type[BaseModel], form: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """The description of a body that is JSON, or a form with files."""
    shared = {
        "message": {"type": "string"},
        "conversation_id": {"type": "string"},
        "model": {"type": "string"},
        "max_tokens": {"type": "integer", "minimum": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    }
    content = {
        "multipart/form-data": {"schema": {"type": "object", "properties": form | shared, "required": required}},
        "application/json": {"schema": model.model_json_schema()},
    }
    return {"requestBody": {"required": True, "content": content}}


_FILE = {"type": "string", "format": "binary"}


@router.post("/vision", responses=_ERRORS, openapi_extra=_either(VisionRequest, {"file": _FILE}, ["file"]))
async def vision(request: Request) -> GenerationResponse:
    """Answer a question about one image (``file`` of a form, or ``image`` in JSON)."""
    body, images = await _read(request, VisionRequest, "image")
    if len(images) > 1:
        raise Refusal(422, "/vision takes one image; /multimodal takes several")
    return await _turn(request, body, images)


@router.post(
    "/multimodal",
    responses=_ERRORS,
    openapi_extra=_either(
        MultimodalRequest, {"files": {"type": "array", "items": _FILE, "minItems": 1}}, ["files", "message"]
    ),
)
async def multimodal(request: Request) -> GenerationResponse:
    """Answer a message with one image or several (``files`` of a form, or ``images`` in JSON)."""
    body, images = await _read(request, MultimodalRequest, "images")
    return await _turn(request, body, images)


async def _read(request: Request, model: type[M], field: str) -> tuple[M, list[str | bytes]]:
    """A body and its images, from JSON or from a form. Raises RequestValidationError and Refusal."""
    generator = service_of(request).part(Generator)
    if generator.managed is None:  # else it depends on the model that the body names
        generator.check()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    images: list[str | bytes] = []
    if kind == "multipart/form-data":
        try:
            async with request.form(max_files=64, max_fields=64, max_part_size=_MOST_FIELD_BYTES) as form:
                given: Any = {name: value for name, value in form.items() if isinstance(value, str)}
                images += [await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)]
        except HTTPException as error:
            raise Refusal(400, f"the form cannot be read: {error.detail}") from error
        # What the model wants of a form's files is that there are some.
        given[field] = ([""] * len(images) if field == "images" else "") if images else None
        given = {name: value for name, value in given.items() if value is not None}
    elif kind == "application/json" or kind.endswith("+json"):
        try:
            given = await request.json()
        except (ValueError, RecursionError) as error:
            raise Refusal(422, "the body is not valid JSON", code="invalid_request") from error
    else:
        raise Refusal(415, "send a form with files (multipart/form-data), or JSON")
    try:
        body = model.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from error
    if not images:
        told = getattr(body, field)
        images += told if isinstance(told, list) else [told]
    return body, images


async def _shown(request: Request, images: Sequence[str | bytes]) -> list[Shown]:
    """The images of a request, decoded. Raises Refusal and DocumentError."""
    if not images:
        return []
    generator = service_of(request).part(Generator)
    generator.check_line()  # for a model of this process nobody has looked at it before

    def opened() -> list[Shown]:
        return generator.images.open([decoded(one) if isinstance(one, str) else one for one in images])

    return await generator.run(request, opened)


async def _turn(
    request: Request, body: MessageRequest | VisionRequest | MultimodalRequest, images: Sequence[str | bytes]
) -> GenerationResponse:
    """A turn of a conversation, a new one where there is no id."""
    begun = time.perf_counter()
    service = service_of(request)
    generator, conversations = service.part(Generator), service.part(Conversations)
    model = await generator.chosen(body.model)
    text = body.message
    exchange = exchange_of(request.scope)
    exchange.read(len(text))
    caller = exchange.caller or NOBODY
    conversation = Conversation(caller.name)
    if body.conversation_id is not None:
        conversation = conversations.get(body.conversation_id, caller)
    shown = await _shown(request, images)
    size = len(text.encode()) + sum(one.size for one in shown)
    asked = Message("user", text, tuple(one.page for one in shown), size)
    async with conversation.lock:  # of two turns of one conversation, the second knows the first
        turns = [message.turn for message in (*conversation.messages, asked)]
        generated = await generator.generate(
            request, turns, max_tokens=body.max_tokens, temperature=body.temperature, model=model
        )
        said = Message("assistant", generated.text, size=len(generated.text.encode()))
        conversations.add(conversation, asked, said)
    return _response(generated, conversation.id, begun, exchange.started)


def _response(generated: Generated, conversation_id: str, begun: float, arrived: float) -> GenerationResponse:
    parsing = time.perf_counter()
    is_json, found = json_in(generated.text)
    now = time.perf_counter()
    timings = Timings(
        generation_ms=_ms(generated.seconds),
        total_ms=_ms(now - begun),
        tokens_generated=generated.tokens,
        tokens_per_second=round(generated.tokens_per_second, 3),
        endpoint_total_ms=_ms(now - arrived),
        json_parse_ms=_ms(now - parsing),
    )
    return GenerationResponse(
        response=generated.text,
        conversation_id=conversation_id,
        generation_time=round(generated.seconds, 6),
        model_info=ModelInfo(
            engine=generated.engine,
            model_name=generated.answer.model,
            max_tokens=generated.max_tokens,
            temperature=generated.temperature,
            timings=timings,
        ),
        response_json=found if isinstance(found, dict) else None,
        response_is_json=is_json,
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
