"""Sending requests to a service, and noting of each one how long it took and who answered.

At a rate, requests are sent when they are due, whether others were answered or not (open loop), and their time counts
from when they were due: a service that falls behind cannot hide it. With a number of clients instead, each sends its
next request when the last one was answered.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import aiohttp

from docflow.errors import EngineRefused, EngineUnavailable, UsageError

Route = Literal["chat", "extract", "generate"]
PATHS: dict[Route, str] = {"chat": "/v1/chat/completions", "extract": "/v1/extract", "generate": "/generate"}
MEDIA_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
PDF = {".pdf": "application/pdf"}
OFTEN_SECONDS = 1.0
"""How often the service's own metrics are read while it works."""
PROMPT = "Write down everything that is printed here."
MOST_DOCUMENTS = 500
MOST_DOCUMENT_BYTES = 10_485_760


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is sent: so many requests, at ``rate`` a second or by ``concurrency`` clients (where there is no rate).

    ``tokens`` is the most a model may write. Without ``documents`` the samples that come with docflow are sent.
    """

    url: str
    route: Route = "chat"
    requests: int = 200
    rate: float | None = None
    concurrency: int = 8
    documents: Path | None = None
    program: str = "auto"
    model: str = ""
    tokens: int = 64
    timeout_seconds: float = 300.0
    key: str = field(default="", repr=False)


@dataclass(slots=True)
class Sample:
    """One request: when it was due (seconds from the start), how long it took, and what came back."""

    due: float
    seconds: float = 0.0
    status: int = 0
    error: str = ""
    upstream: str = ""
    tokens: int = 0

    @property
    def answered(self) -> bool:
        return self.status == 200 and not self.error


@dataclass(slots=True)
class Measured:
    """All requests of a load; ``most_at_once`` were at the service together. GPU figures come from its metrics."""

    samples: list[Sample]
    seconds: float
    most_at_once: int = 0
    gpu_utilisation: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Document:
    name: str
    media_type: str
    content: bytes


def measure(load: Load) -> Measured:
    """Send all of it.

    Raises UsageError for a call that is off, EngineUnavailable where nobody answers at the URL, EngineRefused where
    the first request is refused for its key.
    """
    if not load.url.startswith(("http://", "https://")):
        raise UsageError(f"{load.url!r} is no URL", hint="Write http://HOST:PORT.")
    documents = _documents(load)
    return asyncio.run(_Driver(load, documents).run())


class _Driver:
    def __init__(self, load: Load, documents: Sequence[_Document]) -> None:
        self._load = load
        self._url = load.url.rstrip("/").removesuffix("/v1")
        self._bodies = [_body(load, one) for one in documents] or [_body(load, None)]
        self._headers = {"authorization": f"Bearer {load.key}"} if load.key else {}
        self._in_work = self._most = 0

    async def run(self) -> Measured:
        timeout = aiohttp.ClientTimeout(total=self._load.timeout_seconds)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=self._headers) as session:
            await self._try(session)
            gpu: list[float] = []
            looking = asyncio.create_task(self._look(session, gpu))
            started = time.perf_counter()
            try:
                samples = await (
                    self._at_rate(session, started) if self._load.rate else self._by_clients(session, started)
                )
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
        return Measured(samples, time.perf_counter() - started, self._most, gpu)

    async def _try(self, session: aiohttp.ClientSession) -> None:
        """One request that does not count: it warms the service up, and shows whether there is any."""
        first = await self._ask(session, 0, time.perf_counter(), 0.0)
        if first.status == 0:
            raise EngineUnavailable(
                f"no service answers at {self._url}: {first.error}", hint="docflow serve starts one."
            )
        if first.status in (401, 403):
            raise EngineRefused(
                f"the service at {self._url} wants a key", hint="Set DOCFLOW_API_KEY to one of its keys."
            )
        self._in_work = self._most = 0

    async def _at_rate(self, session: aiohttp.ClientSession, started: float) -> list[Sample]:
        assert self._load.rate is not None
        tasks: list[asyncio.Task[Sample]] = []
        for number in range(self._load.requests):
            due = number / self._load.rate
            await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
            tasks.append(asyncio.create_task(self._ask(session, number, started, due)))
        return [await task for task in tasks]

    async def _by_clients(self, session: aiohttp.ClientSession, started: float) -> list[Sample]:
        numbers = iter(range(self._load.requests))

        async def client() -> list[Sample]:
            return [await self._ask(session, number, started, time.perf_counter() - started) for number in numbers]

        clients = [client() for _ in range(min(self._load.concurrency, self._load.requests))]
        found = await asyncio.gather(*clients)
        return sorted((sample for samples in found for sample in samples), key=lambda sample: sample.due)

    async def _ask(self, session: aiohttp.ClientSession, number: int, started: float, due: float) -> Sample:
        sample = Sample(due)
        self._in_work += 1
        self._most = max(self._most, self._in_work)
        try:
            body = self._bodies[number % len(self._bodies)]
            async with session.post(self._url + PATHS[self._load.route], **body(number)) as response:
                content = await response.read()
                sample.status = response.status
                sample.upstream = response.headers.get("x-docflow-upstream", "")
        except TimeoutError:
            sample.error = "time-out"
        except aiohttp.ClientError as error:
            sample.error = type(error).__name__
        else:
            sample.seconds = time.perf_counter() - started - due
            _read(content, sample)
        finally:
            self._in_work -= 1
        return sample

    async def _look(self, session: aiohttp.ClientSession, gpu: list[float]) -> None:
        """Read from the service's metrics how much its GPUs are at work, over and over."""
        from prometheus_client.parser import text_string_to_metric_families

        while True:
            await asyncio.sleep(OFTEN_SECONDS)
            try:
                async with session.get(f"{self._url}/metrics") as response:
                    text = await response.text() if response.status == 200 else ""
                families = text_string_to_metric_families(text)
                found = [
                    sample.value
                    for family in families
                    if family.name == "docflow_gpu_utilisation_ratio"
                    for sample in family.samples
                ]
            except (aiohttp.ClientError, TimeoutError, ValueError):  # another kind of service
                return
            if not found:
                return
            gpu.append(sum(found) / len(found))


Body = Callable[[int], Mapping[str, Any]]
"""Makes what the n-th request sends, as aiohttp takes it."""


def _body(load: Load, document: _Document | None) -> Body:
    if load.route == "extract":
        assert document is not None
        return lambda number: {"data": _form(load.program, document)}
    if load.route == "generate":
        return lambda number: {"json": {"prompt": f"Request {number}. {PROMPT}", "max_tokens": load.tokens}}
    named = {"model": load.model} if load.model else {}
    shown: list[dict[str, Any]] = []
    if document is not None:
        uri = f"data:{document.media_type};base64,{base64.b64encode(document.content).decode()}"
        shown = [{"type": "image_url", "image_url": {"url": uri}}]

    def chat(number: int) -> Mapping[str, Any]:
        content = [*shown, {"type": "text", "text": f"{PROMPT} ({number})"}]
        body = {**named, "messages": [{"role": "user", "content": content}], "max_tokens": load.tokens}
        return {"json": body}

    return chat


def _form(program: str, document: _Document) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", document.content, filename=document.name, content_type=document.media_type)
    form.add_field("program", program)
    return form


def _read(content: bytes, sample: Sample) -> None:
    """Note what an answer says of tokens and of who gave it."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        sample.error = "no JSON"
        return
    if sample.status != 200:
        sample.error = f"status {sample.status}"
        return
    usage = answer.get("usage")
    if isinstance(usage, dict):
        sample.tokens = _whole(usage.get("completion_tokens"))
    sample.tokens = sample.tokens or _whole(answer.get("num_tokens"))
    documents = answer.get("documents")
    for document in documents if isinstance(documents, list) else ():
        sample.upstream = str(document.get("engine") or "")[:100]
        sample.tokens += _whole((document.get("usage") or {}).get("output"))
        if document.get("status") == "failed":
            sample.error = "document failed"


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _documents(load: Load) -> list[_Document]:
    """What is sent along. Raises UsageError where there is nothing of a kind that the route takes."""
    types = MEDIA_TYPES | (PDF if load.route == "extract" else {})
    if load.route == "generate" or (load.route == "chat" and load.documents is None):
        return []
    found = list(_from_folder(load.documents, types) if load.documents else _samples(types))
    if not found:
        kinds = ", ".join(sorted({ending.lstrip(".") for ending in types}))
        raise UsageError(f"{load.documents} holds no document that can be sent", hint=f"There may be {kinds} files.")
    return found


def _from_folder(folder: Path, types: Mapping[str, str]) -> Iterator[_Document]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in types and path.is_file())
    for path in paths[:MOST_DOCUMENTS]:
        if path.stat().st_size <= MOST_DOCUMENT_BYTES:
            yield _Document(path.name, types[path.suffix.lower()], path.read_bytes())


def _samples(types: Mapping[str, str]) -> Iterator[_Document]:
    files = (resources.files("docflow.sample_files") / "documents").iterdir()
    for file in sorted(files, key=lambda entry: entry.name):
        ending = Path(file.name).suffix.lower()
        if ending in types:
            yield _Document(file.name, types[ending], file.read_bytes())
