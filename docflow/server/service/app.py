"""The service as one application: the guard before it, one router a subject behind it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from docflow.errors import DocflowError, stack_of
from docflow.server.service.exchange import exchange_of
from docflow.server.service.fitting import check_limits
from docflow.server.service.guard import App, Guard, Receive, Scope, Send
from docflow.server.service.keys import Keys
from docflow.server.service.refusals import Refusal, refusal_of, rendered
from docflow.server.service.routes import SUBJECTS
from docflow.server.service.state import Service
from docflow.settings import Settings

log = logging.getLogger("docflow.service")


def service_app(
    settings: Settings,
    *,
    hosts: Sequence[str] | None = None,
    started: Callable[[], None] | None = None,
    failed: Callable[[DocflowError], None] | None = None,
) -> App:
    """The application that ``docflow serve`` runs: pure ASGI, with its lifespan.

    ``hosts`` are the Host headers that are answered where there are no keys; None for any. ``started`` is called once
    it is ready, ``failed`` is told why it cannot be (the server then ends without a traceback). Raises ConfigError.
    """
    keys = Keys.parse(settings.serve.keys.get_secret_value() if settings.serve.keys else "")
    check_limits(settings.serve)
    service = Service(settings, keys)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for subject in SUBJECTS:
                await subject.open(service, stack)
            if started is not None:
                started()
            yield

    app = FastAPI(
        title="docflow",
        version=version("docflow"),
        description="Typed, grounded data from documents, and an OpenAI-compatible gateway to the engines behind it.",
        lifespan=lifespan,
        docs_url=None,  # its own page loads nothing from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    for subject in SUBJECTS:
        app.include_router(subject.router)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(DocflowError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(Exception, _failed)
    allowed = None if hosts is None or keys else frozenset(hosts)

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (service.direct.get((scope["method"], scope["path"])) or app)(scope, receive, send)
            return

        async def told(message: MutableMapping[str, Any]) -> None:
            await send({"type": message["type"]} if failed is not None else message)  # without the traceback in it

        try:
            await app(scope, receive, told)
        except DocflowError as error:
            if failed is None:
                raise
            failed(error)

    return Guard(routed, settings.serve, keys, service.observers, lambda: allowed)


def _refused(request: Request, error: Exception) -> Response:
    return _answer(request, _refusal(error))


def _failed(request: Request, error: Exception) -> Response:
    exchange = exchange_of(request.scope)
    exchange.error = type(error).__name__
    log.error("request %s: %s\n%s", exchange.request_id, type(error).__name__, stack_of(error))
    return _answer(request, Refusal(500, "the service failed", code="InternalError"))


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, DocflowError):
        return refusal_of(error)
    if isinstance(error, RequestValidationError):
        # Without what was sent: it may be a document's text. Where it stands, and what is wrong, is enough.
        errors = [
            {"loc": [str(part)[:100] for part in one["loc"]][:20], "msg": str(one["msg"])[:300], "type": one["type"]}
            for one in error.errors()[:20]
        ]
        first = errors[0]
        if first["type"] == "json_invalid":  # "loc" is a character of it then
            return Refusal(422, "the body is not valid JSON", code="invalid_json", detail={"errors": errors})
        if first["loc"] == ["body"]:  # of all that is sent in another type none is looked into
            hint = "Send JSON, with the header Content-Type: application/json."
            return Refusal(422, "the body is no JSON object", code="invalid_json", hint=hint, detail={"errors": errors})
        where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        said = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"]
        return Refusal(422, f"{where}: {said}", code="invalid_request", detail={"errors": errors})
    assert isinstance(error, HTTPException)
    return Refusal(error.status_code, str(error.detail))


def _answer(request: Request, refusal: Refusal) -> Response:
    exchange = exchange_of(request.scope)
    exchange.error = exchange.error or refusal.code or str(refusal.status)
    status, headers, body = rendered(refusal, exchange.path, exchange.request_id)
    response = Response(body, status)
    response.raw_headers = headers
    return response
