from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from docflow.telemetry.gpu import Gpus
from docflow.telemetry.metrics import MOST_VALUES, OTHER, Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of the metrics' text, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_a_label_never_has_more_values_than_it_may() -> None:
    metrics = Metrics(Gpus())
    for number in range(MOST_VALUES * 3):
        metrics.document(f"program-{number}", "valid", 0.1)
    read = samples(metrics)
    programs = [labels for name, labels in read if name == "docflow_documents_total"]
    assert len(programs) == MOST_VALUES + 1
    assert read["docflow_documents_total", (("program", OTHER), ("status", "valid"))] == MOST_VALUES * 2


def test_a_method_that_nobody_knows_is_no_series_of_its_own() -> None:
    metrics = Metrics(Gpus())
    metrics.request("BREW\n", 405)
    metrics.request("GET", 200)
    read = samples(metrics)
    assert read["vlm_requests_total", (("method", OTHER), ("status", "405"))] == 1
    assert read["vlm_requests_total", (("method", "GET"), ("status", "200"))] == 1


def test_the_latency_histogram_has_the_buckets_that_were_asked_for() -> None:
    buckets = [
        dict(labels)["le"] for name, labels in samples(Metrics(Gpus())) if name == "vlm_request_latency_seconds_bucket"
    ]
    assert buckets == ["0.1", "0.5", "1.0", "2.0", "5.0", "10.0", "+Inf"]


def test_what_others_know_is_asked_when_metrics_are_read() -> None:
    metrics, jobs = Metrics(Gpus()), {"running": 1.0}
    metrics.show_jobs(lambda: jobs)
    metrics.show_upstreams(lambda: {"sglang": 1, "vllm": 0})
    jobs["running"] = 2.0
    read = samples(metrics)
    assert read["docflow_jobs", (("state", "running"),)] == 2
    assert read["docflow_upstream_up", (("upstream", "vllm"),)] == 0


def test_two_services_in_one_process_count_apart() -> None:
    first, second = Metrics(Gpus()), Metrics(Gpus())
    first.tokens_generated.inc(5)
    assert samples(first)["vlm_tokens_generated_total", ()] == 5
    assert samples(second)["vlm_tokens_generated_total", ()] == 0


class Driver:
    """NVML with two GPUs, of which the second is a slice that tells nothing of its work."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.asked = 0

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        self.asked += 1
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=1_000 + handle, total=4_000)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if handle == 1:
            raise self.NVMLError("not supported")
        return SimpleNamespace(gpu=83)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return driver


def test_gpus_are_told_by_the_driver(driver: Driver) -> None:
    gpus = Gpus()
    assert driver.asked == 0
    metrics = Metrics(gpus)
    read = samples(metrics)
    assert read["vlm_gpu_memory_usage_bytes", (("device", "cuda:0"),)] == 1_000
    assert read["vlm_gpu_memory_usage_bytes", (("device", "cuda:1"),)] == 1_001
    assert read["docflow_gpu_utilisation_ratio", (("device", "cuda:0"),)] == 0.83
    metrics.text()
    assert driver.asked == 1, "figures are kept for a second"


@pytest.mark.parametrize("missing", ["library", "driver"])
def test_without_a_gpu_there_are_no_figures_and_no_error(
    missing: str, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "library":
        monkeypatch.setitem(sys.modules, "pynvml", None)
    else:

        def fail() -> None:
            raise driver.NVMLError("driver not loaded")

        monkeypatch.setattr(driver, "nvmlInit", fail)
    assert Gpus().read() == []
    assert not [name for name, _ in samples(Metrics(Gpus())) if "gpu" in name]
