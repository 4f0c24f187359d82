"""How much memory there is for a model: of the machine, of the container that this runs in, of its GPUs.

Asked before anything is loaded, because a machine that runs out of memory does not say so: it ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Sequence
from typing import Literal

from docflow.engines.local.backends import has_gpu
from docflow.engines.local.model import ModelConfig
from docflow.errors import NotEnoughMemory
from docflow.machine import gpus, main_memory
from docflow.sizes import MIB, shown_size

Place = Literal["cpu", "cuda"]

KEPT_BYTES = 256 * MIB
"""Of main memory, what is left for everything else that this process does."""


def place_of(backend: str, config: ModelConfig) -> Place:
    """In which memory a model will be."""
    if config.device == "cpu" or not has_gpu():
        return "cpu"
    if backend == "llama_cpp" and (config.gpu_layers == 0 or not _llama_has_gpu()):
        return "cpu"
    return "cuda"


def _llama_has_gpu() -> bool:
    try:
        from llama_cpp import llama_supports_gpu_offload
    except (ImportError, OSError, RuntimeError):  # not there, or built for another machine: loading will say so
        return False
    return bool(llama_supports_gpu_offload())


class Memory:
    """What is free, and whether a model fits. ``limit_bytes`` bounds all loaded models together, where it is set."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes

    def check(self, name: str, needed: int, place: Place, config: ModelConfig, held: Sequence[tuple[str, int]]) -> None:
        """Raises NotEnoughMemory where a model that needs so many bytes does not fit beside those that are ``held``.

        These are names and bytes of what is loaded in the same place. A file that is mapped counts as free memory
        until it is read: so the sum of all is compared with the whole, and the new one with what is free.
        """
        taken = sum(size for _, size in held)
        free, total = self.main() if place == "cpu" else self.gpu(config.tensor_parallel_size)
        if total == 0:
            return  # nobody can say
        room = min(free, total - taken)
        bound = "free"
        if self.limit_bytes is not None and self.limit_bytes - taken < room:
            room, bound = self.limit_bytes - taken, "left of models.memory_mb"
        if needed <= room:
            return
        where = "GPU memory" if place == "cuda" else "memory"
        raise NotEnoughMemory(
            f"{name} needs {shown_size(needed)} of {where}, and {shown_size(max(0, room))} are {bound}",
            hint=_what_helps(needed - max(0, room), held),
        )

    def fits(self, needed: int, place: Place, config: ModelConfig, held: Sequence[tuple[str, int]]) -> bool:
        """Whether ``check`` would pass."""
        try:
            self.check("it", needed, place, config, held)
        except NotEnoughMemory:
            return False
        return True

    def main(self) -> tuple[int, int]:
        """Free and whole main memory in bytes, of the machine or of the narrowest container around this process."""
        free, total = main_memory()
        return max(0, free - KEPT_BYTES), total

    def gpu(self, count: int) -> tuple[int, int]:
        """Free and whole memory of ``count`` GPUs together, in bytes, if a model is spread evenly; (0, 0) unknown.

        Raises NotEnoughMemory where there are fewer.
        """
        found = [(gpu.free, gpu.total) for gpu in gpus()] or _by_torch()
        if not found:
            return 0, 0
        if len(found) < count:
            raise NotEnoughMemory(
                f"the model is to be spread over {count} GPUs, and there are {len(found)}",
                hint="Set tensor_parallel_size to as many as there are, or take a quantised model.",
            )
        chosen = found[:count]
        return min(free for free, _ in chosen) * count, min(total for _, total in chosen) * count


def _what_helps(lacking: int, held: Sequence[tuple[str, int]]) -> str:
    """Which models to unload, the fewest that will do; none where that would not help."""
    chosen: list[str] = []
    gained = 0
    for name, size in sorted(held, key=lambda one: -one[1]):
        if gained >= lacking:
            break
        chosen.append(name)
        gained += size
    if gained < lacking:
        return "Take a smaller or quantised model, or less context."
    return f"{', '.join(f'docflow models unload {name}' for name in chosen)} gives back {shown_size(gained)}."


def give_back() -> None:
    """Return to the system what an unloaded model has left in the hands of Python, the C library and torch."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a C library without it
            ctypes.CDLL(None).malloc_trim(0)


def _by_torch() -> list[tuple[int, int]]:
    try:
        import torch
    except ImportError:
        return []
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.mem_get_info(number) for number in range(torch.cuda.device_count())]
    return sorted(((int(free), int(total)) for free, total in found), reverse=True)
