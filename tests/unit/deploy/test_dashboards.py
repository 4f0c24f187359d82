"""The Grafana dashboards and the alert rules: well formed, and about metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from docflow.deploy.dashboards import COLUMNS, DASHBOARDS, DATASOURCE, FOLDER, Dashboard, queries, rendered, text
from docflow.runs.metrics_file import write_metrics
from docflow.runs.model import Run
from docflow.settings import CostSettings
from docflow.telemetry.gpu import Gpus
from docflow.telemetry.metrics import Metrics
from tests.unit.deploy.test_files import tool

ALERTS = FOLDER.parents[1] / "prometheus" / "alerts.yml"
ENGINES = {
    # As SGLang 0.5.23 and vLLM 0.32.0 call them.
    "sglang:num_running_reqs",
    "sglang:num_queue_reqs",
    "sglang:cache_hit_rate",
    "sglang:token_usage",
    "sglang:gen_throughput",
    "sglang:time_to_first_token_seconds_bucket",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:prefix_cache_hits_total",
    "vllm:prefix_cache_queries_total",
    "vllm:generation_tokens_total",
    "vllm:time_to_first_token_seconds_bucket",
}
PROMETHEUS = {"up"}
WORDS = {
    *("sum", "min", "max", "avg", "by", "rate", "increase", "histogram_quantile", "absent", "time", "le"),
    *("route", "status", "upstream", "from", "to", "program", "state", "kind", "job"),
}
"""Functions and labels of queries."""


def known_metrics(folder: Path) -> set[str]:
    """Every name that a service or a run tells of."""
    metrics = Metrics(Gpus())
    for show in (metrics.show_upstreams, metrics.show_in_flight, metrics.show_jobs):
        show(lambda: {"x": 1})
    prices = CostSettings(prompt_million=1)
    write_metrics(folder / "docflow.prom", Run(id="r", program="p", engine="e", runner="direct"), prices)
    found: set[str] = set()
    for exposed in (metrics.text().decode(), (folder / "docflow.prom").read_text()):
        for family in text_string_to_metric_families(exposed):
            kinds = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
            found |= {family.name + end for end in kinds.get(family.type, ("",))}
    return found


def all_queries() -> Iterator[str]:
    for dashboard in DASHBOARDS:
        yield from queries(dashboard)
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def names_in(query: str) -> set[str]:
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]', "", query)
    return {name for name in re.findall(r"[a-zA-Z_][a-zA-Z0-9_:]*", bare) if name not in WORDS}


def test_every_query_names_metrics_that_there_are(tmp_path: Path) -> None:
    named = set().union(*map(names_in, all_queries()))
    assert named <= known_metrics(tmp_path) | ENGINES | PROMETHEUS
    assert named >= ENGINES, "one that is not asked for any more"


def test_promtool_reads_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(all_queries())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    ran = subprocess.run([tool("promtool"), "check", "rules", path], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(rules)} rules found" in ran.stdout


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_the_files_are_what_the_module_says(dashboard: Dashboard) -> None:
    assert (FOLDER / f"{dashboard.uid}.json").read_text() == text(dashboard), "run python -m docflow.deploy.dashboards"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_a_dashboard_is_laid_out_as_grafana_wants_it(dashboard: Dashboard) -> None:
    made = rendered(dashboard)
    panels: list[dict[str, Any]] = made["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == DATASOURCE
            assert panel["title"]
            assert [target["refId"] for target in panel["targets"]] == list("ABCDEFG")[: len(panel["targets"])]


def test_the_data_source_of_the_panels_is_the_one_that_is_provided() -> None:
    [source] = yaml.safe_load((FOLDER.parent / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["uid"]) == (DATASOURCE["type"], DATASOURCE["uid"])
