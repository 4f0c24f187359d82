"""Traces: sent where the standard variables say, with the caller's trace around them and no text in them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from docflow.telemetry.tracing import Tracing, is_wanted
from tests.engines.loopback import LoopbackServer, Received, response
from tests.integration.service.gateways import Upstream, chat, serving

ROOT = Path(__file__).parents[3]
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Collector(LoopbackServer):
    """Takes in spans, as an OpenTelemetry collector does over HTTP."""

    def __init__(self) -> None:
        super().__init__(0)
        self.received: list[Received] = []

    async def handle(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.received.append(request)
        writer.write(response(200, b"", {"content-type": "application/x-protobuf"}))

    @property
    def spans(self) -> list[Span]:
        import gzip

        found = []
        for request in self.received:
            packed = request.headers.get("content-encoding") == "gzip"
            message = ExportTraceServiceRequest.FromString(gzip.decompress(request.body) if packed else request.body)
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    found += scope.spans
        return found


def attributes(span: Span) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in span.attributes}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Collector:
    """A collector that the environment names; entered by the test."""
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)
    return Collector()


def test_a_request_is_a_span_in_its_callers_trace_and_the_upstream_is_told(
    traced: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with traced, Upstream() as upstream:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traced.url)
        with serving(gateway__upstreams=f"one={upstream.url}") as client:
            said = chat("a secret question")
            answer = client.post("/v1/chat/completions", json=said, headers={"traceparent": TRACEPARENT})
            assert answer.status_code == 200
        [told] = [request.headers["traceparent"] for request in upstream.requests]
        spans = {span.name: span for span in traced.spans}
    request, asked = spans["POST /v1/chat/completions"], spans["upstream"]
    assert request.trace_id.hex() == asked.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert asked.parent_span_id == request.span_id
    assert told == f"00-{TRACE}-{request.span_id.hex()}-01"
    assert attributes(request)["http.response.status_code"] == 200
    assert attributes(request)["docflow.request_id"] == answer.headers["x-request-id"]
    assert attributes(asked)["docflow.upstream"] == "one"
    assert attributes(asked)["gen_ai.usage.output_tokens"] == 3
    assert request.start_time_unix_nano <= asked.start_time_unix_nano <= asked.end_time_unix_nano
    assert b"secret" not in b"".join(span.SerializeToString() for span in spans.values())


def test_an_upstream_that_failed_is_an_event_and_a_failed_request_an_error(
    traced: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with traced, Upstream() as first, Upstream() as second:
        first.status = second.status = 500
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{traced.url}/v1/traces")
        upstreams = f"one={first.url};two={second.url}"
        with serving(gateway__upstreams=upstreams, gateway__fallbacks="one=two") as client:
            assert client.post("/v1/chat/completions", json=chat()).status_code == 502
        [request] = [span for span in traced.spans if span.name == "POST /v1/chat/completions"]
    assert [event.attributes[0].value.string_value for event in request.events] == ["one", "two"]
    assert request.status.code == request.status.STATUS_CODE_ERROR


def test_a_document_is_a_span_of_its_request(traced: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    document = next((ROOT / "samples" / "starter" / "documents").glob("*.pdf"))
    with traced:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traced.url)
        with serving() as client:
            files = {"file": (document.name, document.read_bytes(), "application/pdf")}
            answer = client.post("/v1/extract", files=files, data={"program": "receipt"}, timeout=120)
            assert answer.status_code == 200
        spans = {span.name: span for span in traced.spans}
    assert spans["extract"].parent_span_id == spans["POST /v1/extract"].span_id
    assert attributes(spans["extract"])["docflow.program"] == "receipt"
    assert spans["extract"].end_time_unix_nano > spans["extract"].start_time_unix_nano


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_traced_unless_it_is_asked_for(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert not is_wanted()
    assert Tracing.from_environment() is None


def test_a_missing_package_is_told_and_nothing_else_happens(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import sys

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert Tracing.from_environment() is None
    assert "docflow[otel]" in caplog.text
