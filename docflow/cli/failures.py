"""Errors as a person reads them: a message, a hint, an exit code."""

from __future__ import annotations

import shlex
import sys
import traceback
from pathlib import Path

from docflow.cli.logs import new_log_path
from docflow.cli.terminal import complain
from docflow.errors import DeployError, DocflowError, EngineUnavailable, NoEngine, StorageError, UsageError, debugging

INTERRUPTED = 130

_EXIT_CODES: tuple[tuple[type[DocflowError], int], ...] = (
    (UsageError, 2),
    (NoEngine, 3),
    (EngineUnavailable, 3),
    (StorageError, 2),
)


def exit_code_of(error: DocflowError) -> int:
    """The exit code for an error: 2 bad usage or OUT, 3 no engine usable, a deployment's own (1 to 6), else 1."""
    if isinstance(error, DeployError):
        return error.exit_code
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)


def report(error: DocflowError) -> int:
    """Print an error and its hint on stderr; the exit code."""
    if debugging():
        traceback.print_exception(error)
    complain("error", error.message)
    if error.hint:
        complain("hint", error.hint)
    return exit_code_of(error)


def report_fault(error: Exception) -> int:
    """Print that docflow itself failed, and keep the traceback in a file to send along with a report; the exit code."""
    if debugging():
        traceback.print_exception(error)
    complain("error", f"docflow met something it did not expect: {type(error).__name__}: {error}")
    log = _write_log(error)
    if log is not None:
        complain("hint", f"The details are in {log}. Please send that file along when you report this.")
    else:
        complain("hint", "Run the command again with DOCFLOW_DEBUG=1 to see the details.")
    return 1


def _write_log(error: Exception) -> Path | None:
    """The file; None when the cache cannot be written, or the installation is broken."""
    head = f"{shlex.join(sys.argv)}\nPython {sys.version}\n\n"
    text = head + "".join(traceback.format_exception(error))
    try:
        path = new_log_path(_cache_dir())
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except (OSError, ImportError):
        return None
    return path


def _cache_dir() -> Path:
    from docflow.settings import default_cache_dir, load_settings

    try:
        return load_settings().cache_dir
    except DocflowError:  # settings that are wrong too: that is not what went wrong here
        return default_cache_dir()
