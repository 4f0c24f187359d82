"""What this machine has: GPUs and their free memory, main memory, cores, and what of it this process may use."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from docflow.sizes import MIB

CGROUPS = Path("/sys/fs/cgroup")
_SMI_SECONDS = 20.0
_UNLIMITED = 1 << 60
"""cgroup v1 writes a number of this size where there is no limit."""


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
        free, total = main_memory()
        return cls(gpus(), total, free, usable_cores())


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


def usable_cores() -> int:
    """The processor cores that this process may use (its affinity and its container's quota), at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (CGROUPS / "cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no such limit here
        pass
    return max(1, cores)


def main_memory() -> tuple[int, int]:
    """Free and whole main memory in bytes, of the machine or of the narrowest container around this process."""
    free, total = _of_the_machine()
    for limit, used in _limits():
        free, total = min(free, max(0, limit - used)), min(total, limit)
    return free, total


def _of_the_machine() -> tuple[int, int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        said = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
        return said["MemAvailable"], said["MemTotal"]
    except (OSError, ValueError, KeyError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total, total  # what is free is not told here


def _limits() -> Iterator[tuple[int, int]]:
    """Limit and use of each control group around this process that has a limit."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _up(CGROUPS, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            yield from _up(
                CGROUPS / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            )


def _up(root: Path, path: str, limit: str, used: str, cache: str) -> Iterator[tuple[int, int]]:
    inner = root / path.lstrip("/")
    for folder in (inner, *inner.parents):
        try:
            most = int((folder / limit).read_text(encoding="ascii"))
            taken = int((folder / used).read_text(encoding="ascii"))
            stat = (folder / "memory.stat").read_text(encoding="ascii").split()
        except (OSError, ValueError):  # no such group here, or "max": no limit
            most, taken, stat = _UNLIMITED, 0, []
        if most < _UNLIMITED:
            # Pages of files that nobody reads are given up as soon as somebody needs them.
            idle = int(stat[stat.index(cache) + 1]) if cache in stat else 0
            yield most, max(0, taken - idle)
        if folder == root:
            return
