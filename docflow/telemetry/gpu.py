"""What the machine's GPUs are doing, by NVIDIA's management library, where there are GPUs.

The driver is asked (NVML), not a framework: a framework knows what its own process holds, and servers run their models
in others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily

log = logging.getLogger("docflow.telemetry")

FRESH_SECONDS = 1.0
"""How long figures are kept: asking the driver takes milliseconds a GPU."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its memory in bytes, and the share of time it was at work in the driver's last sample (0 to 1)."""

    device: str
    used_bytes: int
    total_bytes: int
    utilisation: float


class Gpus:
    """The GPUs of this machine. There are none where ``nvidia-ml-py`` (docflow[nvml]) or a driver is missing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = self._there = False
        self._read: tuple[float, list[Gpu]] = (float("-inf"), [])

    def read(self) -> list[Gpu]:
        """How they are doing, at most a second old."""
        with self._lock:
            if not self._begun:
                self._begun, self._there = True, _open()
            now = time.monotonic()
            if self._there and now - self._read[0] >= FRESH_SECONDS:
                self._read = (now, list(_ask()))
            return self._read[1]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics, for a registry."""
        gpus = self.read()
        used = GaugeMetricFamily("vlm_gpu_memory_usage_bytes", "GPU memory in use.", labels=["device"])
        total = GaugeMetricFamily("docflow_gpu_memory_bytes", "GPU memory there is.", labels=["device"])
        busy = GaugeMetricFamily(
            "docflow_gpu_utilisation_ratio", "Share of time that a GPU was at work.", labels=["device"]
        )
        for gpu in gpus:
            used.add_metric([gpu.device], gpu.used_bytes)
            total.add_metric([gpu.device], gpu.total_bytes)
            busy.add_metric([gpu.device], gpu.utilisation)
        yield from (used, total, busy)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: so that the driver is not asked before somebody wants to know."""
        return ()


def _open() -> bool:
    try:
        import pynvml
    except ImportError:
        return False
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.info("no GPU figures: %s", error)
        return False
    return True


def _ask() -> Iterator[Gpu]:
    import pynvml

    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            try:
                utilisation = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
            except pynvml.NVMLError:  # a slice of a GPU (MIG) tells its memory alone
                utilisation = float("nan")
            yield Gpu(f"cuda:{index}", int(memory.used), int(memory.total), utilisation)
    except pynvml.NVMLError as error:
        log.warning("GPU figures cannot be read: %s", error)
