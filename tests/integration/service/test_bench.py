"""docflow bench serve, on a service that runs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from docflow.cli.app import app
from docflow.errors import EngineRefused, EngineUnavailable, UsageError
from docflow.server.bench.load import Load, measure
from docflow.server.bench.report import report
from tests.engines.instant import InstantServer
from tests.engines.loopback import Received
from tests.integration.service.gateways import KEY, Upstream, serving


def test_requests_at_a_rate_are_all_sent_and_told_by_upstream() -> None:
    with Upstream() as first, Upstream() as second:
        upstreams = f"one={first.url};two={second.url}"
        policy = {"strategy": "weighted", "targets": [{"name": "one", "weight": 1}, {"name": "two", "weight": 1}]}
        with serving(gateway__upstreams=upstreams, gateway__route_policies=json.dumps({"chat": policy})) as client:
            load = Load(url=str(client.base_url), requests=60, rate=200.0, key=KEY)
            measured = measure(load)
            told = report(load, measured)
    assert told["all"]["answered"] == 60
    assert set(told["upstreams"]) == {"one", "two"}
    assert sum(one["requests"] for one in told["upstreams"].values()) == 60
    assert told["all"]["tokens"] == 3 * 60
    assert measured.seconds >= 59 / 200, "sent when they were due, not before"
    assert len(first.requests) + len(second.requests) == 61, "with the one that warms up"


def test_a_service_that_falls_behind_cannot_hide_it() -> None:
    """One at a time, each held back: those that wait for it show it, because their time counts from when due."""
    held = asyncio.Semaphore(1)

    with Upstream() as upstream:
        answer = upstream.handle

        async def one_by_one(request: Received, writer: asyncio.StreamWriter) -> None:
            upstream.does = None
            async with held:
                await asyncio.sleep(0.05)
                await answer(request, writer)
            upstream.does = one_by_one

        upstream.does = one_by_one
        with serving(gateway__upstreams=f"one={upstream.url}", servers__requests=1) as client:
            measured = measure(Load(url=str(client.base_url), requests=10, rate=1_000.0, key=KEY))
    latest = max(measured.samples, key=lambda sample: sample.seconds)
    assert latest.seconds > 9 * 0.05
    assert measured.most_at_once > 1


def test_failures_are_counted_by_what_they_were() -> None:
    with Upstream() as upstream, serving(gateway__upstreams=f"one={upstream.url}") as client:
        upstream.status = 500
        load = Load(url=str(client.base_url), requests=5, concurrency=2, key=KEY)
        told = report(load, measure(load))
    assert told["all"]["answered"] == 0
    assert sum(told["all"]["errors"].values()) == 5
    assert set(told["all"]["errors"]) <= {"status 502", "status 503"}


def test_documents_of_a_folder_are_shown_to_the_model(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "c.txt"):
        Image.new("RGB", (40, 40)).save(tmp_path / name, "PNG" if name == "a.png" else "JPEG")
    with Upstream() as upstream, serving(gateway__upstreams=f"one={upstream.url}") as client:
        measure(Load(url=str(client.base_url), requests=4, concurrency=1, documents=tmp_path, key=KEY))
        sent = [request.json()["messages"][0]["content"] for request in upstream.requests[1:]]
    kinds = [content[0]["image_url"]["url"].partition(";")[0] for content in sent]
    assert kinds == ["data:image/png", "data:image/jpeg"] * 2
    assert len({content[1]["text"] for content in sent}) == 4, "no two are the same: no cache of answers"


@pytest.mark.parametrize("route", ["extract", "generate"])
def test_other_routes_can_be_measured(route: Any) -> None:
    with InstantServer("vllm") as server, serving(engine=f"vllm={server.url}") as client:
        load = Load(url=f"{client.base_url}/v1", route=route, requests=3, concurrency=2, program="receipt", key=KEY)
        told = report(load, measure(load))
    assert told["all"]["answered"] == 3, told["all"]["errors"]
    assert told["all"]["tokens"] > 0
    if route == "extract":
        assert set(told["upstreams"]) == {"vllm"}


def test_what_keeps_it_from_measuring_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        measure(Load(url="ftp://x"))
    with pytest.raises(UsageError, match="no document"):
        measure(Load(url="http://127.0.0.1:9", route="extract", documents=tmp_path))
    with pytest.raises(EngineUnavailable):
        measure(Load(url="http://127.0.0.1:9"))
    with (
        Upstream() as upstream,
        serving(gateway__upstreams=f"one={upstream.url}") as client,
        pytest.raises(EngineRefused),
    ):
        measure(Load(url=str(client.base_url), key="wrong"))


def test_the_command_prints_the_report_and_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCFLOW_API_KEY", KEY)
    with Upstream() as upstream, serving(gateway__upstreams=f"one={upstream.url}") as client:
        arguments = ["bench", "serve", str(client.base_url), "--requests", "5", "--out", str(tmp_path / "report")]
        ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    assert "| one | 5 | 0 |" in ran.output
    assert KEY not in ran.output
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"bench.md", "bench.json", "bench.svg"}
    assert KEY not in (tmp_path / "report" / "bench.json").read_text()
