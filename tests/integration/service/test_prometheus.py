"""The monitoring as it is deployed, without containers: a service, Prometheus reading it, the dashboards' queries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from docflow.deploy.compose import write_compose
from docflow.deploy.dashboards import DASHBOARDS, queries
from docflow.deploy.local.process import free_port
from docflow.runs.metrics_file import write_metrics
from docflow.runs.model import Run
from docflow.settings import CostSettings
from tests.engines.instant import InstantServer

ROOT = Path(__file__).parents[3]
PATIENCE = 90.0
KEY = "0123456789abcdef-prometheus"
HEADERS = {"authorization": f"Bearer {KEY}"}
ELSEWHERE = re.compile(r"gpu|sglang:|vllm:")
"""Queries about what is not here: a GPU, and the engines' own metrics."""


def wait_until(said: str, holds: Any) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if holds():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < end, said
        time.sleep(0.1)


class Prometheus:
    """A Prometheus of its own, on the files that are deployed: their addresses are this machine's."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    """``docflow serve`` in a process, with an upstream that is away and one that answers at once."""
    port, away = free_port(), free_port()
    with InstantServer("vllm") as server, ExitStack() as stack:
        environment = {
            "PATH": os.environ["PATH"],
            "DOCFLOW_CACHE_DIR": str(tmp_path / "cache"),
            "DOCFLOW_TELEMETRY__LOG": "json",
            "DOCFLOW_TELEMETRY__LOG_FILE": str(tmp_path / "requests.log"),
            "DOCFLOW_SERVE_KEYS": f"prometheus={KEY}",
            "GATEWAY_UPSTREAMS": f"sglang=http://127.0.0.1:{away};vllm={server.url}",
            "GATEWAY_FALLBACKS": "sglang=vllm",
        }
        command = [sys.executable, "-m", "docflow", "serve", "--port", str(port)]
        with (tmp_path / "service.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
        stack.callback(process.wait, 60)
        stack.callback(process.terminate)
        url = f"http://127.0.0.1:{port}"
        wait_until("the service starts", lambda: httpx.get(f"{url}/health").status_code == 200)
        yield url


@pytest.fixture
def prometheus(service: str, tmp_path: Path) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (apt-get install prometheus)")
    folder = tmp_path / "deployed"
    write_compose(folder, ["monitoring"])
    (folder / "key").write_text(KEY)
    (folder / "runs").mkdir()
    runs, port = free_port(), free_port()
    config = yaml.safe_load((folder / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    [docflow] = [job for job in config["scrape_configs"] if job["job_name"] == "docflow"]
    del docflow["dns_sd_configs"]
    docflow["authorization"]["credentials_file"] = str(folder / "key")
    docflow["static_configs"] = [{"targets": [service.removeprefix("http://")]}]
    files = {"job_name": "runs", "metrics_path": "/docflow.prom"}
    files["static_configs"] = [{"targets": [f"127.0.0.1:{runs}"]}]  # type: ignore[assignment]
    config["scrape_configs"] = [docflow, files]
    (folder / "prometheus" / "prometheus.yml").write_text(yaml.safe_dump(config))
    commands = [
        [sys.executable, "-m", "http.server", str(runs), "--bind", "127.0.0.1", "--directory", str(folder / "runs")],
        [
            program,
            f"--config.file={folder / 'prometheus' / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
    ]
    with ExitStack() as stack, (tmp_path / "prometheus.log").open("wb") as log:
        for command in commands:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
        running = Prometheus(f"http://127.0.0.1:{port}")
        wait_until("Prometheus starts", lambda: httpx.get(f"{running.url}/-/ready").status_code == 200)
        yield running


def use(service: str, tmp_path: Path) -> None:
    """Something of everything that metrics count."""
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    document = next((ROOT / "samples" / "starter" / "documents").glob("*.pdf"))
    with httpx.Client(base_url=service, headers=HEADERS, timeout=PATIENCE) as client:
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        client.post("/v1/chat/completions", json=body | {"stream": True})
        assert client.get("/nothing").status_code == 404
        files = {"file": (document.name, document.read_bytes(), "application/pdf")}
        extracted = client.post("/v1/extract", files=files, data={"program": "receipt"})
        assert extracted.status_code == 200, extracted.text
        assert client.post("/v1/jobs", files=files, data={"program": "receipt"}).status_code == 202
    run = Run(id="r", program="receipt", engine="embedded", runner="direct", seconds=1.0, working_seconds=1.0)
    write_metrics(tmp_path / "deployed" / "runs" / "docflow.prom", run, CostSettings(prompt_million=1.0))


def test_prometheus_reads_the_service_and_every_panel_has_data(
    service: str, prometheus: Prometheus, tmp_path: Path
) -> None:
    asked = [query.replace("$__rate_interval", "1m") for dashboard in DASHBOARDS for query in queries(dashboard)]
    asked = [query for query in asked if not ELSEWHERE.search(query)]
    assert len(asked) > 30
    use(service, tmp_path)
    wait_until("the first figures", lambda: prometheus.ask("docflow_upstream_requests_total"))
    use(service, tmp_path)  # a rate needs two
    empty = set(asked)

    def have_data() -> bool:
        empty.difference_update([query for query in empty if prometheus.ask(query)])
        return not empty

    try:
        wait_until("every query has data", have_data)
    except AssertionError:
        raise AssertionError(f"without data: {sorted(empty)}") from None

    assert [sample["value"][1] for sample in prometheus.ask('up{job="docflow"}')] == ["1"]
    up = {sample["metric"]["upstream"]: sample["value"][1] for sample in prometheus.ask("docflow_upstream_up")}
    assert up == {"sglang": "0", "vllm": "1"}
    [fallback] = prometheus.ask("docflow_fallbacks_total")
    assert (fallback["metric"]["from"], fallback["metric"]["to"]) == ("sglang", "vllm")
    rules = httpx.get(f"{prometheus.url}/api/v1/rules").json()["data"]["groups"]
    health = {rule["name"]: rule["health"] for group in rules for rule in group["rules"]}
    assert set(health.values()) <= {"ok", "unknown"}, health
    assert "UpstreamAway" in health
