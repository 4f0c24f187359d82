"""The OpenAI-compatible routes: chat, completions, embeddings, and the models of all upstreams."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request, Response

from docflow.server.service.allowance import Allowances
from docflow.server.service.gateway.call import Asked, Kind
from docflow.server.service.gateway.checks import PATHS
from docflow.server.service.gateway.handler import Gateway, Receive, Scope, Send
from docflow.server.service.gateway.http import HttpUpstream
from docflow.server.service.gateway.relay import Relay
from docflow.server.service.gateway.upstreams import Registry, Upstream
from docflow.server.service.managed import Managed
from docflow.server.service.refusals import Refusal
from docflow.server.service.state import Service, service_of
from docflow.settings import Settings

router = APIRouter(prefix="/v1", tags=["gateway"])


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """Read who the upstreams are, look at each, and go on looking. Raises ConfigError."""
    settings = service.settings
    registry = Registry.of(settings)
    asked = await asyncio.to_thread(_asked, registry, settings)
    relay = Relay(registry, asked, settings)
    stack.push_async_callback(relay.stop)
    await relay.start()
    allowances = Allowances(settings.gateway.key_requests_minute, settings.gateway.key_tokens_minute)
    gateway = Gateway(relay, allowances, settings)
    service.parts |= {Relay: relay, Allowances: allowances, Gateway: gateway}
    for kind, path in PATHS.items():
        service.direct["POST", path] = gateway.app(kind)


def _asked(registry: Registry, settings: Settings) -> Mapping[str, Asked]:
    return {upstream.name: _one(upstream, settings) for upstream in registry.upstreams}


def _one(upstream: Upstream, settings: Settings) -> Asked:
    if upstream.kind == "litellm":
        from docflow.server.service.gateway.outside import LitellmUpstream

        return LitellmUpstream(upstream, settings.gateway)
    return HttpUpstream(upstream, settings.servers, settings.gateway)


class _Relayed(Response):
    """An answer that the gateway's own handler sends."""

    def __init__(self, request: Request, kind: Kind) -> None:
        super().__init__()
        self._app = service_of(request).part(Gateway).app(kind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _documented(title: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """What a route takes, for the API's description: the fields that the gateway itself looks at."""
    schema = {"title": title, "type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


_MODEL = {"type": "string", "maxLength": 300, "description": "a model, or an upstream's name"}
_STREAM = {"type": "boolean", "description": "server-sent events"}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request is not well formed, or out of bounds"},
    401: {"description": "No valid key"},
    413: {"description": "The body is too large"},
    429: {"description": "The key has used up its share; Retry-After says when to come back"},
    501: {"description": "No upstream can do this"},
    502: {"description": "Every upstream that was asked failed"},
    503: {"description": "No upstream is well or has room; Retry-After says when to come back"},
}


@router.post(
    "/chat/completions",
    response_class=Response,
    responses=_ERRORS,
    openapi_extra=_documented(
        "ChatRequest",
        {"model": _MODEL, "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1}, "stream": _STREAM},
        ["messages"],
    ),
)
async def chat(request: Request) -> Response:
    """A chat, with images as ``data:`` URLs, tools and response formats. Fields not named here are passed on."""
    return _Relayed(request, "chat")


@router.post(
    "/completions",
    response_class=Response,
    responses=_ERRORS,
    openapi_extra=_documented(
        "CompletionRequest", {"model": _MODEL, "prompt": {"type": "string"}, "stream": _STREAM}, ["prompt"]
    ),
)
async def completions(request: Request) -> Response:
    """A text to be gone on with."""
    return _Relayed(request, "completion")


@router.post(
    "/embeddings",
    response_class=Response,
    responses=_ERRORS,
    openapi_extra=_documented("EmbeddingRequest", {"model": _MODEL, "input": {"type": "string"}}, ["input"]),
)
async def embeddings(request: Request) -> Response:
    """Texts as vectors, where an upstream has an embedding model."""
    return _Relayed(request, "embeddings")


@router.get("/models", responses={401: _ERRORS[401]})
async def models(request: Request) -> dict[str, Any]:
    """The models of all upstreams that are well, and those that this process runs itself."""
    return {"object": "list", "data": await _models(request)}


@router.get("/models/{model:path}", responses={401: _ERRORS[401], 404: {"description": "No upstream has it"}})
async def model(request: Request, model: str) -> dict[str, Any]:
    """One model."""
    for one in await _models(request):
        if one["id"] == model:
            return one
    raise Refusal(404, "no upstream has that model", code="model_not_found")


async def _models(request: Request) -> list[dict[str, Any]]:
    service = service_of(request)
    found = service.part(Relay).models()
    managed: Managed | None = service.parts.get(Managed)
    if managed is not None:
        known = {one["id"] for one in found}
        found += [one for one in await managed.listed() if one["id"] not in known]
    return found
