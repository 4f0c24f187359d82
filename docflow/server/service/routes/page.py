"""The page for people at ``/``, and the files that it is made of."""

from __future__ import annotations

from contextlib import AsyncExitStack

from fastapi import APIRouter, Response

from docflow.server.service.refusals import Refusal
from docflow.server.service.state import Service
from docflow.server.static_files import SERVICE_FILES, static_file

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """Nothing needs to be readied."""


@router.get("/")
def page() -> Response:
    """The page itself: it holds nothing of anybody's."""
    headers = {"content-security-policy": _POLICY, "cross-origin-opener-policy": "same-origin"}
    return Response(static_file("serve.html"), media_type="text/html", headers=headers)


@router.get("/static/{name}")
def asset(name: str) -> Response:
    """What the page is made of."""
    if name not in SERVICE_FILES:
        raise Refusal(404, "there is no such file")
    return Response(static_file(name), media_type=SERVICE_FILES[name])
