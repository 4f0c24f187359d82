"""The command line: ``docflow`` and ``python -m docflow``.

Nothing but Typer is imported before a command runs, so that ``docflow --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from docflow.errors import DocflowError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code; whatever goes wrong becomes a message, never a traceback."""
    try:
        _tolerate_odd_characters()
        from docflow.cli.app import app

        app(arguments, prog_name="docflow")
    except KeyboardInterrupt:
        sys.exit(130)
    except DocflowError as error:
        from docflow.cli.failures import report

        sys.exit(report(error))
    except Exception as error:  # noqa: BLE001 (the process's border: a fault of docflow's own becomes a message and a log file)
        from docflow.cli.failures import report_fault

        sys.exit(report_fault(error))


def _tolerate_odd_characters() -> None:
    """File names and document text may hold what the terminal's encoding lacks: show it escaped, do not fail."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
