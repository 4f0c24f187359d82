"""What this machine has for an engine: GPUs and their free memory, main memory, cores."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
_SMI_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU: its number, its memory and what of it is free, in bytes."""

    number: int
    uuid: str
    name: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is: GPUs (best first), main memory in bytes with what of it is to be had, and cores."""

    gpus: tuple[Gpu, ...]
    memory: int
    available: int
    cores: int

    @classmethod
    def look(cls) -> Machine:
        """The machine as it is now."""
        memory, available = _memory()
        return cls(gpus(), memory, available, len(os.sched_getaffinity(0)))


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs that may be used, those with most free memory first; none where the driver is missing.

    CUDA_VISIBLE_DEVICES, where it is set, says which those are.
    """
    said = _ask("--query-gpu=index,uuid,name,memory.total,memory.free")
    return tuple(visible(parse_gpus(said), os.environ.get("CUDA_VISIBLE_DEVICES")))


def _ask(query: str) -> str:
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs is as good as none
        return ""
    return done.stdout if done.returncode == 0 else ""


def parse_gpus(said: str) -> list[Gpu]:
    """The GPUs in what nvidia-smi printed; lines that are none are passed over."""
    found = []
    for line in said.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 5 and fields[0].isdecimal() and fields[3].isdecimal() and fields[4].isdecimal():
            found.append(Gpu(int(fields[0]), fields[1], fields[2], int(fields[3]) * MIB, int(fields[4]) * MIB))
    return found


def visible(found: Sequence[Gpu], named: str | None) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES names (all where it is not set), most free memory first."""
    if named is not None:
        wanted = [one.strip() for one in named.split(",") if one.strip()]
        found = [
            gpu for gpu in found if any(one == str(gpu.number) or gpu.uuid.startswith(one) for one in wanted if one)
        ]
    return sorted(found, key=lambda gpu: (-gpu.free, gpu.number))


def gpu_memory(pids: Sequence[int]) -> int:
    """The GPU memory of processes, in bytes; 0 where it cannot be told."""
    used = 0
    for line in _ask("--query-compute-apps=pid,used_memory").splitlines():
        pid, _, amount = (field.strip() for field in line.partition(","))
        if pid.isdecimal() and amount.isdecimal() and int(pid) in pids:
            used += int(amount) * MIB
    return used


def _memory() -> tuple[int, int]:
    """Main memory and what of it is to be had, in bytes, a container's limit counted."""
    figures = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        figures[name] = int(rest.split()[0]) << 10
    total, available = figures["MemTotal"], figures.get("MemAvailable", figures["MemFree"])
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        stat = Path("/sys/fs/cgroup/memory.stat").read_text()
    except (OSError, ValueError):  # no limit, or none that is told here
        return total, available
    cached = sum(int(line.split()[1]) for line in stat.splitlines() if line.startswith("inactive_file "))
    return min(total, limit), max(0, min(available, limit - used + cached))
