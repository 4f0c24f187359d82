"""Asking a service's engines for text: a bounded number at once, others in line, and nobody waits for who has left."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import Request as HttpRequest

from docflow.engines.abandoning import Call
from docflow.engines.base import Answer, Limits, Request, Turn, WantText
from docflow.engines.chat import room_for
from docflow.server.service.engines import NAMES, Engines, engines_of
from docflow.server.service.exchange import Exchange, exchange_of
from docflow.server.service.images import Images
from docflow.server.service.keys import NOBODY
from docflow.server.service.managed import Managed
from docflow.server.service.refusals import RETRY_SECONDS, Refusal
from docflow.server.service.state import Service
from docflow.server.service.talking import answered
from docflow.settings import Settings

T = TypeVar("T")

MOST_SEEN = 1_000
"""Answers of which the times are kept, for /status/detailed."""
CLIENT_LEFT = 499
"""As which a request counts whose client did not wait for the answer; nobody is there to read it."""


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer and how long the engine took for it; ``max_tokens`` is the limit that was in force."""

    text: str
    answer: Answer
    seconds: float
    max_tokens: int
    temperature: float

    @property
    def tokens(self) -> int:
        return self.answer.usage.output

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def engine(self) -> str:
        return NAMES.get(self.answer.engine, self.answer.engine)


@dataclass(slots=True)
class Figures:
    """What became of the requests so far. ``lately`` holds (seconds, tokens a second) of the last answers."""

    answered: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    lately: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MOST_SEEN))


class Generator:
    """Sends conversations to the engines. ``running`` requests are with them, ``waiting`` ones stand in line."""

    def __init__(self, engines: Engines, settings: Settings, images: Images, managed: Managed | None = None) -> None:
        self.engines, self.images, self.managed = engines, images, managed
        self.figures = Figures()
        self.running = self.waiting = 0
        self._settings = settings
        self._places = asyncio.Semaphore(settings.serve.requests)
        self._threads = ThreadPoolExecutor(settings.serve.requests, thread_name_prefix="service")

    def close(self) -> None:
        """Wait for nobody: whoever is still asked is told so by the engines, when those are closed."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.images.close()

    async def chosen(self, model: str | None) -> str | None:
        """Which model of this process is to answer a request that names ``model``; None where the engines are.

        Those of this process answer where they are named, and where no engine converses. Raises Refusal: 404 for a
        model that is not here, and as ``check``.
        """
        engines, managed = self.engines, self.managed
        if managed is not None and (model or not engines.converses) and model != engines.model:
            name = model or managed.manager.settings.default
            if engines.converses and not engines.seen and not await managed.offers(name):
                self.check()  # it may be the engine's own, which is not known before that was seen
            await managed.check_offered(name, by_default=not model)
            return name
        self.check()
        if model and model != engines.model:
            raise Refusal(
                404,
                f"there is no model {model[:200]!r} here: {engines.model} answers",
                code="model_not_found",
                hint="/v1/chat/completions asks upstreams by name, and docflow serve --models runs models by name.",
            )
        return None

    def check(self) -> None:
        """Raises Refusal where no engine can be asked, before anything is done for a request."""
        if not self.engines.converses:
            raise Refusal(
                501,
                "the embedded engine reads documents, it does not converse",
                code="not_implemented",
                hint="Start docflow serve with --engine vllm=URL or sglang=URL; /v1/extract works as it is.",
            )
        if not self.engines.seen:
            raise Refusal(503, "Engine not initialized", code="EngineUnavailable", retry_after=RETRY_SECONDS)
        self.check_line()

    def check_line(self) -> None:
        """Raises Refusal where as many requests stand in line as may."""
        if self._places.locked() and self.waiting >= self._settings.serve.waiting:
            raise Refusal(503, "the queue is full", code="queue_full", retry_after=RETRY_SECONDS)

    async def generate(
        self,
        http: HttpRequest,
        turns: Sequence[Turn],
        *,
        max_tokens: int,
        temperature: float,
        top_p: float = 1.0,
        model: str | None = None,
    ) -> Generated:
        """The answer to the last of ``turns``; the first ones are left out where the context is too short.

        ``model`` is one of this process, as ``chosen`` gave it, None for the engines. Raises Refusal: without an
        engine, with a full queue, without an answer. Raises EngineError.
        """
        if model is None:
            self.check()
        exchange = exchange_of(http.scope)
        limits = Limits(
            max_tokens=min(max_tokens, self._settings.serve.max_tokens),
            page_tokens=self.images.page_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=secrets.randbelow(1 << 31),  # the same question may be answered otherwise: that is the temperature's
            timeout_seconds=self._settings.extraction.timeout_seconds,
        )
        try:
            if model is not None:
                answer, seconds = await self._ask_managed(http, model, tuple(turns), limits)
            else:
                answer, seconds = await self.run(http, lambda: self._ask(tuple(turns), limits))
        except BaseException:
            self.figures.failed += 1
            raise
        text = answer.text.encode("utf-8", "replace").decode("utf-8")
        self._note(exchange, answer, seconds)
        if not text and not answer.usage.output:
            raise Refusal(500, "Generation failed", code="BadAnswer")
        return Generated(text, answer, seconds, limits.max_tokens, temperature)

    async def run(self, http: HttpRequest, work: Callable[[], T]) -> T:
        """What ``work`` gives, in a thread, once there is a place. Raises Refusal where the client leaves before that.

        Work that nobody waits for any more is given up, and holds its place until it has ended.
        """
        exchange = exchange_of(http.scope)
        queued = time.perf_counter()
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        exchange.queued_seconds = time.perf_counter() - queued
        self.running += 1
        call = Call()

        def called() -> T:
            with call:
                return work()

        doing = asyncio.get_running_loop().run_in_executor(self._threads, called)
        doing.add_done_callback(self._done)
        gone = asyncio.create_task(_left(http))
        try:
            await asyncio.wait((doing, gone), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            exchange.client_left = True
            raise Refusal(CLIENT_LEFT, "the client left", code="client_left")
        finally:
            if not doing.done():
                call.abandon()
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone

    def _done(self, doing: asyncio.Future[T]) -> None:
        self.running -= 1
        self._places.release()
        if not doing.cancelled():
            doing.exception()  # looked at: where the client has left, nobody else does

    def _ask(self, turns: tuple[Turn, ...], limits: Limits) -> tuple[Answer, float]:
        request = fitted(Request(turns, WantText(), limits=limits), self._settings.serve.context)
        begun = time.perf_counter()
        answer = self.engines.engine.answer(request)
        if answer.by_rules:  # the embedded engine, standing in: it reads pages and talks with nobody
            raise Refusal(503, "no model answers now", code="NoEngine", retry_after=RETRY_SECONDS)
        return answer, time.perf_counter() - begun

    async def _ask_managed(
        self, http: HttpRequest, model: str, turns: tuple[Turn, ...], limits: Limits
    ) -> tuple[Answer, float]:
        managed, exchange = self.managed, exchange_of(http.scope)
        assert managed is not None
        caller = exchange.caller or NOBODY
        managed.allowances.take(caller)  # its share counts on every route to these models
        begun = time.perf_counter()

        def within(context: int) -> tuple[Turn, ...]:
            nonlocal begun
            begun = time.perf_counter()  # the model is loaded
            return fitted(Request(turns, WantText(), limits=limits), context).turns

        answering = asyncio.create_task(answered(managed, model, within, limits, self._settings.serve.context))
        gone = asyncio.create_task(_left(http))
        try:
            await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answer = answering.result()
                managed.allowances.used(caller, answer.usage.prompt + answer.usage.output)
                return answer, time.perf_counter() - begun
            exchange.client_left = True
            raise Refusal(CLIENT_LEFT, "the client left", code="client_left")
        finally:
            for task in (answering, gone):
                task.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)

    def _note(self, exchange: Exchange, answer: Answer, seconds: float) -> None:
        usage, figures = answer.usage, self.figures
        exchange.model, exchange.upstream, exchange.attempts = answer.model, answer.engine, answer.attempts
        exchange.prompt_tokens, exchange.cached_tokens = usage.prompt, usage.cached
        exchange.output_tokens = usage.output
        if answer.fallback:
            exchange.fallback_from, exchange.fallback_model = self.engines.engine.name, answer.model
        figures.answered += 1
        figures.prompt_tokens += usage.prompt
        figures.cached_tokens += usage.cached
        figures.output_tokens += usage.output
        figures.lately.append((seconds, usage.output / seconds if seconds > 0 else 0.0))


def fitted(request: Request, context: int) -> Request:
    """The request without as many of its first turns as it takes for its answer to fit into the context.

    The last turn stays whatever it is: a server refuses it where it is too long. An answer whose question was left
    out goes with it.
    """
    empty = room_for(Request((), request.want, limits=request.limits), context)
    costs = [empty - room_for(Request((turn,), request.want, limits=request.limits), context) for turn in request.turns]
    room = empty - sum(costs)
    first, last = 0, len(costs) - 1
    while first < last and (room < request.limits.max_tokens or request.turns[first].role == "assistant"):
        room += costs[first]
        first += 1
    return Request(request.turns[first:], request.want, limits=request.limits)


async def _left(http: HttpRequest) -> None:
    """Returns when the client has gone."""
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def generator_of(service: Service, stack: AsyncExitStack) -> Generator:
    """The service's generator: opened the first time it is asked for, with its end on the stack."""
    found: Generator | None = service.parts.get(Generator)
    if found is None:
        engines = await engines_of(service, stack)
        managed = service.parts.get(Managed)
        found = service.parts[Generator] = Generator(engines, service.settings, Images(service.settings), managed)
        stack.callback(found.close)
    return found
