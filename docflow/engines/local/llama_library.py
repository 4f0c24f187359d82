"""The border to llama.cpp: its libraries, by way of llama-cpp-python's bindings, and what it says when it fails.

The bindings' own classes are passed by: they give probabilities only at the cost of keeping every token's, and images
only through templates of their own.
"""

from __future__ import annotations

import importlib.metadata
import threading
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from docflow.errors import BrokenModel, EngineError, EngineUnavailable, NotEnoughMemory

PACKAGE = "llama-cpp-python"
INSTALL = 'pip install "docflow[llama-cpp]"'
_ERROR_LEVEL = 3

_said: deque[str] = deque(maxlen=20)
"""llama.cpp's last words on what went wrong; it would print them."""
_starting = threading.Lock()


@dataclass(frozen=True, slots=True)
class Library:
    """The bindings: ``llama`` for texts, ``mtmd`` for images."""

    llama: Any
    mtmd: Any
    callback: Any  # kept: llama.cpp holds its address


def library() -> Library:
    """The bindings, loaded once. Raises EngineUnavailable where they are not installed or do not load."""
    with _starting:
        return _loaded()


@lru_cache(maxsize=1)
def _loaded() -> Library:
    try:
        import llama_cpp.llama_cpp as llama
        import llama_cpp.mtmd_cpp as mtmd
    except ModuleNotFoundError as error:
        raise missing_package(error.name or PACKAGE) from error
    except (OSError, RuntimeError, AttributeError) as error:  # its C part does not load on this machine
        raise EngineUnavailable(
            f"{PACKAGE} does not load: {str(error)[:300]}", hint=f"Build it anew: {INSTALL}.", retryable=False
        ) from error
    if not hasattr(mtmd, "mtmd_tokenize_from_parts"):
        version = importlib.metadata.version(PACKAGE)
        raise EngineUnavailable(f"{PACKAGE} {version} is too old", hint=f"{INSTALL} -U", retryable=False)

    def heard(level: int, text: bytes | None, _: Any) -> None:
        if level == _ERROR_LEVEL and text:
            _said.append(text.decode("utf-8", "replace").strip())

    callback = llama.llama_log_callback(heard)
    llama.llama_log_set(callback, None)
    mtmd.mtmd_helper_log_set(callback, None)
    mtmd.mtmd_log_set(callback, None)
    llama.llama_backend_init()
    return Library(llama, mtmd, callback)


def missing_package(name: str) -> EngineUnavailable:
    """The error where the package, or one that it needs, is not installed."""
    return EngineUnavailable(
        f"models of llama.cpp cannot be used: there is no package {name}", hint=INSTALL, retryable=False
    )


def last_words() -> str:
    """What llama.cpp said last of what went wrong, without the names of its functions."""
    words = [line.split(": ", 1)[-1] for line in _said if line]
    _said.clear()
    return "; ".join(words[-3:])[:300] or "it does not say why"


def not_opened(path: str) -> EngineError:
    """The error for a file that llama.cpp did not open, from its last words."""
    words = last_words()
    if "alloc" in words or "memory" in words:
        return NotEnoughMemory(
            f"there is not enough memory for {path}: {words}", hint="Load it with less context, or a smaller one."
        )
    return BrokenModel(f"llama.cpp does not load {path}: {words}", hint="Get a new copy, or a newer llama.cpp.")
