"""Models of this process: the OpenAI-compatible routes under ``/api/v1``, and loading, unloading and listing them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from docflow.errors import DocflowError
from docflow.server.service.allowance import Allowances
from docflow.server.service.exchange import exchange_of
from docflow.server.service.gateway.call import Kind
from docflow.server.service.gateway.checks import PATHS
from docflow.server.service.gateway.handler import Gateway, Receive, Scope, Send
from docflow.server.service.gateway.relay import Relay
from docflow.server.service.managed import PREFIX, Managed, refused
from docflow.server.service.refusals import Refusal
from docflow.server.service.state import Service, service_of
from docflow.settings import ModelOptions

router = APIRouter(tags=["models"])

_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"description": "No valid key"},
    403: {"description": "The key may not do this"},
    404: {"description": "No such model here"},
    409: {"description": "Another model is being loaded, or this one is loaded with other settings"},
    413: {"description": "The body is too large"},
    422: {"description": "The request cannot be"},
    429: {"description": "The key has used up its share; Retry-After says when to come back"},
    500: {"description": "The model's files are damaged"},
    501: {"description": "The model cannot do this, or the service runs no models (docflow serve --models)"},
    503: {"description": "The backend is missing, or has no room now"},
    507: {"description": "Not enough memory"},
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: _ERRORS[status] for status in (401, 404, 413, 422, 429, 500, 501, 503, 507)
}


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """Ready the manager, where the service is to have one. Raises ConfigError, EngineUnavailable."""
    if not service.settings.serve.models:
        return
    from docflow.models import UnifiedModelManager

    manager = await asyncio.to_thread(UnifiedModelManager, service.settings)
    stack.push_async_callback(manager.close)
    managed = Managed(manager, service.part(Relay), service.part(Allowances), service.settings)
    service.parts[Managed] = managed
    gateway = service.part(Gateway)
    for kind, path in PATHS.items():
        service.direct["POST", path] = managed.before(kind, gateway.app(kind))
        service.direct["POST", PREFIX + path] = managed.app(kind)


def _managed(request: Request) -> Managed:
    found: Managed | None = service_of(request).parts.get(Managed)
    if found is None:
        raise Refusal(
            501,
            "this service runs no models itself",
            code="not_implemented",
            hint="Start it with docflow serve --models; /v1 answers for its upstreams.",
        )
    return found


class _Managed(Response):
    """An answer that the manager's own handler sends."""

    def __init__(self, request: Request, kind: Kind) -> None:
        super().__init__()
        self._app = _managed(request).app(kind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _documented(title: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"title": title, "type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_MODEL = {"type": "string", "maxLength": 300, "description": "a name of GET /models; models.default when missing"}
_STREAM = {"type": "boolean", "description": "server-sent events"}
_TOKENS = {"type": "integer", "minimum": 1}
_SAMPLING = {
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "top_k": {"type": "integer", "minimum": -1},
    "stop": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 16}]},
    "seed": {"type": "integer"},
}


@router.post(
    "/api/v1/chat/completions",
    response_class=Response,
    responses=_ANSWERS,
    openapi_extra=_documented(
        "ModelChatRequest",
        {
            "model": _MODEL,
            "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
            "max_tokens": _TOKENS,
            "stream": _STREAM,
            "response_format": {"type": "object", "description": "json_schema, with the schema of the answer"},
            **_SAMPLING,
        },
        ["messages"],
    ),
)
async def chat(request: Request) -> Response:
    """A chat with a model of this process, with images as ``data:`` URLs; the model is loaded where it is not."""
    return _Managed(request, "chat")


@router.post(
    "/api/v1/completions",
    response_class=Response,
    responses=_ANSWERS,
    openapi_extra=_documented(
        "ModelCompletionRequest",
        {"model": _MODEL, "prompt": {"type": "string"}, "max_tokens": _TOKENS, "stream": _STREAM, **_SAMPLING},
        ["prompt"],
    ),
)
async def completions(request: Request) -> Response:
    """A text to be gone on with, without any template."""
    return _Managed(request, "completion")


@router.post(
    "/api/v1/embeddings",
    response_class=Response,
    responses=_ANSWERS,
    openapi_extra=_documented(
        "ModelEmbeddingRequest",
        {
            "model": _MODEL,
            "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
            "encoding_format": {"enum": ["float", "base64"]},
        },
        ["input"],
    ),
)
async def embeddings(request: Request) -> Response:
    """Texts as vectors; 501 from a model that has none."""
    return _Managed(request, "embeddings")


# --- managing them ----------------------------------------------------------------------------------------------------


class ModelState(BaseModel):
    """A model that can be named."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    alias: str | None = Field(description="the model that this name stands for, where it is an alias")
    backend: str | None = Field(description="vllm, transformers or llama_cpp: who runs it, or would")
    loaded: bool
    loading: bool
    in_use: int = Field(description="requests that are at it")
    present: bool = Field(description="whether its files are on this machine")
    memory_bytes: int | None = Field(description="what it takes at least")
    fits: bool | None = Field(description="whether there is memory for it now")
    problem: str | None = Field(description="why it cannot be loaded")
    context: int | None = Field(None, description="tokens of a conversation with its answer, once it is loaded")
    settings: dict[str, Any]


class ModelList(BaseModel):
    """The models of this service's own."""

    default: str
    active_backend: str
    backends: list[str]
    models: list[ModelState]


class LoadRequest(BaseModel):
    """How a model is to be loaded, where that is not as its name says."""

    model_config = ConfigDict(extra="forbid")

    config: ModelOptions | None = None
    backend: str | None = Field(None, max_length=40, description="vllm, transformers or llama-cpp")


class Unloaded(BaseModel):
    """What became of a model that was to go."""

    id: str
    unloaded: bool = Field(description="whether it was loaded")


@router.get("/models", responses={status: _ERRORS[status] for status in (401, 501)})
async def models(request: Request) -> ModelList:
    """Every model that can be named: who runs it, whether it is loaded, what it takes, and whether that is there."""
    managed = _managed(request)
    manager = managed.manager
    return ModelList(
        default=manager.settings.default,
        active_backend=manager.active_backend,
        backends=list(manager.managers),
        models=[ModelState(**one) for one in await manager.list_models()],
    )


@router.post(
    "/models/{model_name:path}/load",
    responses={status: _ERRORS[status] for status in (401, 403, 404, 409, 422, 500, 501, 503, 507)},
)
async def load(request: Request, model_name: str, asked: LoadRequest | None = None) -> ModelState:
    """Load a model; one that is loaded stays as it is. Wants an admin's key where there are keys."""
    managed = _managed(request)
    _check_admin(request)
    asked = asked or LoadRequest()
    if asked.config is not None:
        for name in ("trust_remote_code", "projector"):
            if getattr(asked.config, name):
                raise Refusal(422, f"{name} is set for an alias in docflow.toml, not by a request", code="UsageError")
    await managed.check_offered(model_name)
    try:
        await managed.manager.load_model(model_name, asked.config, asked.backend, wait=False)
        return ModelState(**await managed.manager.describe(model_name))
    except DocflowError as error:
        raise refused(error, busy=409) from error


@router.post(
    "/models/{model_name:path}/unload",
    responses={status: _ERRORS[status] for status in (401, 403, 404, 409, 501)},
)
async def unload(request: Request, model_name: str) -> Unloaded:
    """Unload a model once its requests are answered, and give its memory back. Wants an admin's key."""
    managed = _managed(request)
    _check_admin(request)
    try:
        if managed.manager.loaded(model_name) is None:
            await managed.check_offered(model_name)
        return Unloaded(id=model_name, unloaded=await managed.manager.unload_model(model_name))
    except DocflowError as error:
        raise refused(error, busy=409) from error


def _check_admin(request: Request) -> None:
    caller = exchange_of(request.scope).caller
    if caller is None or not caller.admin:
        raise Refusal(403, "this key may not load or unload models: it wants NAME:admin=KEY", code="not_admin")
