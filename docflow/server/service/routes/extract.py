"""``/v1/extract``: documents in, typed records with their evidence out. ``/v1/programs``; page images to look at."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response

from docflow.documents.model import Document
from docflow.errors import DocumentError, EngineError
from docflow.extraction.result import Result
from docflow.program import Program
from docflow.server.service.answers import document_json, dumped, error_of
from docflow.server.service.asked import Asked
from docflow.server.service.described import EXTRACT_BODY, REFUSED
from docflow.server.service.engines import Engines, engines_of
from docflow.server.service.events import event, streamed, until_gone, wants_events
from docflow.server.service.exchange import Exchange, exchange_of
from docflow.server.service.extracting import DOCUMENTS_AT_ONCE, Extracted, Extraction
from docflow.server.service.pages import Pages
from docflow.server.service.refusals import Refusal, body_of, refusal_of
from docflow.server.service.state import Service, service_of
from docflow.server.service.telemetry import Telemetry
from docflow.server.service.uploads import Received, Upload
from docflow.server.views import record_groups
from docflow.settings import ExtractionSettings

router = APIRouter(tags=["extraction"])

T = TypeVar("T")

MOST_DOCUMENTS = 32
"""Documents of one request; more are a job's."""


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    engines = await engines_of(service, stack)
    extraction = await asyncio.to_thread(Extraction, service.settings, engines.engine)
    stack.push_async_callback(asyncio.to_thread, extraction.close)
    service.parts[Extraction] = extraction
    telemetry = service.part(Telemetry)

    def count(result: Result[Any]) -> None:
        program = result.program if result.program in extraction.programs.names else "schema"
        telemetry.document(program, result)

    extraction.on_result = count
    service.parts[Pages] = Pages()


@router.get("/v1/programs")
def programs(request: Request) -> dict[str, Any]:
    """The programs that a request may name, with the JSON Schema of their records (null: it finds out the kind)."""
    service = service_of(request)
    extraction = service.part(Extraction)
    return {
        "limits": {"upload_bytes": service.settings.serve.upload_bytes, "documents": MOST_DOCUMENTS},
        "programs": [
            {
                "name": program.name,
                "version": program.version,
                "kinds": [kind.name for kind in program.kinds],
                "schema": None if program.model is None else program.schema,
            }
            for program in extraction.programs
        ],
    }


@router.post("/v1/extract", openapi_extra=EXTRACT_BODY, responses=REFUSED)
async def extract(
    request: Request,
    view: Annotated[
        bool, Query(description="keep the pages for some minutes, to be looked at beside the record")
    ] = False,
) -> Response:
    """Take one or several documents through a program, or through a JSON Schema.

    With ``Accept: text/event-stream`` the answer comes as events: ``accepted``, ``progress``, ``result``, ``done``.
    """
    service = service_of(request)
    extraction = service.part(Extraction)
    exchange = exchange_of(request.scope)
    async with AsyncExitStack() as stack:
        stack.enter_context(extraction.place())
        await _check_engines(service.part(Engines))
        received = await extraction.uploads.receive(
            request, most_bytes=service.settings.serve.upload_bytes, most_files=MOST_DOCUMENTS
        )
        stack.callback(received.close)
        asked = Asked.of(received.fields)
        settings = asked.settings(service.settings.extraction)
        program = await asyncio.to_thread(asked.chosen, extraction.programs)
        exchange.kind, exchange.documents = "extract", len(received.uploads)
        batch = _Batch(service, exchange, received, program, settings, view)
        if wants_events(request):
            return streamed(request, batch.events(stack.pop_all()))
        work = asyncio.ensure_future(batch.all())
        gone = asyncio.ensure_future(until_gone(request))
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
            return Response(status_code=499)  # nobody is there to read it
        extracted = work.result()
    _refuse_as_a_whole([result for one in extracted for result in one.results])
    return Response(dumped(batch.answer(extracted)), media_type="application/json")


@router.get(
    "/v1/pages/{token}/{number}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 404: {"description": "not kept any more"}},
)
def page(request: Request, token: str, number: int, side: Annotated[int, Query(ge=1, le=10_000)] = 2_000) -> Response:
    """A page of a document that was sent with ``view``, as JPEG, for some minutes and for the same key alone."""
    pages = service_of(request).part(Pages)
    caller = exchange_of(request.scope).caller
    try:
        image = pages.image(token, caller.name if caller else "", number, side)
    except DocumentError as error:
        raise Refusal(404, error.message, hint=error.hint, code="not_found") from error
    return Response(image, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})


class _Batch:
    """The documents of one request."""

    def __init__(
        self,
        service: Service,
        exchange: Exchange,
        received: Received,
        program: Program,
        settings: ExtractionSettings,
        view: bool,
    ) -> None:
        self._extraction, self._pages = service.part(Extraction), service.part(Pages)
        self._exchange, self._program, self._settings, self._view = exchange, program, settings, view
        self._uploads = received.uploads
        self._few = asyncio.Semaphore(DOCUMENTS_AT_ONCE)
        self._owner = exchange.caller.name if exchange.caller else ""

    async def all(self) -> list[Extracted]:
        """What became of every document, in the order in which they were sent."""
        return await _together(self._one(number, upload, None) for number, upload in enumerate(self._uploads))

    async def events(self, stack: AsyncExitStack) -> AsyncIterator[bytes]:
        """The same as it comes along. ``stack`` is closed at the end."""
        said: asyncio.Queue[bytes | None] = asyncio.Queue()
        counts: Counter[str] = Counter()

        async def one(number: int, upload: Upload) -> None:
            extracted = await self._one(number, upload, said)
            for content in self._answers(upload, extracted):
                counts[content["status"]] += 1
                said.put_nowait(event("result", {"document": number, **content}))

        async def every() -> None:
            try:
                await _together(one(number, upload) for number, upload in enumerate(self._uploads))
            finally:
                said.put_nowait(None)

        async with stack:
            for number, upload in enumerate(self._uploads):
                yield event("accepted", {"document": number, "name": upload.name, "bytes": upload.size})
            work = asyncio.ensure_future(every())
            try:
                while (content := await said.get()) is not None:
                    yield content
                try:
                    await work
                except Refusal as refusal:  # the service is closing
                    yield event("error", body_of(refusal, "", self._exchange.request_id))
                    return
                yield event("done", {"documents": len(self._uploads), "counts": dict(counts)})
            finally:
                work.cancel()
                await asyncio.wait({work})

    def answer(self, extracted: Sequence[Extracted]) -> dict[str, Any]:
        documents = [
            content
            for upload, one in zip(self._uploads, extracted, strict=True)
            for content in self._answers(upload, one)
        ]
        return {
            "documents": documents,
            "counts": dict(Counter(document["status"] for document in documents)),
            "request_id": self._exchange.request_id,
        }

    async def _one(self, number: int, upload: Upload, said: asyncio.Queue[bytes | None] | None) -> Extracted:
        loop = asyncio.get_running_loop()

        def tell(content: dict[str, Any]) -> None:
            if said is not None:
                loop.call_soon_threadsafe(said.put_nowait, event("progress", {"document": number, **content}))

        async with self._few:
            extracted = await self._extraction.extract(upload, self._program, self._settings, tell, keep=self._view)
        for result in extracted.results:
            self._count(result)
            self._extraction.on_result(result)
        return extracted

    def _count(self, result: Result[Any]) -> None:
        exchange, usage = self._exchange, result.usage
        exchange.upstream, exchange.model = result.engine, result.model
        exchange.prompt_tokens = (exchange.prompt_tokens or 0) + usage.prompt
        exchange.cached_tokens = (exchange.cached_tokens or 0) + usage.cached
        exchange.output_tokens = (exchange.output_tokens or 0) + usage.output
        exchange.attempts = max(exchange.attempts, result.attempts)

    def _answers(self, upload: Upload, extracted: Extracted) -> list[dict[str, Any]]:
        document = extracted.following.document if self._view else None
        token = None if document is None else self._pages.keep(document, upload.size, self._owner)
        return [
            document_json(result) | ({"view": self._shown(result, token, document)} if self._view else {})
            for result in extracted.results
        ]

    def _shown(self, result: Result[Any], token: str | None, document: Document | None) -> dict[str, Any]:
        """What the page for people draws: addresses of page images, and the record's values in groups."""
        program = next((kind for kind in self._program.kinds if kind.name == result.program), self._program)
        groups = []
        if result.data is not None and program.model is not None:
            groups = record_groups(result, program.schema)
        first, last = result.first_page or 1, result.last_page or 0
        images = {} if token is None else {n: f"/v1/pages/{token}/{n}" for n in range(first, last + 1)}
        return {"groups": groups, "images": images}


async def _check_engines(engines: Engines) -> None:
    """Raises Refusal where no engine is well: a run waits for one to come back, a request is told at once."""
    if not engines.usable:
        await engines.look()
    if not engines.usable:
        raise Refusal(503, "no engine can answer now", code="NoEngine", retry_after=5)


async def _together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What they all give, in order; where one fails, or nobody waits any more, the others are given up."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _refuse_as_a_whole(results: Sequence[Result[Any]]) -> None:
    """Raises Refusal where there is nothing but an error to answer: a single document that failed, or no engine."""
    errors = [result.error for result in results if result.status == "failed" and result.error is not None]
    if not errors or len(errors) < len(results):
        return
    if len(results) == 1 or all(error.stage == EngineError.stage for error in errors):
        raise refusal_of(error_of(errors[0]))
