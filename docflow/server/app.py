"""The review page's server: on this machine alone, for whoever has the link.

Any user of the machine can reach a local port, and any web page can try to: a random token in the path keeps both out,
the Host header must name this address (against names that resolve to it), and what changes anything needs a header
that no other page can send. No path from a request is ever opened: documents go by their key in the dataset.
"""

from __future__ import annotations

import hmac
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from docflow.errors import DocflowError, DocumentError, UsageError
from docflow.fields import Locale
from docflow.server.index import Entry, Index, UnknownDocument
from docflow.server.originals import Originals
from docflow.server.static_files import MEDIA_TYPES, static_file
from docflow.server.views import View, document_view, entry_view
from docflow.storage.corrections import Said
from docflow.storage.overlay import Action

HEADER = "x-docflow-review"
_IMAGE_SIDES = (1000, 2000, 3000)
_LARGEST_REQUEST = 8 << 20
_MOST_ENTRIES = 500

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class OneSaid(BaseModel, extra="forbid"):
    """What the reviewer says of one path."""

    path: str = Field(max_length=2_000)
    action: Action
    text: str | None = Field(None, max_length=20_000)
    seen: str | None = None


class AllSaid(BaseModel, extra="forbid"):
    """What the reviewer says of a document, stored all or nothing."""

    said: list[OneSaid] = Field(min_length=1, max_length=100_000)


def review_app(
    index: Index, originals: Originals, *, token: str, hosts: frozenset[str], who: str, locale: Locale | None = None
) -> FastAPI:
    """The application; ``hosts`` are the Host headers that it answers to, such as ``127.0.0.1:8123``."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    lock = threading.Lock()  # the index and the corrections are used by one request at a time

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = _refused(request, token, hosts)
        response = refused if refused is not None else await answer(request)
        response.headers.update(_HEADERS)
        return response

    @app.exception_handler(DocflowError)
    async def failed(request: Request, error: DocflowError) -> JSONResponse:
        status = (
            404 if isinstance(error, DocumentError | UnknownDocument) else 422 if isinstance(error, UsageError) else 500
        )
        return JSONResponse({"message": error.message, "hint": error.hint}, status)

    @app.get("/{_token}/")
    def page() -> Response:
        return Response(static_file("review.html"), media_type="text/html")

    @app.get("/{_token}/static/{name}")
    def static(name: str) -> Response:
        if name not in MEDIA_TYPES:
            return Response(status_code=404)
        return Response(static_file(name), media_type=MEDIA_TYPES[name])

    @app.get("/{_token}/api/queue")
    def queue(
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_ENTRIES)] = 100,
        program: str | None = None,
        status: str | None = None,
        state: str | None = None,
    ) -> View:
        with lock:
            if after is None:
                index.refresh()
            matching = [
                entry
                for entry in index
                if program in (None, entry.program) and status in (None, entry.status) and _is(entry, state, after)
            ]
            position = 0
            if after is not None:
                position = next((i for i, entry in enumerate(matching) if entry.key == after), -1) + 1
            shown = matching[position : position + limit]
            counted = [entry for entry in index if entry.status != "failed"]
            return {
                "name": index.out.absolute().name,
                "who": who,
                "entries": [entry_view(entry) for entry in shown],
                "more": position + limit < len(matching),
                "matching": len(matching),
                "documents": len(counted),
                "reviewed": sum(entry.state == "done" for entry in counted),
                "marked": any(entry.needs_review is not None for entry in counted),
                "programs": Counter(entry.program for entry in index),
                "statuses": Counter(entry.status for entry in index),
            }

    @app.get("/{_token}/api/documents/{key}")
    def document(key: str) -> View:
        with lock:
            entry = index[key]
            return document_view(entry, index.row(entry), index.corrections)

    @app.get("/{_token}/api/documents/{key}/pages/{number}")
    def image(key: str, number: int, side: int = 2000) -> Response:
        with lock:
            entry = index[key]
        side = next((allowed for allowed in _IMAGE_SIDES if allowed >= side), _IMAGE_SIDES[-1])
        return Response(originals.image(entry.document_id, entry.sources, number, side), media_type="image/jpeg")

    @app.post("/{_token}/api/documents/{key}/corrections")
    def correct(key: str, all_said: AllSaid) -> dict[str, Any]:
        said = [Said(one.path, one.action, one.text, one.seen) for one in all_said.said]
        with lock:
            entry = index[key]
            row = index.row(entry)
            index.corrections.add(row, said, who, locale)
            index.judge(entry, row)
            return document_view(entry, row, index.corrections)

    return app


def _is(entry: Entry, state: str | None, after: str | None) -> bool:
    """Whether an entry is in a state: done, open (not done), or look (open, and marked as in need of one).

    The one to go on after stays, to be found again.
    """
    if entry.key == after or state is None:
        return True
    if state == "done":
        return entry.state == "done"
    is_open = entry.state != "done" and entry.status != "failed"
    return is_open and (state == "open" or bool(entry.needs_review))


def _refused(request: Request, token: str, hosts: frozenset[str]) -> Response | None:
    """The answer to a request that did not come from the review page itself; None for one that did."""
    given = request.url.path.split("/")[1]
    if not hmac.compare_digest(given.encode(), token.encode()):
        return Response(
            "Not found. The link that docflow review printed is the way in.\n", 404, media_type="text/plain"
        )
    if request.headers.get("host", "") not in hosts:
        return _plain(421, "Wrong host.\n")
    if request.method in ("GET", "HEAD"):
        return None
    origin = request.headers.get("origin")
    if request.headers.get(HEADER) != "1" or (origin is not None and origin.removeprefix("http://") not in hosts):
        return _plain(403, "Refused.\n")
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > _LARGEST_REQUEST:
        return _plain(413, "Too large.\n")
    return None


def _plain(status: int, text: str) -> Response:
    return Response(text, status, media_type="text/plain")
