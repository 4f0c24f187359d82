"""What is kept of a run beside its rows: a small file a run, without any text of a document."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from docflow.buckets import Place
from docflow.engines.base import Engine
from docflow.engines.members import ServerStatus
from docflow.engines.pool import Pool
from docflow.program import Program
from docflow.runs.model import Run, RunOptions
from docflow.settings import Settings, without_credentials

RUNS = "runs"


def write_run(out: Place, run: Run, options: RunOptions, program: Program, model: str) -> None:
    """Write OUT/runs/ID.json. Raises StorageError."""
    from docflow.storage.parts import write_whole

    content = {
        "id": run.id,
        "started_at": run.started_at.isoformat(timespec="milliseconds"),
        "seconds": round(run.seconds, 3),
        "working_seconds": round(run.working_seconds, 3),
        "stopped": run.stopped,
        "runner": run.runner,
        "program": program.name,
        "program_version": program.version,
        "engine": run.engine,
        "model": model,
        "sources": [str(source) for source in options.sources if isinstance(source, str | Path)],
        "working_directory": str(Path.cwd()),
        "limit": options.limit,
        "retry_failed": options.retry_failed,
        "redo_fallback": options.redo_fallback,
        "refresh": options.refresh,
        "counts": dict(run.counts),
        "fallback": run.fallback,
        "files": run.files,
        "by_program": dict(run.by_program),
        "skipped": run.skipped,
        "skipped_failed": run.skipped_failed,
        "spared": dict(run.spared),
        "missing_rows": run.missing_rows,
        "usage": dataclasses.asdict(run.usage),
        "work_seconds": round(run.work_seconds, 3),
        "budget": run.budget,
        "settings": _shown(options.settings),
    }
    write_whole(out / RUNS / f"{run.id}.json", json.dumps(content, indent=1).encode())


def _shown(settings: Settings) -> dict[str, Any]:
    """The settings as they may be kept: no credentials of servers."""
    shown = settings.model_dump(mode="json", exclude={"cache_dir": True, "servers": {"api_key"}})
    return shown | {key: without_credentials(shown[key]) for key in ("engine", "fallbacks")}


def fallback_notes(run: Run, engine: Engine) -> list[str]:
    """What is said at the end of a run of servers that were away, and of what others answered for them."""
    if not isinstance(engine, Pool):
        return []
    servers = engine.status()
    away = [f"{server.label} (for {server.away_seconds:.0f} s)" for server in servers if _was_away(server)]
    notes = [f"away for a time: {', '.join(away)}"] if away else []
    notes += [f"not used, {server.label}: {server.reason}" for server in servers if _was_never_there(server)]
    if run.fallback:
        who = " and ".join(server.label for server in servers if server.fallback and server.answered)
        count = "1 document was" if run.fallback == 1 else f"{run.fallback:,} documents were"
        notes.append(f"{count} answered by a fallback, {who}: --redo-fallback asks again")
    return notes


def _was_away(server: ServerStatus) -> bool:
    return server.away_seconds >= 1 and not _was_never_there(server)


def _was_never_there(server: ServerStatus) -> bool:
    return server.state == "open" and not server.answered


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
    elif run.budget:
        lines.append(f"The budget of {run.budget} is reached; the same command goes on from there.")
    return "\n".join(lines)
