"""What a load came to, for people and for machines: Markdown, JSON, and a picture."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docflow.evaluation.charts import COLOURS, Axes
from docflow.server.bench.load import Load, Measured, Sample

QUANTILES = (0.5, 0.95, 0.99)
LONG_ANSWER = 512
"""Tokens of an answer for which expectations are named."""


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that is wished for: what was measured (None where nothing could be), and whether it fits."""

    name: str
    wanted: str
    measured: float | None
    shown: str
    passed: bool | None


def report(load: Load, measured: Measured) -> dict[str, Any]:
    """All figures of a load, as they stand in bench.json. Times are in seconds."""
    upstreams = sorted({sample.upstream for sample in measured.samples if sample.upstream})
    gpu = _mean([value for value in measured.gpu_utilisation if not math.isnan(value)])
    return {
        "url": load.url,
        "route": load.route,
        "documents": str(load.documents) if load.documents else None,
        "loop": "open" if load.rate else "closed",
        "rate": load.rate,
        "concurrency": None if load.rate else load.concurrency,
        "most_at_once": measured.most_at_once,
        "tokens_asked_for": load.tokens,
        "gpu_utilisation": gpu,
        "all": _figures(measured.samples, measured.seconds),
        "upstreams": {
            name: _figures([one for one in measured.samples if one.upstream == name], measured.seconds)
            for name in upstreams
        },
        "targets": [
            {"name": one.name, "wanted": one.wanted, "measured": one.measured, "passed": one.passed}
            for one in targets(load, measured)
        ],
    }


def _figures(samples: Sequence[Sample], seconds: float) -> dict[str, Any]:
    answered = sorted(sample.seconds for sample in samples if sample.answered)
    tokens = sum(sample.tokens for sample in samples)
    errors = Counter(sample.error for sample in samples if not sample.answered)
    return {
        "requests": len(samples),
        "answered": len(answered),
        "error_rate": (len(samples) - len(answered)) / len(samples) if samples else 0.0,
        "errors": dict(errors.most_common()),
        "seconds": seconds,
        "requests_per_second": len(answered) / seconds,
        "requests_per_minute": 60 * len(answered) / seconds,
        "tokens": tokens,
        "tokens_per_second": tokens / seconds,
        "latency": {f"p{share * 100:.0f}": quantile(answered, share) for share in QUANTILES}
        | {"mean": _mean(answered), "max": answered[-1] if answered else None},
    }


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The least of the ordered values that as large a share is not above; None of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def targets(load: Load, measured: Measured) -> Iterator[Target]:
    """What a service with a model of 7 billion parameters on one GPU is wished to reach, and whether this one does."""
    figures = _figures(measured.samples, measured.seconds)
    latency = figures["latency"]
    gpu = _mean([value for value in measured.gpu_utilisation if not math.isnan(value)])
    yield _target("latency p50", "under 1 s", latency["p50"], "s", most=1.0)
    yield _target("latency p99", "under 5 s", latency["p99"], "s", most=5.0)
    yield _target("throughput", "over 100 requests a minute", figures["requests_per_minute"], "a minute", least=100.0)
    yield _target("GPU utilisation", "over 80%", gpu, "%", least=0.8)
    if load.route == "extract" or load.tokens < LONG_ANSWER:
        return
    speed = figures["tokens_per_second"] if figures["tokens"] else None
    yield _target(f"tokens a second, {LONG_ANSWER} an answer", "80 to 150 or more", speed, "", least=80.0)
    yield _target(f"response time, {LONG_ANSWER} tokens", "8 s or less", latency["mean"], "s", most=8.0)
    at_once = float(measured.most_at_once) if figures["answered"] else None
    yield _target("requests at once", "8 to 16 or more", at_once, "", least=8.0)
    yield _target(f"GPU utilisation, {LONG_ANSWER} tokens", "85% to 95%", gpu, "%", least=0.85)


def _target(
    name: str, wanted: str, value: float | None, unit: str, *, least: float | None = None, most: float | None = None
) -> Target:
    if value is None:
        nothing = "the service tells of no GPU" if unit == "%" else "nothing was measured"
        return Target(name, wanted, None, nothing, None)
    passed = value >= least if least is not None else value <= (most if most is not None else math.inf)
    shown = f"{value:.0%}" if unit == "%" else f"{value:,.3f} {unit}" if unit == "s" else f"{value:,.1f} {unit}".strip()
    return Target(name, wanted, value, shown, passed)


# --- for people ---------------------------------------------------------------------------------------------------


def markdown(load: Load, measured: Measured) -> str:
    """The report as Markdown."""
    told = report(load, measured)
    sent = f"at {load.rate:g} requests a second (open loop)" if load.rate else f"by {load.concurrency} clients"
    lines = [
        f"# Load on {_cell(load.url)}",
        "",
        f"{load.requests:,} requests to `{load.route}` {sent}; at most {measured.most_at_once} were there at once.",
        "",
        "| | answered | failed | a second | a minute | p50 | p95 | p99 | tokens a second |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        _row("all", told["all"]),
        *(_row(name, figures) for name, figures in told["upstreams"].items()),
        "",
    ]
    errors: Mapping[str, int] = told["all"]["errors"]
    if errors:
        lines += ["Failures: " + ", ".join(f"{count} {_cell(error)}" for error, count in errors.items()) + ".", ""]
    lines += ["| target | wished for | measured | |", "|---|---|---|---|"]
    for one in targets(load, measured):
        verdict = "not measured" if one.passed is None else "pass" if one.passed else "FAIL"
        lines.append(f"| {one.name} | {one.wanted} | {one.shown} | {verdict} |")
    return "\n".join([*lines, "", "![latency](bench.svg)", ""])


def _row(name: str, figures: Mapping[str, Any]) -> str:
    latency = figures["latency"]
    cells = [
        _cell(name),
        f"{figures['answered']:,}",
        f"{figures['requests'] - figures['answered']:,}",
        f"{figures['requests_per_second']:,.1f}",
        f"{figures['requests_per_minute']:,.0f}",
        *(_time(latency[name]) for name in ("p50", "p95", "p99")),
        f"{figures['tokens_per_second']:,.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _cell(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text).replace("|", "\\|")


def chart(measured: Measured) -> str:
    """Which share of requests was answered within how long, a line for each upstream, as SVG."""
    by_upstream: dict[str, list[float]] = {}
    for sample in measured.samples:
        if sample.answered:
            by_upstream.setdefault(sample.upstream or "all", []).append(sample.seconds)
    longest = max((max(values) for values in by_upstream.values()), default=1.0)
    axes = Axes(right=_nice(longest), top=1.0, across_text=lambda value: f"{value * 1000:g} ms")
    marks = []
    for number, (name, values) in enumerate(sorted(by_upstream.items())):
        ordered = sorted(values)
        points = [(value, (at + 1) / len(ordered)) for at, value in enumerate(ordered)]
        marks.append(axes.line([(ordered[0], 0.0), *points], COLOURS[number % len(COLOURS)]))
        marks.append(axes.label(name, number, COLOURS[number % len(COLOURS)]))
    return axes.drawn("Answered within", "time", "share of requests", marks)


def _nice(value: float) -> float:
    """The end of an axis: a round number at or above the value."""
    scale = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * scale for step in (1, 2, 5, 10) if value <= step * scale)


def write_report(folder: Path, load: Load, measured: Measured) -> list[Path]:
    """Write bench.md, bench.json and bench.svg into a folder. Raises StorageError."""
    from docflow.storage.parts import write_whole

    contents = {
        "bench.md": markdown(load, measured),
        "bench.json": json.dumps(report(load, measured), indent=1) + "\n",
        "bench.svg": chart(measured) + "\n",
    }
    for name, content in contents.items():
        write_whole(folder / name, content.encode())
    return [folder / name for name in contents]
