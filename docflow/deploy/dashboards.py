"""The Grafana dashboards, as data: run ``python -m docflow.deploy.dashboards`` after a change to write their JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "files" / "grafana" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "docflow-prometheus"}
RATE = "[$__rate_interval]"
PANEL_HEIGHT = 8
COLUMNS = 24


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture over time: its queries with the name of each line, what its axis is in, and how wide it is."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"
    about: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Panels in rows."""

    uid: str
    title: str
    rows: Sequence[tuple[str, Sequence[Panel]]]


def _rate(metric: str, by: str = "", where: str = "") -> str:
    grouped = f"sum by ({by}) " if by else "sum"
    return f"{grouped}(rate({metric}{where}{RATE}))"


def _quantiles(metric: str, by: str = "") -> list[tuple[str, str]]:
    label = f"{{{{{by}}}}} " if by else ""
    grouped = f"le, {by}" if by else "le"
    return [
        (f"histogram_quantile({share}, sum by ({grouped}) (rate({metric}_bucket{RATE})))", f"{label}{name}")
        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    ]


def _share(part: str, whole: str, by: str = "") -> str:
    return f"{_rate(part, by)} / {_rate(whole, by)}"


SERVICE = Dashboard(
    "docflow-service",
    "docflow: service",
    (
        (
            "Requests",
            (
                Panel("Requests a second", [(_rate("docflow_requests_total", "route"), "{{route}}")], "reqps"),
                Panel("Latency", _quantiles("docflow_request_seconds"), "s"),
                Panel(
                    "Errors",
                    [(_rate("vlm_requests_total", "status", '{status!~"2..|3.."}'), "{{status}}")],
                    "reqps",
                    about="By status. 499: the client went away before it had an answer.",
                ),
                Panel("Requests in work", [("sum(vlm_active_requests)", "in work")], width=6),
                Panel("Waiting for an upstream", _quantiles("docflow_queue_seconds"), "s", 6),
                Panel("First byte of streamed answers", _quantiles("docflow_first_byte_seconds"), "s", 6),
                Panel("Clients that went away", [(_rate("docflow_clients_left_total"), "a second")], "reqps", 6),
            ),
        ),
        (
            "Upstreams",
            (
                Panel("Up", [("min by (upstream) (docflow_upstream_up)", "{{upstream}}")], kind="state-timeline"),
                Panel("Latency", _quantiles("docflow_upstream_latency_seconds", "upstream"), "s"),
                Panel(
                    "Requests a second",
                    [(_rate("docflow_upstream_requests_total", "upstream, status"), "{{upstream}} {{status}}")],
                    "reqps",
                ),
                Panel("Fallbacks", [(_rate("docflow_fallbacks_total", "from, to"), "{{from}} to {{to}}")], "reqps", 12),
                Panel(
                    "Requests at upstreams",
                    [("sum by (upstream) (docflow_upstream_in_flight)", "{{upstream}}")],
                    width=12,
                ),
            ),
        ),
        (
            "Tokens",
            (
                Panel("Tokens written a second", [(_rate("docflow_output_tokens_total", "upstream"), "{{upstream}}")]),
                Panel("Tokens read a second", [(_rate("docflow_prompt_tokens_total", "upstream"), "{{upstream}}")]),
                Panel(
                    "Share of prompts from the cache",
                    [
                        (
                            _share("docflow_cached_tokens_total", "docflow_prompt_tokens_total", "upstream"),
                            "{{upstream}}",
                        )
                    ],
                    "percentunit",
                ),
            ),
        ),
        (
            "The service itself",
            (
                Panel("CPU", [('rate(process_cpu_seconds_total{job="docflow"}' + RATE + ")", "{{instance}}")]),
                Panel("Memory", [('process_resident_memory_bytes{job="docflow"}', "{{instance}}")], "bytes"),
                Panel("Log lines lost", [(_rate("docflow_log_lines_dropped_total"), "a second")]),
            ),
        ),
    ),
)

DOCUMENTS = Dashboard(
    "docflow-documents",
    "docflow: documents",
    (
        (
            "Documents that the service extracts",
            (
                Panel(
                    "Documents a minute",
                    [
                        (
                            f"60 * {_rate('docflow_documents_total', 'program, status')}",
                            "{{program}} {{status}}",
                        )
                    ],
                ),
                Panel("Time a document", _quantiles("docflow_extraction_seconds", "program"), "s"),
                Panel("Jobs", [("sum by (state) (docflow_jobs)", "{{state}}")]),
            ),
        ),
        (
            "Runs (docflow extract, watch and schedule, by telemetry.metrics_file)",
            (
                Panel(
                    "Documents, all runs",
                    [("sum by (program, status) (docflow_run_documents_total)", "{{program}} {{status}}")],
                ),
                Panel("Documents a second, last run", [("docflow_run_documents_per_second", "{{program}} {{engine}}")]),
                Panel("Failed, last run", [("docflow_run_failed_documents", "{{program}}")]),
                Panel("Answered by a fallback, all runs", [("docflow_run_fallback_total", "{{program}}")]),
                Panel("Tokens, all runs", [("docflow_run_tokens_total", "{{program}} {{kind}}")]),
                Panel("Cost, all runs", [("docflow_run_cost_total", "{{program}} {{currency}}")]),
                Panel(
                    "Since the last run ended", [("time() - docflow_run_ended_timestamp_seconds", "{{program}}")], "s"
                ),
                Panel("Length of the last run", [("docflow_run_seconds", "{{program}}")], "s"),
            ),
        ),
    ),
)

ENGINES = Dashboard(
    "docflow-engines",
    "docflow: engines and GPUs",
    (
        (
            "GPUs (of the machine that the service runs on)",
            (
                Panel("Memory in use", [("vlm_gpu_memory_usage_bytes", "{{instance}} {{device}}")], "bytes"),
                Panel(
                    "Share of memory in use",
                    [("vlm_gpu_memory_usage_bytes / docflow_gpu_memory_bytes", "{{instance}} {{device}}")],
                    "percentunit",
                ),
                Panel("At work", [("docflow_gpu_utilisation_ratio", "{{instance}} {{device}}")], "percentunit"),
            ),
        ),
        (
            "SGLang",
            (
                Panel(
                    "Requests",
                    [
                        ("sum(sglang:num_running_reqs)", "running"),
                        ("sum(sglang:num_queue_reqs)", "waiting"),
                    ],
                ),
                Panel("Share of prompts from the cache", [("avg(sglang:cache_hit_rate)", "hits")], "percentunit"),
                Panel("Cache in use", [("avg(sglang:token_usage)", "in use")], "percentunit"),
                Panel("Tokens written a second", [("sum(sglang:gen_throughput)", "tokens")], width=12),
                Panel("First token", _quantiles("sglang:time_to_first_token_seconds"), "s", 12),
            ),
        ),
        (
            "vLLM",
            (
                Panel(
                    "Requests",
                    [
                        ("sum(vllm:num_requests_running)", "running"),
                        ("sum(vllm:num_requests_waiting)", "waiting"),
                    ],
                ),
                Panel(
                    "Share of prompts from the cache",
                    [(_share("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"), "hits")],
                    "percentunit",
                ),
                Panel("Cache in use", [("avg(vllm:kv_cache_usage_perc)", "in use")], "percentunit"),
                Panel("Tokens written a second", [(_rate("vllm:generation_tokens_total"), "tokens")], width=12),
                Panel("First token", _quantiles("vllm:time_to_first_token_seconds"), "s", 12),
            ),
        ),
    ),
)

DASHBOARDS = (SERVICE, DOCUMENTS, ENGINES)


def queries(dashboard: Dashboard) -> Iterator[str]:
    """Every query of a dashboard."""
    yield from (query for _, panels in dashboard.rows for panel in panels for query, _ in panel.queries)


def rendered(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard as Grafana takes it."""
    panels: list[dict[str, Any]] = []
    across = down = 0
    for title, row in dashboard.rows:
        down, across = down + (PANEL_HEIGHT if across else 0), 0
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": down}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "collapsed": False, "panels": []}
        )
        down += 1
        for panel in row:
            if across + panel.width > COLUMNS:
                across, down = 0, down + PANEL_HEIGHT
            panels.append(_panel(panel, len(panels) + 1, across, down))
            across += panel.width
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["docflow"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "graphTooltip": 1,
        "templating": {"list": []},
        "annotations": {"list": []},
        "links": [],
        "panels": panels,
    }


def _panel(panel: Panel, number: int, across: int, down: int) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + at), "datasource": DATASOURCE, "expr": query, "legendFormat": legend, "range": True}
        for at, (query, legend) in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit, "custom": {}}
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}}
    if panel.kind == "timeseries":
        defaults |= {"min": 0, "custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}}
        options["tooltip"] = {"mode": "multi", "sort": "desc"}
    else:
        states = {"0": {"text": "away", "color": "red", "index": 0}, "1": {"text": "up", "color": "green", "index": 1}}
        defaults["mappings"] = [{"type": "value", "options": states}]
        options |= {"showValue": "never", "mergeValues": True}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "gridPos": {"h": PANEL_HEIGHT, "w": panel.width, "x": across, "y": down},
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def text(dashboard: Dashboard) -> str:
    """A dashboard's file."""
    return json.dumps(rendered(dashboard), indent=1) + "\n"


if __name__ == "__main__":
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.uid}.json").write_text(text(dashboard), encoding="utf-8")
