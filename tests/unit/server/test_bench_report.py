from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.server.bench.load import Load, Measured, Sample
from docflow.server.bench.report import chart, markdown, quantile, report, targets, write_report

LOAD = Load(url="http://127.0.0.1:8000", requests=100, rate=10.0)


def measured(**more: object) -> Measured:
    """A hundred requests: of 1 to 100 hundredths of a second, four of which failed, by two upstreams."""
    samples = [
        Sample(
            due=number / 10,
            seconds=(number + 1) / 100,
            status=200 if number % 25 else 502,
            error="" if number % 25 else "status 502",
            upstream="vllm" if number % 2 else "sglang",
            tokens=10 if number % 25 else 0,
        )
        for number in range(100)
    ]
    return Measured(samples, 10.0, most_at_once=9, **more)  # type: ignore[arg-type]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_has_as_large_a_share_at_or_below_it_and_is_the_least_that_does(
    values: list[float], share: float
) -> None:
    found = quantile(sorted(values), share)
    assert found in values
    assert sum(value <= found for value in values) / len(values) >= share
    assert sum(value < found for value in values) / len(values) < share


def test_figures_are_told_of_all_and_of_each_upstream() -> None:
    told = report(LOAD, measured())
    assert (told["loop"], told["rate"], told["concurrency"]) == ("open", 10.0, None)
    figures = told["all"]
    assert (figures["requests"], figures["answered"], figures["error_rate"]) == (100, 96, 0.04)
    assert figures["errors"] == {"status 502": 4}
    assert figures["requests_per_second"] == 9.6
    assert figures["tokens_per_second"] == 96.0
    assert figures["latency"]["p50"] == pytest.approx(0.5, abs=0.02)
    assert {name: one["requests"] for name, one in told["upstreams"].items()} == {"sglang": 50, "vllm": 50}


def test_targets_pass_fail_or_could_not_be_measured() -> None:
    verdicts = {one.name: one.passed for one in targets(LOAD, measured())}
    assert verdicts == {"latency p50": True, "latency p99": True, "throughput": True, "GPU utilisation": None}
    slow = Measured([Sample(0, 6.0, 200)], 6.0, gpu_utilisation=[0.9, 0.95, math.nan])
    verdicts = {one.name: one.passed for one in targets(LOAD, slow)}
    assert verdicts == {"latency p50": False, "latency p99": False, "throughput": False, "GPU utilisation": True}


def test_nothing_passes_where_every_request_failed() -> None:
    failed = Measured([Sample(0, 1.0, 502, error="status 502")] * 20, 1.0, most_at_once=16)
    found = list(targets(Load(url="http://x", tokens=512), failed))
    assert len(found) == 8
    assert not [one.name for one in found if one.passed]


def test_figures_of_long_answers_are_named_where_answers_are_long() -> None:
    names = [one.name for one in targets(Load(url="http://x", tokens=512), measured())]
    assert names[4:] == [
        "tokens a second, 512 an answer",
        "response time, 512 tokens",
        "requests at once",
        "GPU utilisation, 512 tokens",
    ]


def test_where_nothing_was_answered_nothing_is_made_up() -> None:
    nothing = Measured([Sample(0, error="ClientError")], 1.0)
    told = report(LOAD, nothing)
    assert told["all"]["latency"] == {"p50": None, "p95": None, "p99": None, "mean": None, "max": None}
    assert "| latency p50 | under 1 s | nothing was measured | not measured |" in markdown(LOAD, nothing)
    ElementTree.fromstring(chart(nothing))


def test_the_report_is_written_for_people_and_for_machines(tmp_path: Path) -> None:
    written = write_report(tmp_path / "new", LOAD, measured())
    assert [path.name for path in written] == ["bench.md", "bench.json", "bench.svg"]
    told = json.loads(written[1].read_text())
    assert told["all"]["answered"] == 96
    table = written[0].read_text()
    assert "| all | 96 | 4 | 9.6 | 576 |" in table
    assert "| GPU utilisation | over 80% | the service tells of no GPU | not measured |" in table
    lines = ElementTree.fromstring(written[2].read_text()).findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2


def test_what_a_service_says_cannot_break_the_report() -> None:
    samples = [Sample(0, 0.1, 200, upstream="a|b\n<script>")]
    assert "| a\\|b?<script> |" in markdown(LOAD, Measured(samples, 1.0))
    assert "<script>" not in chart(Measured(samples, 1.0))
