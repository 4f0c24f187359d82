"""The metrics of a service, by their Prometheus names: what is counted, by which labels, in which buckets.

Each service has a registry of its own. No label takes what a client sent: routes are templates, upstreams and programs
are named by whoever runs the service, and a label that grows past ``MOST_VALUES`` values calls the rest ``other``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from docflow.telemetry.gpu import Gpus

CONTENT_TYPE = CONTENT_TYPE_LATEST
MOST_VALUES = 100
"""Values of one label, at most: each is a series that Prometheus keeps."""
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

VLM_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
SHORT_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0)

disable_created_metrics()  # type: ignore[no-untyped-call]  # of each a second series, which says when it was begun

States = Callable[[], Mapping[str, float]]
"""Gives the present figure of each of some named things; asked while metrics are read."""


class Bounded:
    """A metric's children by their label values, looked up once each. Not more of them than a label may have."""

    def __init__(self, metric: MetricWrapperBase) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], Any] = {}
        self._values: list[set[str]] = [set() for _ in metric._labelnames]

    def __call__(self, *values: str) -> Any:
        """The child of these label values."""
        child = self._children.get(values)
        if child is None:
            kept = tuple(self._kept(*pair) for pair in zip(self._values, values, strict=True))
            child = self._metric.labels(*kept)
            if kept == values:  # a map of what is called other would grow without end
                self._children[values] = child
        return child

    @staticmethod
    def _kept(known: set[str], value: str) -> str:
        if value not in known:
            if len(known) >= MOST_VALUES:
                return OTHER
            known.add(value)
        return value


class _States:
    """Reads the figures of others while metrics are read: a gauge each, with one label."""

    def __init__(self) -> None:
        self.sources: list[tuple[str, str, str, States]] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, help_text, label, states in self.sources:
            family = families.setdefault(name, GaugeMetricFamily(name, help_text, labels=[label]))
            for value, figure in list(states().items())[:MOST_VALUES]:
                family.add_metric([value], figure)
        yield from families.values()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()  # so that nothing is asked when it is registered


class Metrics:
    """Every metric of a service. Counting is cheap and safe from any thread."""

    def __init__(self, gpus: Gpus) -> None:
        registry = self.registry = CollectorRegistry()
        self._requests = self._counter("vlm_requests_total", "Requests, by method and status.", "method", "status")
        self.latency = Histogram(
            "vlm_request_latency_seconds", "Time to answer a request.", buckets=VLM_SECONDS, registry=registry
        )
        self.tokens_generated = Counter("vlm_tokens_generated_total", "Tokens that models wrote.", registry=registry)
        self.active = Gauge("vlm_active_requests", "Requests in work.", registry=registry)

        self.route_requests = self._counter(
            "docflow_requests_total", "Requests, by route and status.", "route", "status"
        )
        self.route_seconds = self._histogram(
            "docflow_request_seconds", "Time to answer a request, by route.", SECONDS, "route"
        )
        self.queue_seconds = Histogram(
            "docflow_queue_seconds",
            "Time a request waited before an upstream took it.",
            buckets=SHORT_SECONDS,
            registry=registry,
        )
        self.first_byte_seconds = self._histogram(
            "docflow_first_byte_seconds", "Time until a streamed answer began.", SECONDS, "route"
        )
        self.clients_left = Counter(
            "docflow_clients_left_total", "Requests whose client went away before the answer.", registry=registry
        )

        self.upstream_seconds = self._histogram(
            "docflow_upstream_latency_seconds",
            "Time an upstream took to answer, by upstream and route.",
            SECONDS,
            "upstream",
            "route",
        )
        self.upstream_requests = self._counter(
            "docflow_upstream_requests_total", "Requests that an upstream got, by status.", "upstream", "status"
        )
        self.fallbacks = self._counter(
            "docflow_fallbacks_total", "Requests that another upstream answered.", "from", "to"
        )
        self.prompt_tokens = self._counter("docflow_prompt_tokens_total", "Tokens of prompts, by upstream.", "upstream")
        self.cached_tokens = self._counter(
            "docflow_cached_tokens_total", "Tokens of prompts that came from an upstream's cache.", "upstream"
        )
        self.output_tokens = self._counter("docflow_output_tokens_total", "Tokens that an upstream wrote.", "upstream")

        self.documents = self._counter(
            "docflow_documents_total", "Documents, by program and status.", "program", "status"
        )
        self.extraction_seconds = self._histogram(
            "docflow_extraction_seconds", "Time to extract one document, by program.", SECONDS, "program"
        )
        self.log_lines_dropped = Counter(
            "docflow_log_lines_dropped_total", "Log lines that could not be written in time.", registry=registry
        )
        Gauge("docflow_build_info", "The running release.", ["version"], registry=registry).labels(
            version("docflow")
        ).set(1)
        self._states = _States()
        registry.register(self._states)
        registry.register(gpus)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Bounded:
        return Bounded(Counter(name, help_text, labels, registry=self.registry))

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Bounded:
        return Bounded(Histogram(name, help_text, labels, buckets=buckets, registry=self.registry))

    def request(self, method: str, status: int) -> None:
        """Count an answered request."""
        self._requests(method if method in METHODS else OTHER, str(status)).inc()

    def document(self, program: str, status: str, seconds: float) -> None:
        """Count a document that went through a program. ``program`` is a registered one's name."""
        self.documents(program, status).inc()
        self.extraction_seconds(program).observe(seconds)

    def show_upstreams(self, states: States) -> None:
        """Show which upstreams are up (1) and which are not (0), by name."""
        self._states.sources.append(("docflow_upstream_up", "Whether an upstream is usable.", "upstream", states))

    def show_in_flight(self, states: States) -> None:
        """Show how many requests each upstream has, by name."""
        help_text = "Requests that are at an upstream now."
        self._states.sources.append(("docflow_upstream_in_flight", help_text, "upstream", states))

    def show_jobs(self, states: States) -> None:
        """Show how many jobs there are of each state."""
        self._states.sources.append(("docflow_jobs", "Jobs that are kept, by state.", "state", states))

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)
