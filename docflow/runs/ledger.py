"""The runs of a dataset: what each did, how fast, and what it cost.

A run leaves rows, and at its end ``runs/ID.json``. One that was killed leaves rows alone, and so does one that is still
at work: it is listed as well, from them. Rows are counted by DuckDB over a few columns; none becomes a Python object.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from docflow.buckets import Place, listed
from docflow.engines.base import Usage
from docflow.errors import StorageError, UsageError
from docflow.runs.costs import money
from docflow.runs.summary import RUNS
from docflow.settings import CostSettings

State = Literal["finished", "interrupted", "out of budget", "unfinished"]
"""``unfinished`` runs were killed or ended by an error, or are still at work."""

_COLUMNS = (
    "run_id",
    "created_at",
    "requested_program",
    "requested_engine",
    "requested_model",
    "engine",
    "model",
    "fallback",
    "status",
    "usage",
    "seconds",
)
_BY_ENGINE = """
    SELECT coalesce(run_id, '') AS run_id, requested_program, requested_engine, requested_model, engine, model,
        coalesce(fallback, false) AS fallback,
        count(*) FILTER (status = 'valid') AS valid,
        count(*) FILTER (status = 'invalid') AS invalid,
        count(*) FILTER (status = 'failed') AS failed,
        coalesce(sum(usage.prompt), 0)::BIGINT AS prompt,
        coalesce(sum(usage.cached), 0)::BIGINT AS cached,
        coalesce(sum(usage.output), 0)::BIGINT AS output,
        coalesce(sum(usage.calls), 0)::BIGINT AS calls,
        coalesce(sum(seconds), 0) AS work_seconds,
        epoch(min(created_at)) AS first_at,
        epoch(max(created_at)) AS last_at
    FROM all_rows GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one engine did in a run, as its rows say that are still in the dataset.

    ``work_seconds`` is how long its documents were in work, added up: more than the run lasted where several were at
    once.
    """

    engine: str
    model: str
    fallback: bool
    valid: int
    invalid: int
    failed: int
    usage: Usage
    work_seconds: float

    @property
    def documents(self) -> int:
        return self.valid + self.invalid + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run of a dataset.

    ``seconds`` is its wall time; of an unfinished run, the time until its last row. ``working_seconds`` lacks what came
    before the first document. ``shares`` are by engine, those of fallbacks apart.
    """

    id: str
    state: State
    started_at: dt.datetime
    program: str
    engine: str
    model: str = ""
    seconds: float
    working_seconds: float
    counts: Counter[str]
    usage: Usage
    work_seconds: float
    skipped: int = 0
    skipped_failed: int = 0
    budget: str = ""
    shares: Sequence[Share] = field(default=())

    @property
    def documents(self) -> int:
        return self.counts.total()

    @property
    def documents_per_second(self) -> float:
        return self.documents / self.working_seconds if self.working_seconds > 0 else 0.0

    def cost(self, prices: CostSettings) -> float | None:
        """What the run cost, by these prices; None where none is set."""
        return money(prices, self.usage, self.seconds)

    def as_json(self, prices: CostSettings) -> dict[str, Any]:
        """All of it as plain values."""
        cost = self.cost(prices)
        valid = self.counts["valid"]
        return {
            "id": self.id,
            "state": self.state,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "program": self.program,
            "engine": self.engine,
            "model": self.model,
            "documents": self.documents,
            **{status: self.counts[status] for status in ("valid", "invalid", "failed")},
            "skipped": self.skipped,
            "skipped_failed": self.skipped_failed,
            "budget": self.budget,
            "seconds": round(self.seconds, 3),
            "documents_per_second": round(self.documents_per_second, 4),
            "work_seconds": round(self.work_seconds, 3),
            "tokens": _tokens(self.usage),
            "cost": cost,
            "cost_per_valid_record": cost / valid if cost is not None and valid else None,
            "currency": prices.currency,
            "engines": [
                {
                    "engine": share.engine,
                    "model": share.model,
                    "fallback": share.fallback,
                    "documents": share.documents,
                    "valid": share.valid,
                    "invalid": share.invalid,
                    "failed": share.failed,
                    "work_seconds": round(share.work_seconds, 3),
                    "tokens": _tokens(share.usage),
                }
                for share in self.shares
            ],
        }


def past_runs(out: Place) -> list[PastRun]:
    """Every run of the dataset at ``out``, the oldest first. Raises StorageError where there is none."""
    kept = _kept(out)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in _counted(out):
        rows.setdefault(row["run_id"], []).append(row)
    if not kept and not rows and not (out / "records").is_dir():
        raise StorageError(f"{out} holds no dataset", hint="docflow extract SOURCE --out OUT writes one.")
    runs = [_past_run(run_id, kept.get(run_id), rows.get(run_id, [])) for run_id in {**kept, **rows}]
    return sorted(runs, key=lambda run: (run.started_at, run.id))


def past_run(out: Place, run_id: str) -> PastRun:
    """One run, by its id, by the beginning of it where no other begins so, or ``last``.

    Raises StorageError, UsageError for an id that is none.
    """
    runs = past_runs(out)
    found = runs[-1:] if run_id == "last" else [run for run in runs if run.id == run_id]
    found = found or [run for run in runs if run_id and run.id.startswith(run_id)]
    if len(found) != 1:
        which = "no run" if not found else f"{len(found)} runs"
        raise UsageError(f"{out} holds {which} {run_id!r}", hint=f"docflow runs {out} lists them.")
    return found[0]


def _past_run(run_id: str, kept: dict[str, Any] | None, rows: list[dict[str, Any]]) -> PastRun:
    shares = [
        Share(
            engine=row["engine"],
            model=row["model"],
            fallback=row["fallback"],
            valid=row["valid"],
            invalid=row["invalid"],
            failed=row["failed"],
            usage=_usage(row),
            work_seconds=row["work_seconds"],
        )
        for row in rows
    ]
    counts: Counter[str] = Counter()
    for share in shares:
        counts.update(valid=share.valid, invalid=share.invalid, failed=share.failed)
    usage = sum((share.usage for share in shares), Usage())
    work_seconds = sum(share.work_seconds for share in shares)
    if kept is None:
        began = _time_of(run_id) or dt.datetime.fromtimestamp(min(row["first_at"] for row in rows), dt.UTC)
        lasted = max(0.0, max(row["last_at"] for row in rows) - began.timestamp())
        return PastRun(
            id=run_id,
            state="unfinished",
            started_at=began,
            program=rows[0]["requested_program"],
            engine=rows[0]["requested_engine"],
            model=rows[0]["requested_model"],
            seconds=lasted,
            working_seconds=lasted,
            counts=counts,
            usage=usage,
            work_seconds=work_seconds,
            shares=shares,
        )
    state: State = "interrupted" if kept.get("stopped") else "out of budget" if kept.get("budget") else "finished"
    return PastRun(
        id=run_id,
        state=state,
        started_at=dt.datetime.fromisoformat(kept["started_at"]),
        program=kept["program"],
        engine=kept["engine"],
        model=kept.get("model", ""),
        seconds=float(kept["seconds"]),
        working_seconds=float(kept["working_seconds"]),
        counts=Counter({str(status): int(count) for status, count in kept["counts"].items()}),
        usage=_usage(kept["usage"]) if "usage" in kept else usage,  # runs of older versions do not say
        work_seconds=float(kept.get("work_seconds", work_seconds)),
        skipped=int(kept["skipped"]),
        skipped_failed=int(kept["skipped_failed"]),
        budget=str(kept.get("budget", "")),
        shares=shares,
    )


def _kept(out: Place) -> dict[str, dict[str, Any]]:
    """What runs left at their end, by id. A file that says something else is passed over: the rows are there."""
    found = {}
    for path in listed(out / RUNS, "*.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            _past_run(path.stem, content, [])
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        found[path.stem] = content
    return found


def _counted(out: Place) -> list[dict[str, Any]]:
    """Rows by run and engine, counted. Raises StorageError."""
    import duckdb
    import pyarrow as pa

    from docflow.storage import parts
    from docflow.storage.reading import scan
    from docflow.storage.rows import row_schema

    paths = [path for folder in parts.program_folders(out).values() for path in parts.part_files(folder)]
    if not paths:
        return []
    every = row_schema(pa.null())
    rows = scan(paths, pa.schema([every.field(name) for name in _COLUMNS]))
    with duckdb.connect() as connection:
        connection.register("all_rows", rows)
        with parts.reading_errors(out):
            try:
                answer = connection.execute(_BY_ENGINE)
                found = answer.fetchall()
            except duckdb.Error as error:
                raise OSError(str(error)) from error
        names = [column[0] for column in answer.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _time_of(run_id: str) -> dt.datetime | None:
    """When a run began, as the id tells that docflow gives it."""
    try:
        return dt.datetime.strptime(run_id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def _usage(row: dict[str, Any]) -> Usage:
    return Usage(int(row["prompt"]), int(row["cached"]), int(row["output"]), int(row["calls"]))


def _tokens(usage: Usage) -> dict[str, int]:
    return {"prompt": usage.prompt, "cached": usage.cached, "output": usage.output, "calls": usage.calls}
