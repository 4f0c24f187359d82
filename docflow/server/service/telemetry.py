"""What is told of each request: metrics, a log line, a span. It observes the service and changes nothing."""

from __future__ import annotations

from typing import Any

from docflow.extraction.result import Result
from docflow.server.service.exchange import Exchange
from docflow.settings import TelemetrySettings
from docflow.telemetry.gpu import Gpus
from docflow.telemetry.logs import Lines, StructuredLogger, now
from docflow.telemetry.metrics import METHODS, Metrics
from docflow.telemetry.tracing import Attributes, Tracing

NO_ROUTE = "none"
"""What metrics call the route of a path that is none of the service's."""
NOT_ANSWERED = 499
"""The status of a request whose client went away before it got one."""
UNLOGGED = frozenset({"/metrics", "/health", "/health/live"})
"""Routes that monitors ask every few seconds: a line says nothing new unless they fail."""


class Telemetry:
    """Observes the exchanges of a service. Part of ``Service.parts``: routes count documents in its ``metrics``.

    Raises ConfigError when the log file cannot be written.
    """

    def __init__(self, settings: TelemetrySettings, gpus: Gpus, tracing: Tracing | None = None) -> None:
        self.metrics = Metrics(gpus)
        self._tracing = tracing
        self._settings = settings
        self._lines: Lines | None = None
        if settings.log != "off":
            self._lines = Lines(settings.log_file, self.metrics.log_lines_dropped.inc)
        self._logger = StructuredLogger("docflow.requests", self._lines.put if self._lines else _nowhere)

    def close(self) -> None:
        """Write the lines and send the spans that wait."""
        if self._lines is not None:
            self._lines.close()
        if self._tracing is not None:
            self._tracing.close()

    def observe(self, what: str, exchange: Exchange) -> None:
        """An Observer: told of the beginning and the end of every exchange."""
        if what == "begin":
            self.metrics.active.inc()
            if self._tracing is not None:
                begun = exchange.span = self._tracing.begin(exchange.method, exchange.trace, exchange.came)
                exchange.trace = begun.traceparent or exchange.trace
        elif what == "request":
            if self._settings.log == "json" and self._settings.log_requests:
                route = {"method": exchange.method, "route": exchange.route or None, "key": _key(exchange)}
                self._logger.log_request(exchange.request_id, exchange.prompt_length, **route)
        elif what == "end":
            self._count(exchange)
            self._log(exchange)
            if self._tracing is not None:
                self._trace(self._tracing, exchange)

    def document(self, program: str, result: Result[Any]) -> None:
        """A document went through a program, of which this is the name to tell."""
        self.metrics.document(program, result.status, result.seconds)
        if self._tracing is not None:
            attributes: Attributes = {
                "docflow.program": program,
                "docflow.status": result.status,
                "docflow.engine": result.engine,
                "docflow.pages": len(result.pages),
                "docflow.fallback": result.fallback,
                "gen_ai.usage.input_tokens": result.usage.prompt,
                "gen_ai.usage.output_tokens": result.usage.output,
            }
            error = result.error.type if result.error is not None else None
            self._tracing.past("extract", result.seconds, attributes, error=error)

    def _trace(self, tracing: Tracing, exchange: Exchange) -> None:
        status = exchange.status or NOT_ANSWERED
        for failed in exchange.failed_upstreams:
            exchange.span.span.add_event("upstream failed", {"docflow.upstream": failed})
        if exchange.upstream is not None and exchange.kind and exchange.attempts:
            asked: Attributes = {
                "docflow.upstream": exchange.upstream,
                "docflow.attempts": exchange.attempts,
                "docflow.fallback_from": exchange.fallback_from,
                "gen_ai.request.model": exchange.model,
                "gen_ai.usage.input_tokens": exchange.prompt_tokens,
                "gen_ai.usage.output_tokens": exchange.output_tokens,
            }
            seconds = max(0.0, exchange.seconds - (exchange.queued_seconds or 0.0))
            tracing.past("upstream", seconds, asked, error=exchange.error if status >= 500 else None)
        attributes: Attributes = {
            "http.request.method": exchange.method if exchange.method in METHODS else "_OTHER",
            "http.route": exchange.route or None,
            "http.response.status_code": status,
            "docflow.request_id": exchange.request_id,
            "docflow.queued_seconds": exchange.queued_seconds,
            "docflow.documents": exchange.documents,
            "docflow.client_left": exchange.client_left,
        }
        name = f"{attributes['http.request.method']} {exchange.route}".strip()
        tracing.end(exchange.span, name, attributes, error=(exchange.error or str(status)) if status >= 500 else None)

    def _count(self, exchange: Exchange) -> None:
        metrics, route = self.metrics, exchange.route or NO_ROUTE
        status = exchange.status or NOT_ANSWERED
        metrics.active.dec()
        metrics.request(exchange.method, status)
        metrics.latency.observe(exchange.seconds)
        metrics.route_requests(route, str(status)).inc()
        metrics.route_seconds(route).observe(exchange.seconds)
        if exchange.client_left:
            metrics.clients_left.inc()
        if exchange.output_tokens:
            metrics.tokens_generated.inc(exchange.output_tokens)
        if exchange.streamed and exchange.first_byte_seconds is not None:
            metrics.first_byte_seconds(route).observe(exchange.first_byte_seconds)
        queued = exchange.queued_seconds
        if queued is not None:
            metrics.queue_seconds.observe(queued)
        for failed in exchange.failed_upstreams:
            metrics.upstream_requests(failed, "failed").inc()
        upstream = exchange.upstream
        if upstream is None or upstream in exchange.failed_upstreams:
            return  # nobody answered
        if exchange.fallback_from is not None:
            metrics.fallbacks(exchange.fallback_from, upstream).inc()
        metrics.upstream_requests(upstream, str(status)).inc()
        metrics.upstream_seconds(upstream, route).observe(max(0.0, exchange.seconds - (queued or 0.0)))
        if exchange.prompt_tokens:
            metrics.prompt_tokens(upstream).inc(exchange.prompt_tokens)
            metrics.cached_tokens(upstream).inc(exchange.cached_tokens or 0)
        if exchange.output_tokens:
            metrics.output_tokens(upstream).inc(exchange.output_tokens)

    def _log(self, exchange: Exchange) -> None:
        if self._lines is None:
            return
        status = exchange.status or NOT_ANSWERED
        if status < 400 and exchange.route in UNLOGGED:
            return
        if self._settings.log == "text":
            self._lines.put(_text(exchange, status))
            return
        fields = _fields(exchange, status)
        if status < 400:
            self._logger.log_response(exchange.request_id, exchange.seconds, exchange.output_tokens, **fields)
        else:
            fields |= {
                "latency_ms": round(exchange.seconds * 1000, 3),
                "tokens_generated": exchange.output_tokens,
            }
            self._logger.log_error(exchange.request_id, exchange.error or str(status), **fields)


def _fields(exchange: Exchange, status: int) -> dict[str, Any]:
    """What a line says of an exchange besides its event. Every line has every field, so that they can be searched."""
    fell_back = exchange.fallback_from is not None
    return {
        "level": "info" if status < 400 else "error",
        "method": exchange.method[:20],
        "route": exchange.route or None,
        "status": status,
        "seconds": round(exchange.seconds, 6),
        "key": _key(exchange),
        "upstream": exchange.upstream,
        "model": exchange.model,
        "fallback_from": exchange.fallback_from,
        "fallback_model": exchange.upstream if fell_back else None,
        "fallback_model_id": exchange.fallback_model if fell_back else None,
        "attempts": exchange.attempts,
        "prompt_length": exchange.prompt_length,
        "prompt_tokens": exchange.prompt_tokens,
        "cached_tokens": exchange.cached_tokens,
        "documents": exchange.documents,
        "queued_ms": _milliseconds(exchange.queued_seconds),
        "first_byte_ms": _milliseconds(exchange.first_byte_seconds),
        "streamed": exchange.streamed,
        "client_left": exchange.client_left,
    }


def _text(exchange: Exchange, status: int) -> str:
    """An exchange as a line for people. Nothing in it can begin another line."""
    parts = [now(), exchange.request_id, exchange.method, exchange.route or "-", str(status)]
    parts.append(f"{exchange.seconds * 1000:.1f}ms")
    if exchange.upstream:
        parts.append(f"{exchange.fallback_from}->{exchange.upstream}" if exchange.fallback_from else exchange.upstream)
    named = {"model": exchange.model, "key": _key(exchange), "error": exchange.error if status >= 400 else None}
    parts += [f"{name}={value[:200]}" for name, value in named.items() if value]
    line = " ".join(parts)
    return line if line.isprintable() else "".join(one if one.isprintable() else "?" for one in line)


def _key(exchange: Exchange) -> str | None:
    """The name of the caller's key."""
    return exchange.caller.name or None if exchange.caller else None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _nowhere(line: str) -> None:
    """Where lines go when there is no log."""
