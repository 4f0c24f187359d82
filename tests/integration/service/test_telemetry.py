"""What the service tells of each request: its metrics, and a line of its log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from docflow.server.service import app as service
from docflow.server.service.exchange import exchange_of
from docflow.server.service.routes import SUBJECTS
from docflow.settings import load_settings

KEYS = "team=0123456789abcdef-team"
KEY = {"authorization": "Bearer 0123456789abcdef-team"}


class Answering:
    """Routes that answer as a gateway does: an upstream, another that stands in, a stream, a fault."""

    router = APIRouter()

    async def open(self, *_: object) -> None:
        """Nothing needs to be readied."""


@Answering.router.post("/test/answers/{name}")
async def answers(name: str, request: Request) -> dict[str, str]:
    exchange = exchange_of(request.scope)
    body = await request.json()
    exchange.read(len(body["prompt"]))
    exchange.upstream, exchange.model = "vllm", body["model"]
    exchange.fallback_from, exchange.fallback_model = "sglang", "tiny"
    exchange.failed_upstreams = ("sglang",)
    exchange.prompt_tokens, exchange.cached_tokens, exchange.output_tokens = 30, 20, 4
    exchange.queued_seconds = 0.0
    return {"text": "secret answer"}


@Answering.router.get("/test/streams")
async def streams(request: Request) -> StreamingResponse:
    exchange_of(request.scope).streamed = True
    return StreamingResponse(iter(["a", "b"]))


@Answering.router.get("/test/fails")
def fails() -> None:
    raise RuntimeError("a secret of ours")


Ask = Callable[..., tuple[str, list[dict[str, Any]]]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """Does what it is told with a client, then gives the metrics' text and the log's records."""

    def ask(use: Callable[[TestClient], object], **settings: Any) -> tuple[str, list[dict[str, Any]]]:
        monkeypatch.setattr(service, "SUBJECTS", (*SUBJECTS, Answering()))
        log = tmp_path / "requests.log"
        telemetry = {"telemetry.log": "json", "telemetry.log_file": log} | settings
        app = service.service_app(load_settings({"serve.keys": KEYS, **telemetry}))
        with TestClient(app, raise_server_exceptions=False) as client:
            use(client)
            metrics = client.get("/metrics", headers=KEY)
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        lines = log.read_text().splitlines() if log.exists() else []
        return metrics.text, [json.loads(line) for line in lines] if telemetry["telemetry.log"] == "json" else []

    return ask


def test_a_request_is_one_line_with_every_field_and_no_text_of_anybody(ask: Ask) -> None:
    def use(client: TestClient) -> None:
        body = {"prompt": "secret question", "model": "tiny\n{}"}
        client.post("/test/answers/secret-path", json=body, headers=KEY | {"x-request-id": "abc"})

    metrics, [line] = ask(use)
    told = {key: line[key] for key in ("event", "request_id", "method", "route", "status", "key", "upstream")}
    assert told == {
        "event": "response",
        "request_id": "abc",
        "method": "POST",
        "route": "/test/answers/{name}",
        "status": 200,
        "key": "team",
        "upstream": "vllm",
    }
    assert (line["fallback_from"], line["fallback_model"], line["fallback_model_id"]) == ("sglang", "vllm", "tiny")
    assert (line["prompt_length"], line["prompt_tokens"], line["tokens_generated"]) == (15, 30, 4)
    assert line["latency_ms"] == pytest.approx(line["seconds"] * 1000, abs=0.01)
    assert "secret" not in json.dumps(line)
    assert "0123456789abcdef" not in json.dumps(line)
    assert "secret" not in metrics


def test_metrics_count_by_route_template_upstream_and_fallback(ask: Ask) -> None:
    def use(client: TestClient) -> None:
        for number in range(3):
            body = {"prompt": "x", "model": f"model-{number}"}
            client.post(f"/test/answers/{number}", json=body, headers=KEY)

    metrics, _ = ask(use)
    lines = metrics.splitlines()
    assert 'vlm_requests_total{method="POST",status="200"} 3.0' in lines
    assert "vlm_tokens_generated_total 12.0" in lines
    assert "vlm_request_latency_seconds_count 3.0" in lines
    assert "vlm_active_requests 1.0" in lines, "the one that reads the metrics"
    assert 'docflow_requests_total{route="/test/answers/{name}",status="200"} 3.0' in lines
    assert 'docflow_upstream_requests_total{status="200",upstream="vllm"} 3.0' in lines
    assert 'docflow_upstream_requests_total{status="failed",upstream="sglang"} 3.0' in lines
    assert 'docflow_fallbacks_total{from="sglang",to="vllm"} 3.0' in lines
    latency = 'docflow_upstream_latency_seconds_count{route="/test/answers/{name}",upstream="vllm"} 3.0'
    assert latency in lines
    assert 'docflow_cached_tokens_total{upstream="vllm"} 60.0' in lines
    assert "model-1" not in metrics


def test_paths_that_are_none_of_ours_are_one_series(ask: Ask) -> None:
    def use(client: TestClient) -> None:
        for number in range(20):
            client.get(f"/nothing/{number}", headers=KEY)
            client.get(f"/nothing/{number}")  # refused before any route is looked for

    metrics, lines = ask(use)
    assert 'docflow_requests_total{route="none",status="404"} 20.0' in metrics.splitlines()
    assert 'docflow_requests_total{route="none",status="401"} 20.0' in metrics.splitlines()
    assert "/nothing" not in metrics
    assert {(line["route"], line["status"]) for line in lines} == {(None, 404), (None, 401)}


def test_an_error_is_an_error_line_without_internals(ask: Ask) -> None:
    metrics, [line] = ask(lambda client: client.get("/test/fails", headers=KEY))
    assert (line["event"], line["level"], line["status"], line["error"]) == ("error", "error", 500, "RuntimeError")
    assert "secret" not in json.dumps(line)
    assert 'vlm_requests_total{method="GET",status="500"} 1.0' in metrics.splitlines()


def test_the_first_byte_of_a_stream_is_timed(ask: Ask) -> None:
    metrics, [line] = ask(lambda client: client.get("/test/streams", headers=KEY))
    assert 'docflow_first_byte_seconds_count{route="/test/streams"} 1.0' in metrics.splitlines()
    assert line["streamed"]
    assert 0 <= line["first_byte_ms"] <= line["latency_ms"]


def test_what_monitors_ask_over_and_over_is_counted_and_not_logged(ask: Ask) -> None:
    metrics, lines = ask(lambda client: [client.get("/health/live"), client.get("/metrics", headers=KEY)])
    assert lines == []
    assert 'docflow_requests_total{route="/health/live",status="200"} 1.0' in metrics.splitlines()


def test_a_request_line_before_the_answer_where_it_is_asked_for(ask: Ask) -> None:
    body = {"prompt": "four", "model": "tiny"}
    _, lines = ask(
        lambda client: client.post("/test/answers/x", json=body, headers=KEY), **{"telemetry.log_requests": True}
    )
    assert [line["event"] for line in lines] == ["request", "response"]
    assert lines[0]["prompt_length"] == 4
    assert lines[0]["request_id"] == lines[1]["request_id"]


def test_the_log_for_people_is_a_line_a_request(ask: Ask, tmp_path: Path) -> None:
    body = {"prompt": "four", "model": "tiny\nforged"}
    ask(lambda client: client.post("/test/answers/x", json=body, headers=KEY), **{"telemetry.log": "text"})
    [line] = (tmp_path / "requests.log").read_text().splitlines()
    assert " POST /test/answers/{name} 200 " in line
    assert "sglang->vllm model=tiny?forged key=team" in line


def test_the_log_can_be_off(ask: Ask, tmp_path: Path) -> None:
    ask(lambda client: client.get("/test/streams", headers=KEY), **{"telemetry.log": "off"})
    assert not (tmp_path / "requests.log").exists()


def test_metrics_want_a_key_where_there_are_keys(ask: Ask) -> None:
    ask(lambda client: client.get("/metrics").status_code == 401 or pytest.fail("answered without a key"))
