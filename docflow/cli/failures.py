"""Errors as a person reads them: a message, a hint, an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from docflow.cli.terminal import error_console, labelled
from docflow.errors import DocflowError, EngineUnavailable, Interrupted, NoEngine, StorageError, UsageError

INTERRUPTED = 130

_EXIT_CODES: tuple[tuple[type[DocflowError], int], ...] = (
    (UsageError, 2),
    (NoEngine, 3),
    (EngineUnavailable, 3),
    (StorageError, 2),
    (Interrupted, INTERRUPTED),
)


def exit_code_of(error: DocflowError) -> int:
    """The exit code that an error ends the command with: 2 bad usage or OUT, 3 no engine usable, 130 interrupted, else 1."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)


def report(error: DocflowError) -> int:
    """Print an error and its hint on stderr; the exit code."""
    console = error_console()
    if _debugging():
        traceback.print_exception(error)
    console.print(labelled("error", error.message, "bold red"))
    if error.hint:
        console.print(labelled("hint", error.hint, "bold"))
    return exit_code_of(error)


def report_fault(error: Exception) -> int:
    """Print that docflow itself failed, and keep the traceback in a file to send with a report; the exit code."""
    console = error_console()
    summary = f"{type(error).__name__}: {error}".strip().rstrip(":")
    console.print(labelled("error", f"docflow failed in a way it did not expect: {summary}", "bold red"))
    if _debugging():
        traceback.print_exception(error)
        return 1
    log = _write_log(error)
    if log is not None:
        console.print(
            labelled("hint", f"The details are in {log}; please send that file along when you report this.", "bold")
        )
    else:
        console.print(labelled("hint", "Run the command again with DOCFLOW_DEBUG=1 to see the details.", "bold"))
    return 1


def silence_stdout() -> None:
    """The reader of stdout is gone: let the interpreter's last flush go nowhere instead of failing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _debugging() -> bool:
    return os.environ.get("DOCFLOW_DEBUG", "") not in ("", "0")


def _write_log(error: Exception) -> Path | None:
    from importlib.metadata import version

    from docflow.settings import default_cache_dir

    command = " ".join(sys.argv)
    text = f"docflow {version('docflow')}, Python {sys.version}\n{command}\n\n" + "".join(
        traceback.format_exception(error)
    )
    name = f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (default_cache_dir() / "logs", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / name
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:  # a cache that cannot be written: the next folder
            continue
        return path
    return None
