"""What servers say of themselves at ``/metrics``: how much they have to do, and what their caches spare them.

vLLM has metrics always, SGLang with ``--enable-metrics`` only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from docflow.engines.transport import Transport
from docflow.errors import BadAnswer, EngineError


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """A server's own figures, None for what it does not tell. Rates are between 0 and 1, tokens since its start."""

    running: int | None = None
    waiting: int | None = None
    kv_cache_use: float | None = None
    prefix_cache_hit_rate: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None


def ask(transport: Transport, seconds: float) -> ServerFigures | None:
    """A server's figures; None where it gives none, or cannot be asked."""
    try:
        return figures_of(transport.text("/metrics", seconds))
    except EngineError:
        return None


def figures_of(text: str) -> ServerFigures:
    """The figures in a page of Prometheus metrics, of either kind of server. Raises BadAnswer where it is none."""
    values: dict[str, float] = defaultdict(float)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values[sample.name] += sample.value
    except (ValueError, IndexError, KeyError) as error:
        raise BadAnswer("the server's metrics cannot be read") from error
    hits = _ratio(values, "vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total")
    if hits is None:
        hits = _ratio(values, "sglang:cached_tokens_total", "sglang:prompt_tokens_total")
    return ServerFigures(
        running=_count(values, "vllm:num_requests_running", "sglang:num_running_reqs"),
        waiting=_count(values, "vllm:num_requests_waiting", "sglang:num_queue_reqs"),
        kv_cache_use=_first(values, "vllm:kv_cache_usage_perc", "sglang:token_usage"),
        prefix_cache_hit_rate=hits,
        prompt_tokens=_count(values, "vllm:prompt_tokens_total", "sglang:prompt_tokens_total"),
        output_tokens=_count(values, "vllm:generation_tokens_total", "sglang:generation_tokens_total"),
    )


def _first(values: Mapping[str, float], *names: str) -> float | None:
    found = next((values[name] for name in names if name in values), None)
    return found if found is not None and abs(found) < 1e18 else None  # no NaN, no infinity


def _count(values: Mapping[str, float], *names: str) -> int | None:
    found = _first(values, *names)
    return None if found is None else int(found)


def _ratio(values: Mapping[str, float], part: str, whole: str) -> float | None:
    hits, asked = _first(values, part), _first(values, whole)
    if hits is None or not asked:
        return None
    return round(min(1.0, hits / asked), 6)
