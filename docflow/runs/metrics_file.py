"""Metrics of runs for machines without a service: a file that node exporter's textfile collector reads.

Totals go on from what the file says, so that they grow from run to run as Prometheus expects; figures of the last run
take the place of the one before. One file a job: two runs that write the same one at once lose one's counts.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from docflow.errors import StorageError
from docflow.runs.costs import money
from docflow.runs.model import Run
from docflow.settings import CostSettings

MOST_BYTES = 1 << 20
"""A larger file is none of ours."""

Labels = tuple[str, ...]


def write_metrics(path: Path, run: Run, prices: CostSettings) -> None:
    """Add a run that has ended to the file. It appears whole. Raises StorageError."""
    try:
        text = _text(run, prices, _before(path))
        _write_whole(path, text)
    except OSError as error:
        raise StorageError(f"the metrics cannot be written to {path}: {error.strerror or error}") from error


def _text(run: Run, prices: CostSettings, before: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Families(_together([*_families(run, prices)], before)))
    return generate_latest(registry)


def _families(run: Run, prices: CostSettings) -> Iterator[Metric]:
    """What one run adds (counters), and how it went (gauges)."""
    program = run.program

    def total(name: str, about: str, labels: Labels, figures: Iterable[tuple[Labels, float]]) -> Metric:
        family = CounterMetricFamily(name, about, labels=("program", *labels))
        for values, figure in figures:
            family.add_metric((program, *values), figure)
        return family

    def last(name: str, about: str, figure: float) -> Metric:
        family = GaugeMetricFamily(name, about, labels=("program", "engine"))
        family.add_metric((program, run.engine), figure)
        return family

    outcome = "interrupted" if run.stopped else "budget" if run.budget else "complete"
    yield total("docflow_run", "Runs, by how they ended.", ("outcome",), [((outcome,), 1)])
    statuses = {"valid": run.valid, "invalid": run.invalid, "failed": run.failed, "skipped": run.skipped}
    yield total(
        "docflow_run_documents",
        "Documents of runs, by status; skipped ones were done before.",
        ("status",),
        (((status,), count) for status, count in statuses.items()),
    )
    yield total("docflow_run_fallback", "Documents that a stand-in answered.", (), [((), run.fallback)])
    yield total("docflow_run_missing_rows", "Documents with rows suspected missing.", (), [((), run.missing_rows)])
    usage = {"prompt": run.usage.prompt, "cached": run.usage.cached, "output": run.usage.output}
    yield total(
        "docflow_run_tokens",
        "Tokens of runs; cached ones are among those of prompts.",
        ("kind",),
        (((kind,), count) for kind, count in usage.items()),
    )
    yield total("docflow_run_calls", "Calls of an engine.", (), [((), run.usage.calls)])
    yield total("docflow_run_work_seconds", "Time that documents were in work.", (), [((), run.work_seconds)])
    cost = money(prices, run.usage, run.seconds)
    if cost is not None:
        yield total(
            "docflow_run_cost", "What runs cost, by the prices set.", ("currency",), [((prices.currency,), cost)]
        )
    yield last("docflow_run_seconds", "Length of the last run.", run.seconds)
    yield last("docflow_run_documents_per_second", "Documents a second of the last run.", run.documents_per_second)
    yield last("docflow_run_failed_documents", "Documents that failed in the last run.", run.failed)
    yield last("docflow_run_exit_code", "Exit code of the last run.", run.exit_code)
    yield last("docflow_run_ended_timestamp_seconds", "When the last run ended, as Unix time.", time.time())


def _together(now: list[Metric], before: Iterable[Metric]) -> list[Metric]:
    """The figures of now and those before: totals added up, other figures of the same program replaced."""
    found = {family.name: family for family in now}
    for old in before:
        family = found.setdefault(old.name, Metric(old.name, old.documentation, old.type))
        figures = {tuple(sorted(sample.labels.items())): sample for sample in family.samples}
        programs = {sample.labels["program"] for sample in family.samples}
        for sample in old.samples:
            key = tuple(sorted(sample.labels.items()))
            if old.type == "counter":
                figures[key] = sample._replace(value=sample.value + (figures[key].value if key in figures else 0))
            elif sample.labels.get("program") not in programs:
                figures[key] = sample
        family.samples = list(figures.values())
    return list(found.values())


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _before(path: Path) -> list[Metric]:
    """What the file says, as far as it is one of ours. Raises OSError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            return []
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    try:
        families = list(text_string_to_metric_families(text))
    except (ValueError, KeyError, IndexError, TypeError):  # as the parser puts it, of what is no metrics
        return []
    return [family for family in families if family.name == "docflow_run" or family.name.startswith("docflow_run_")]


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside, then rename: node exporter never sees half. It may belong to another user, who must read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
