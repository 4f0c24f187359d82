"""The public Python API: extract, iterate over records, open a dataset."""

from __future__ import annotations

from docflow.runs import OnProgress, OnResult, Run, RunOptions


def run(options: RunOptions, progress: OnProgress | None = None, on_result: OnResult | None = None) -> Run:
    """Run over the sources with the runner that the options ask for; the command line's and the Python API's one entry.

    Raises what ``docflow.runs.execute`` raises.
    """
    from docflow.runs import execute

    return execute(options, progress, on_result)
