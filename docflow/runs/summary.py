"""What is kept of a run beside its rows: a small file a run, without any text of a document."""

from __future__ import annotations

import json
from pathlib import Path

from docflow.program import Program
from docflow.runs.model import Run, RunOptions

RUNS = "runs"


def write_run(out: Path, run: Run, options: RunOptions, program: Program) -> None:
    """Write OUT/runs/ID.json. Raises StorageError."""
    from docflow.storage.parts import write_whole

    content = {
        "id": run.id,
        "started_at": run.started_at.isoformat(timespec="seconds"),
        "seconds": round(run.seconds, 3),
        "working_seconds": round(run.working_seconds, 3),
        "stopped": run.stopped,
        "runner": run.runner,
        "program": program.name,
        "program_version": program.version,
        "engine": run.engine,
        "sources": [str(source) for source in options.sources if isinstance(source, str | Path)],
        "working_directory": str(Path.cwd()),
        "limit": options.limit,
        "retry_failed": options.retry_failed,
        "counts": dict(run.counts),
        "files": run.files,
        "by_program": dict(run.by_program),
        "skipped": run.skipped,
        "skipped_failed": run.skipped_failed,
        "spared": dict(run.spared),
        "missing_rows": run.missing_rows,
        "settings": options.settings.model_dump(mode="json", exclude={"cache_dir"}),
    }
    write_whole(out / RUNS / f"{run.id}.json", json.dumps(content, indent=1).encode())


def markdown(run: Run) -> str:
    """The run as a table for people: counts and times only."""
    rows = [(status, run.counts[status]) for status in ("valid", "invalid", "failed")]
    rows += [("done before", run.skipped), ("failed before", run.skipped_failed)]
    lines = [
        f"**{run.program}** by the engine **{run.engine}**, run `{run.id}`",
        "",
        "| status | documents |",
        "|---|---:|",
    ]
    lines += [f"| {name} | {count:,} |" for name, count in rows]
    lines += ["", f"{run.documents:,} documents in {run.seconds:.0f} s, {run.documents_per_second:.2f} a second."]
    if run.out is not None:
        lines.append(f"Rows are in `{run.out / 'records'}`.")
    if run.stopped:
        lines.append("The run was interrupted; the same command goes on from there.")
    return "\n".join(lines)
