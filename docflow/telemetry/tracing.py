"""Traces by OpenTelemetry, where they are wanted: the standard OTEL_... variables say whether, and where they go.

Nothing is imported, and nothing costs anything, unless OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT) is set and
docflow[otel] is installed. Spans hold names, counts and times; never text of a document, a prompt or a key.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

log = logging.getLogger("docflow.telemetry")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
FLUSH_MILLISECONDS = 5_000

Attributes = Mapping[str, str | int | float | bool | None]


def is_wanted() -> bool:
    """Whether the environment asks for traces."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(os.environ.get(name) for name in ENDPOINTS)


@dataclass(slots=True)
class Begun:
    """A request's span that has begun; ``traceparent`` is what servers that are asked for it are told (W3C)."""

    span: Span
    token: Any
    traceparent: str


class Tracing:
    """Makes spans. Has a provider of its own: other libraries' traces of the same process are not its business."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("docflow")

    @classmethod
    def from_environment(cls) -> Tracing | None:
        """As the variables say; None where they ask for none. A missing package is told in the log."""
        if not is_wanted():
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            log.warning("traces are asked for and cannot be sent: pip install 'docflow[otel]'")
            return None
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "docflow"}
        provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        self._provider.force_flush(FLUSH_MILLISECONDS)
        self._provider.shutdown()

    def begin(self, name: str, traceparent: str, came: int) -> Begun:
        """Begin the span of a request that came then (Unix time in ns), in the caller's trace where it has one.

        Ends in the same task.
        """
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        propagator = TraceContextTextMapPropagator()
        parent = propagator.extract({"traceparent": traceparent}) if traceparent else None
        span = self._tracer.start_span(name, context=parent, kind=trace.SpanKind.SERVER, start_time=came)
        inside = trace.set_span_in_context(span)
        carrier: dict[str, str] = {}
        propagator.inject(carrier, inside)
        return Begun(span, context.attach(inside), carrier.get("traceparent", ""))

    def end(self, begun: Begun, name: str, attributes: Attributes, *, error: str | None = None) -> None:
        """End a request's span, with what became of it."""
        from opentelemetry import context
        from opentelemetry.trace import StatusCode

        begun.span.update_name(name)
        begun.span.set_attributes(_told(attributes))
        if error is not None:
            begun.span.set_status(StatusCode.ERROR, error)
        begun.span.end()
        context.detach(begun.token)

    def past(self, name: str, seconds: float, attributes: Attributes, *, error: str | None = None) -> None:
        """A span that has just ended after so many seconds: part of the present request, or a trace of its own."""
        from opentelemetry.trace import SpanKind, StatusCode

        now = time.time_ns()
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, start_time=now - int(seconds * 1e9))
        span.set_attributes(_told(attributes))
        if error is not None:
            span.set_status(StatusCode.ERROR, error)
        span.end(now)


def _told(attributes: Attributes) -> dict[str, str | int | float | bool]:
    return {key: value for key, value in attributes.items() if value is not None}
