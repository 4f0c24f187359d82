"""Which upstream a request goes to, and to which other when that fails: the engines' crew, asked from an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from docflow.engines.admission import Gate, Ticket
from docflow.engines.breaker import Breaker
from docflow.engines.crew import Crew
from docflow.engines.members import Server, ServerStatus, without_secrets
from docflow.engines.plans import Plan
from docflow.errors import EngineError, EngineRefused
from docflow.server.service.exchange import Exchange
from docflow.server.service.gateway.call import Asked, Call, Opened
from docflow.server.service.gateway.upstreams import Policy, Registry, Upstream
from docflow.server.service.refusals import RETRY_SECONDS, Refusal
from docflow.settings import Settings

LOOK_AGAIN_SECONDS = 1.0
"""With no upstream left, all of them are looked at at once, but not more often than this."""


class _Wake:
    """A ticket's signal: wakes a coroutine from whichever thread sets it, at no cost where nobody waits."""

    __slots__ = ("_future", "_is_set", "_loop", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._thread = loop, threading.get_ident()
        self._is_set = False
        self._future: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._is_set = True
        if self._future is None:
            return
        if threading.get_ident() == self._thread:
            self._resolve()
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits any more
                self._loop.call_soon_threadsafe(self._resolve)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self, seconds: float) -> None:
        """Until it is set, or the seconds are over."""
        self._future = self._loop.create_future()
        if self._is_set:  # in between, by another thread
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._future
        self._future = None

    def _resolve(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


@dataclass(slots=True)
class Relayed:
    """An answer that has begun, and where it comes from. Either ``done`` or ``broken`` has to be called in the end."""

    relay: Relay
    server: Server[Asked]
    ticket: Ticket
    opened: Opened

    def done(self, model: str = "") -> None:
        """The answer is through."""
        self._end()
        if self.opened.status < 400:
            self.relay._answered(self.server, self.ticket, model)
        else:
            self.relay._leave(self.server, self.ticket, well=True)

    def heard(self) -> None:
        """Another piece of it came."""
        self.server.heard_at = time.monotonic()

    def broken(self, error: EngineError | None = None) -> None:
        """The upstream broke off in the middle; or whoever asked went away, which says nothing of it (None)."""
        self._end()
        if error is None:
            self.relay._leave(self.server, self.ticket)
        else:
            self.relay._failed(self.server, self.ticket, without_secrets(error, self.server.spec))

    def _end(self) -> None:
        if self.opened.end is not None:
            self.opened.end()


class Relay(Crew[Asked]):
    """The gateway's upstreams. Belongs to one event loop; the thread that looks after them is the crew's own."""

    def __init__(self, registry: Registry, asked: Mapping[str, Asked], settings: Settings) -> None:
        servers = settings.servers
        made = [
            Server(
                spec,
                asked[spec.name],
                tier=0,
                fallback=False,
                breaker=Breaker(servers.failures, servers.rest_seconds, time.monotonic),
                gate=Gate(servers.requests, time.monotonic),
                model=spec.model,
                look_seconds=spec.health_seconds if spec.health_path else None,
            )
            for spec in registry.upstreams
        ]
        every = [spec.health_seconds for spec in registry.upstreams if spec.health_path]
        looks = servers.model_copy(update={"health_seconds": min([servers.health_seconds, *every])})
        super().__init__(made, looks, most=settings.serve.requests)
        self.registry = registry
        self._by_name = {server.spec.label: server for server in made}
        self._waiting, self._wait_seconds = settings.serve.waiting, settings.gateway.wait_seconds
        self._answer_seconds = settings.gateway.answer_seconds
        self._draw = random.Random(settings.gateway.seed)  # noqa: S311 (it shares out work)
        self._substitutes = {
            self._by_name[name]: tuple(self._by_name[other] for other in others)
            for name, others in registry.fallbacks.items()
        }
        default = self._plan(registry.default) if registry.default else None
        self._plans = {kind: self._plan(policy) for kind, policy in registry.policies.items()}
        self._default = default
        self._alone = {
            server: Plan("priority", ((server, 1.0),), self._substitutes, self._draw) for server in self._servers
        }
        self._looked_at_once = 0.0
        self._looking: asyncio.Task[None] | None = None

    def _plan(self, policy: Policy) -> Plan:
        targets = tuple((self._by_name[name], weight) for name, weight in policy.targets)
        return Plan(policy.strategy, targets, self._substitutes, self._draw)

    # --- what is there --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Ready the upstreams, look at them once, and go on looking."""
        for server in self._servers:
            await server.engine.open()
        await asyncio.to_thread(self.look_at_all)
        with self._lock:
            self._look_after()

    async def stop(self) -> None:
        """End all of it."""
        await asyncio.to_thread(self.close)
        for server in self._servers:
            await server.engine.end()

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._turns.waiting)

    @property
    def usable(self) -> bool:
        """Whether an upstream is well, by all that is known."""
        return any(server.breaker.state != "open" for server in self._servers)

    def upstreams(self) -> list[tuple[Upstream, ServerStatus]]:
        """Every upstream by name, and how it is doing."""
        return list(zip(self.registry.upstreams, self.status(), strict=True))

    def models(self) -> list[dict[str, Any]]:
        """The models of all upstreams that are well, each once, as OpenAI's list has them."""
        found: dict[str, dict[str, Any]] = {}
        for server in self._servers:
            if server.breaker.state != "open":
                for model in server.engine.models:
                    found.setdefault(str(model["id"]), model)
        return list(found.values())

    def uses_beginnings(self, kind: str) -> bool:
        """Whether requests of this kind are shared out by what they begin with."""
        plan = self._plans.get(kind, self._default)
        return plan is not None and plan.strategy == "cache-aware"

    # --- one request ----------------------------------------------------------------------------------------------

    async def ask(self, call: Call, exchange: Exchange) -> Relayed:
        """The answer of the first upstream that begins one. Fills the exchange.

        Raises Refusal: 502 where all that were asked failed, 503 where none is well or has room.
        """
        plan = self._plan_for(call)
        wake = _Wake(asyncio.get_running_loop())
        tried: dict[str, EngineError] = {}
        with self._lock:
            ticket = self._turns.planned(plan, wake, call.document, call.beginnings, self._answer_seconds)
        targets = [server for server, _ in plan.targets]
        while True:
            server = await self._admit(ticket, wake, tried, exchange)
            name = server.spec.label
            stands_in = server not in targets
            model = self._model_at(server, call.model, stands_in or bool(tried))
            exchange.upstream, exchange.attempts = name, exchange.attempts + 1
            if tried or stands_in:
                exchange.fallback_from = next(iter(tried)) if tried else targets[0].spec.label
                exchange.fallback_model = model or call.model
            exchange.model = model or call.model
            try:
                opened = await server.engine.send(call, model)
            except EngineError as error:
                failure = without_secrets(error, server.spec)
                self._failed(server, ticket, failure)
                tried[name] = failure
                exchange.failed_upstreams = tuple(tried)
                if isinstance(failure, EngineRefused):  # it wants another key: nothing that a client should see
                    raise self._nobody(tried, 502) from error
                ticket.avoid.add(server)
                ticket.failed_at = server
            except BaseException:
                self._leave(server, ticket)
                raise
            else:
                if opened.rest is not None:
                    self._begun(server, ticket)
                return Relayed(self, server, ticket, opened)

    async def _admit(
        self, ticket: Ticket, wake: _Wake, tried: Mapping[str, EngineError], exchange: Exchange
    ) -> Server[Asked]:
        """Wait for the request's turn; the upstream it goes to. Raises Refusal."""
        started = time.perf_counter()
        with self._lock:
            self._turns.queue(ticket)
            self._turns.dispatch()
            crowded = ticket.server is None and len(self._turns.waiting) > self._waiting
        try:
            if crowded and self._turns.has_hope(ticket):
                raise Refusal(503, "too many requests are waiting", code="overloaded", retry_after=RETRY_SECONDS)
            while ticket.server is None:
                with self._lock:
                    hope, closed = self._turns.has_hope(ticket), self._closed.is_set()
                    seconds = self._turns.seconds_to_next_change()
                if closed:
                    raise Refusal(503, "the service is ending", code="ending", retry_after=RETRY_SECONDS)
                if not hope and not await self._look_at_once(ticket):
                    raise self._nobody(tried, 502 if tried else 503)
                waited = time.perf_counter() - started
                if waited >= self._wait_seconds:
                    raise Refusal(503, "no upstream has room", code="overloaded", retry_after=RETRY_SECONDS)
                if ticket.server is None:
                    await wake.wait(min(seconds, self._wait_seconds - waited))
                if ticket.server is None:
                    with self._lock:
                        self._turns.dispatch()
        except BaseException:
            with self._lock:
                if ticket.server is not None:
                    self._leave(ticket.server, ticket)
                else:
                    self._turns.waiting.remove(ticket)
            raise
        exchange.queued_seconds = (exchange.queued_seconds or 0.0) + time.perf_counter() - started
        server: Server[Asked] = ticket.server
        return server

    async def _look_at_once(self, ticket: Ticket) -> bool:
        """With no upstream left that is well: look whether one of those that rest is. Whether there is hope again."""
        assert ticket.plan is not None
        if all(server in ticket.avoid for server in ticket.plan.all):
            return False
        now = time.monotonic()
        if self._looking is None or self._looking.done():
            if now - self._looked_at_once < LOOK_AGAIN_SECONDS:
                return False
            self._looked_at_once = now
            self._looking = asyncio.create_task(asyncio.to_thread(self.look, at_once=True))
        await asyncio.shield(self._looking)
        with self._lock:
            return ticket.server is not None or self._turns.has_hope(ticket)

    def _nobody(self, tried: Mapping[str, EngineError], status: int) -> Refusal:
        names = list(tried)
        if tried and all(error.busy for error in tried.values()):  # all are well, and it is worth coming back
            after = min(error.retry_after or RETRY_SECONDS for error in tried.values())
            message = f"no upstream has room: {', '.join(names)} said so"
            return Refusal(503, message, code="overloaded", retry_after=after, detail={"upstreams": names})
        if status == 502:
            message = f"no upstream could answer: {', '.join(names)} failed"
        elif self._servers:
            away = [server.spec.label for server in self._servers if server.breaker.state == "open"]
            message = f"no upstream is well: {', '.join(away or [server.spec.label for server in self._servers])} away"
        else:
            message = "there is no upstream: set GATEWAY_UPSTREAMS, or start the service with --engine"
        return Refusal(
            status,
            message,
            code="upstream_failed" if status == 502 else "no_upstream",
            retry_after=RETRY_SECONDS if status == 503 else None,
            detail={"upstreams": names},
        )

    # --- which upstream, which model ------------------------------------------------------------------------------

    def _plan_for(self, call: Call) -> Plan:
        """The plan of a request: its route's, narrowed to those that have the model where only some do."""
        wanted = call.model
        plan = self._plans.get(call.kind, self._default)
        named = self._by_name.get(wanted)
        if plan is None:
            if not self._servers:
                raise self._nobody({}, 503)
            return self._alone[named or self._servers[0]]
        if named is not None:
            return self._alone[named]
        if not wanted:
            return plan
        having = [server for server, _ in plan.targets if self._may_serve(server, wanted)]
        if len(having) == len(plan.targets):
            return plan
        if having:
            targets = tuple((server, weight) for server, weight in plan.targets if server in having)
            return Plan(plan.strategy, targets, self._substitutes, self._draw)
        other = next((server for server in self._servers if _serves(server, wanted)), None)
        return plan if other is None else self._alone[other]

    def _may_serve(self, server: Server[Asked], model: str) -> bool:
        """Whether it has the model, or nothing is known of what it has."""
        return not server.engine.models or _serves(server, model)

    def _model_at(self, server: Server[Asked], wanted: str, stands_in: bool) -> str:
        """The model to ask an upstream for; "" to leave what the request says as it is."""
        if wanted and wanted != server.spec.label and (not stands_in or self._may_serve(server, wanted)):
            return wanted
        first = next((str(model["id"]) for model in server.engine.models), "")
        return server.spec.model or first or ("" if wanted == server.spec.label else wanted)


def _serves(server: Server[Asked], model: str) -> bool:
    return any(one["id"] == model for one in server.engine.models)
