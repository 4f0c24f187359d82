"""``/v1/jobs``: many documents at once, followed from afar, their rows fetched as JSON, Parquet or CSV."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from docflow.errors import StorageError
from docflow.server.service.answers import document_json, dumped
from docflow.server.service.asked import Asked
from docflow.server.service.described import EXTRACT_BODY, REFUSED
from docflow.server.service.events import event, streamed
from docflow.server.service.exchange import exchange_of
from docflow.server.service.extracting import Extraction, data_dir_of
from docflow.server.service.job_files import FINISHED, Job
from docflow.server.service.jobs import Jobs
from docflow.server.service.refusals import Refusal
from docflow.server.service.state import Service, service_of
from docflow.storage import Dataset
from docflow.storage.export import export
from docflow.storage.rows import result_of

router = APIRouter(tags=["jobs"])

MOST_DOCUMENTS = 2_000
"""Documents of one job."""
FOLLOW_SECONDS = 0.5
PARQUET = "application/vnd.apache.parquet"
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "no such job of this key"}}


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    extraction = service.part(Extraction)
    jobs = await asyncio.to_thread(Jobs, data_dir_of(service.settings) / "jobs", extraction, service.settings.serve)
    stack.push_async_callback(asyncio.to_thread, jobs.close)
    service.parts[Jobs] = jobs


@router.post(
    "/v1/jobs",
    status_code=202,
    openapi_extra=EXTRACT_BODY,
    responses=REFUSED | {507: {"description": "there is no room for it"}},
)
async def submit(request: Request) -> Response:
    """Take in a job: the fields are those of ``/v1/extract``. The answer says where it is followed."""
    service = service_of(request)
    jobs, extraction, serve = service.part(Jobs), service.part(Extraction), service.settings.serve
    exchange = exchange_of(request.scope)
    length = request.headers.get("content-length", "")
    size = int(length) if length.isdigit() else serve.job_bytes
    async with AsyncExitStack() as stack:
        stack.enter_context(extraction.place())
        room = jobs.room(size)
        await asyncio.to_thread(room.__enter__)
        stack.push(room)
        received = await extraction.uploads.receive(request, most_bytes=serve.job_bytes, most_files=MOST_DOCUMENTS)
        stack.callback(received.close)
        asked = Asked.of(received.fields)
        asked.settings(service.settings.extraction)  # what is off is said now, and not by the job
        await asyncio.to_thread(asked.chosen, extraction.programs)
        exchange.kind, exchange.documents = "job", len(received.uploads)
        fields = asked.model_dump(mode="json", by_alias=True, exclude_none=True)
        job = await asyncio.to_thread(jobs.submit, received, fields, _owner(request))
    return _answer(_shown(jobs, job), 202, {"location": f"/v1/jobs/{job.id}"})


@router.get("/v1/jobs")
async def every(request: Request, limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> Response:
    """This key's jobs, the newest first; those of all keys for an admin."""
    jobs = service_of(request).part(Jobs)
    found = [job for job in await asyncio.to_thread(jobs.files.all) if _may_see(request, job)]
    return _answer({"jobs": [_shown(jobs, job) for job in found[:limit]], "total": len(found)})


@router.get("/v1/jobs/{job_id}", responses=_NOT_FOUND)
async def one(request: Request, job_id: str) -> Response:
    """How far a job is."""
    jobs = service_of(request).part(Jobs)
    return _answer(_shown(jobs, await _job(request, jobs, job_id)))


@router.get("/v1/jobs/{job_id}/events", responses=_NOT_FOUND)
async def events(request: Request, job_id: str) -> Response:
    """How a job comes along, as events: ``progress`` whenever something changed, ``done`` at its end."""
    jobs = service_of(request).part(Jobs)
    await _job(request, jobs, job_id)

    async def follow() -> AsyncIterator[bytes]:
        last: dict[str, Any] = {}
        while True:
            job = await asyncio.to_thread(jobs.files.load, job_id)
            if job is None or job.state == "deleted":
                yield event("deleted", {"id": job_id})
                return
            shown = _shown(jobs, job)
            if job.state in FINISHED:
                yield event("done", shown)
                return
            told = shown | {"eta_seconds": None}  # which changes all the time
            if told != last:
                yield event("progress", shown)
                last = told
            await asyncio.sleep(FOLLOW_SECONDS)

    return streamed(request, follow())


@router.delete("/v1/jobs/{job_id}", status_code=204, responses=_NOT_FOUND)
async def delete(request: Request, job_id: str) -> Response:
    """Cancel a job if it is not finished, and remove its documents and its results."""
    jobs = service_of(request).part(Jobs)
    job = await _job(request, jobs, job_id)
    await asyncio.to_thread(jobs.delete, job)
    return Response(status_code=204)


@router.get(
    "/v1/jobs/{job_id}/results",
    response_class=Response,
    responses=_NOT_FOUND | {200: {"content": {"application/json": {}, PARQUET: {}, "application/zip": {}}}},
)
async def results(
    request: Request,
    job_id: str,
    after: Annotated[int, Query(ge=0, le=10_000_000, description="documents to pass over")] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    format: Annotated[  # noqa: A002 (the parameter's name)
        Literal["json", "parquet", "jsonl", "csv"] | None, Query(description="json unless Accept asks for Parquet")
    ] = None,
) -> Response:
    """The rows that are there, also while the job is at work: a page of them as JSON, or all as one file."""
    jobs = service_of(request).part(Jobs)
    job = await _job(request, jobs, job_id)
    wanted = format or ("parquet" if PARQUET in request.headers.get("accept", "") else "json")
    if wanted == "json":
        return Response(await asyncio.to_thread(_page, jobs, job, after, limit), media_type="application/json")
    folder = Path(tempfile.mkdtemp(prefix=".file-", dir=jobs.files.path(job.id)))
    try:
        path, media_type = await asyncio.to_thread(_file, jobs, job, folder, wanted)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return FileResponse(
        path,
        media_type=media_type,
        filename=path.name,
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


def _page(jobs: Jobs, job: Job, after: int, limit: int) -> bytes:
    order = {file.source: file.number for file in job.files}
    dataset = _dataset(jobs, job)
    # Program by program: read together, each record would have the fields of all.
    rows = []
    if dataset is not None:
        rows = [row for program in dataset.programs for row in dataset.records(program)]
    rows.sort(key=lambda row: (order.get(row["source"], 0), row.get("first_page") or 0))
    shown = [document_json(result_of(row)) for row in rows[after : after + limit]]
    more = after + limit < len(rows)
    return dumped({"documents": shown, "total": len(rows), "next": after + limit if more else None, "state": job.state})


def _file(jobs: Jobs, job: Job, folder: Path, wanted: str) -> tuple[Path, str]:
    """All rows as one file, and its media type. Raises Refusal where there is none yet."""
    import pyarrow.parquet as pq

    dataset = _dataset(jobs, job)
    if dataset is None:
        raise Refusal(409, "the job has no rows yet", code="no_rows", retry_after=5)
    if wanted == "parquet":
        path = folder / "results.parquet"
        pq.write_table(dataset.arrow(), path, compression="zstd")
        return path, PARQUET
    if wanted == "jsonl":
        path = folder / "results.jsonl"
        export(dataset, path, "jsonl")
        return path, "application/jsonl"
    tables = folder / "tables"
    tables.mkdir()
    export(dataset, tables / "results.csv", "csv")
    path = folder / "results.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for table in sorted(tables.glob("*.csv")):
            archive.write(table, table.name)
    return path, "application/zip"


def _dataset(jobs: Jobs, job: Job) -> Dataset | None:
    """The rows of a job; None while there are none."""
    try:
        dataset = Dataset(jobs.files.out(job))
        return dataset if dataset.programs else None
    except StorageError:
        return None


async def _job(request: Request, jobs: Jobs, job_id: str) -> Job:
    """Raises Refusal (404) also where the job is another key's: nobody learns which there are."""
    job = await asyncio.to_thread(jobs.files.load, job_id)
    if job is None or job.state == "deleted" or not _may_see(request, job):
        raise Refusal(404, "there is no such job", code="not_found")
    return job


def _owner(request: Request) -> str:
    caller = exchange_of(request.scope).caller
    return caller.name if caller is not None else ""


def _may_see(request: Request, job: Job) -> bool:
    caller = exchange_of(request.scope).caller
    return caller is not None and job.state != "deleted" and (caller.admin or caller.name == job.owner)


def _shown(jobs: Jobs, job: Job) -> dict[str, Any]:
    """A job as it is answered."""
    progress = jobs.progress(job.id)
    counts = dict(job.counts)
    done = len(job.files) if job.state == "done" else 0
    eta = None
    if progress is not None and job.state not in FINISHED:
        counts = {"valid": progress.valid, "invalid": progress.invalid, "failed": progress.failed}
        before = progress.skipped + progress.skipped_failed
        done = before + progress.done
        left = max(0, len(job.files) - done)
        eta = round(left / progress.rate, 1) if progress.rate else None
    return {
        "id": job.id,
        "state": job.state,
        "message": job.message,
        "program": job.asked.get("program") or ("schema" if "schema" in job.asked else "auto"),
        "owner": job.owner,
        "documents": len(job.files),
        "bytes": sum(file.size for file in job.files),
        "done": done,
        "counts": counts,
        "eta_seconds": eta,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "results": f"/v1/jobs/{job.id}/results",
    }


def _answer(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(dumped(content), status, headers, media_type="application/json")
