"""The rows of a dataset against a folder of truth: every leaf judged, with the confidence and place it came with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from docflow.documents.model import Box
from docflow.errors import UsageError
from docflow.evaluation.comparing import LeafOutcome, RecordOutcome, TruthNotes, compare, typed_truth
from docflow.evaluation.places import COVER, IOU, Piece, covered, iou, on_lines
from docflow.evaluation.truth import Truth, match
from docflow.fields import Locale

if TYPE_CHECKING:
    from docflow.storage import Dataset

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JudgedLeaf:
    """A leaf's outcome, with what its evidence says.

    ``raw_confidence`` is the confidence before calibration. ``at_box`` and its neighbours are None where the place of
    the value is not known or the value is not right.
    """

    outcome: LeafOutcome
    confidence: float | None = None
    raw_confidence: float | None = None
    boxed: bool = False
    at_box: bool | None = None
    at_page: bool | None = None
    covering: bool | None = None
    on_lines: bool | None = None


@dataclass(frozen=True, slots=True)
class JudgedDocument:
    """One document with truth. Where the dataset has no row for it, ``source`` is None and ``status`` is ``no row``."""

    truth: str
    source: str | None
    program: str
    engine: str
    model: str
    status: str
    needs_review: bool | None
    rows_suspected: bool
    """Rows seem to be missing from its lists."""
    outcome: RecordOutcome
    leaves: Sequence[JudgedLeaf]

    @property
    def lacks_rows(self) -> bool:
        """Whether a list has fewer rows than it has in truth."""
        return any(one.got < one.rows for one in self.outcome.lists)


@dataclass(slots=True)
class Judged:
    """A dataset judged.

    ``unmatched`` are truths whose program has no rows here, or is not known, ``without_truth`` counts sources that no
    truth is about, ``unknown`` fields of the truth that the program does not have. ``unreadable`` are documents that
    truth says cannot be read, with the status they got.
    """

    documents: list[JudgedDocument] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    without_truth: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    bad_values: list[tuple[str, str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    @property
    def programs(self) -> list[str]:
        return sorted({document.program for document in self.documents})


def judge(
    dataset: Dataset, truths: Sequence[Truth], *, program: str | None = None, locale: Locale | None = None
) -> Judged:
    """Judge every document of ``truths`` by its newest row.

    ``program`` says which program's rows are meant where a truth does not; ``locale`` how printed dates and numbers
    in the truth are read. A truth without a row counts as a document of which nothing was answered. Raises UsageError
    when no truth fits a row, StorageError.
    """
    from docflow.storage.schemas import stored_schema

    if program is not None and program not in dataset.programs:
        raise UsageError(f"{dataset.out} holds no rows of {program!r}", hint=f"It holds {', '.join(dataset.programs)}.")
    judged = Judged()
    truths, rows = _rows_for(dataset, truths, program, judged)
    schemas = {name: stored_schema(dataset.out, name) for name in dataset.programs if name != "auto"}
    for truth in truths:
        row = rows.get(truth.name)
        if truth.record is None:
            judged.unreadable.append((truth.name, row["status"] if row else "no row"))
            continue
        name = row["program"] if row else truth.program or program or _only(list(schemas))
        if name not in schemas:  # failed before a kind was chosen, or no row at all
            name = truth.program or program or _only(list(schemas))
        if name not in schemas:
            judged.unmatched.append(truth.name)
            continue
        notes = TruthNotes()
        typed = typed_truth(schemas[name], truth.record, locale, notes)
        judged.unknown.update({f"{field}" for field in notes.unknown})
        judged.bad_values += [(truth.name, field, why) for field, why in notes.unreadable]
        data = row["record"] if row else None
        outcome = compare(schemas[name], typed, data)
        evidence = _by_path(row["evidence"] if row else ())
        judged.documents.append(
            JudgedDocument(
                truth=truth.name,
                source=row["source"] if row else None,
                program=name,
                engine=row["engine"] if row else "",
                model=row["model"] if row else "",
                status=row["status"] if row else "no row",
                needs_review=row.get("needs_review") if row else None,
                rows_suspected=bool(row and row.get("missing_rows")),
                outcome=outcome,
                leaves=[_judged(leaf, evidence, truth) for leaf in outcome.leaves],
            )
        )
    if not any(document.source for document in judged.documents) and not judged.unreadable:
        raise UsageError(
            "no truth file is about a document of the dataset",
            hint="A truth file has the name of its document, with .json in place of its suffix.",
        )
    return judged


def _only(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ""


def _rows_for(
    dataset: Dataset, truths: Sequence[Truth], program: str | None, judged: Judged
) -> tuple[list[Truth], dict[str, Row]]:
    """The row that each truth is about, by the truth's name: of its program, and of several the newest.

    A truth that knows its source gives way to one that was matched with it by its stem.
    """
    columns = ["source", "document_id", "program", "created_at", "first_page", "last_page", "split"]
    keys = dataset.arrow(columns=columns).to_pylist()
    by_source: dict[str, list[Row]] = defaultdict(list)
    for key in keys:
        by_source[key["source"]].append(key)
    sources = match([truth.name for truth in truths if truth.source is None], by_source)
    truths = [
        replace(truth, pages=None) if _is_named(sources.get(truth.name), truth.name) else truth for truth in truths
    ]
    matched = {(sources[truth.name], truth.pages) for truth in truths if truth.name in sources}
    kept = [truth for truth in truths if truth.source is None or (truth.source, truth.pages) not in matched]
    sources |= {truth.name: truth.source for truth in kept if truth.source in by_source}
    wanted: dict[tuple[Any, ...], str] = {}
    for truth in kept:
        source = sources.get(truth.name)
        if source is None:
            continue
        asked = truth.program or program
        about = [row for row in by_source[source] if _is_about(row, truth)]
        rows = [row for row in about if asked in (None, row["program"])]
        # A row under auto failed before its kind was known; one of another kind was taken for something else.
        rows = rows or [row for row in about if row["program"] == "auto"]
        if rows:
            newest = max(rows, key=lambda row: (row["created_at"], row["program"], row["document_id"]))
            wanted[_row_key(newest)] = truth.name
    taken = set(sources.values())
    judged.without_truth = sum(source not in taken for source in by_source)
    found: dict[str, Row] = {}
    for name in {name for _, name, *_ in wanted}:
        for row in dataset.records(name):
            truth_name = wanted.get(_row_key(row))
            if truth_name is not None:
                found[truth_name] = row
    return kept, found


def _row_key(row: Row) -> tuple[Any, ...]:
    return row["source"], row["program"], row["document_id"], row["created_at"], row["first_page"]


def _is_about(row: Row, truth: Truth) -> bool:
    """Whether a row covers just the pages that a truth is about; truth of a whole file is not about a part of it."""
    if truth.pages is None:
        return (row["split"] or 0) <= 1
    return truth.pages == (row["first_page"], row["last_page"])


def _is_named(source: str | None, name: str) -> bool:
    """Whether a source itself has the name of a truth: ``scan.p3.jpg`` is no third page of another file."""
    stem = PurePosixPath(name).name
    return source is not None and stem in (PurePosixPath(source).stem, PurePosixPath(source).name)


def _by_path(evidence: Iterable[Row]) -> dict[str, list[Row]]:
    by_path: dict[str, list[Row]] = defaultdict(list)
    for entry in evidence or ():
        by_path[entry["path"]].append(entry)
    return by_path


def _judged(leaf: LeafOutcome, evidence: Mapping[str, Sequence[Row]], truth: Truth) -> JudgedLeaf:
    entries = evidence.get(leaf.path, ()) if leaf.path is not None else ()
    confidence = entries[0]["confidence"] if entries else None
    before = entries[0].get("raw_confidence") if entries else None
    places = truth.places(leaf.true_path) if leaf.true_path is not None and leaf.printed else []
    judged: dict[str, Any] = {}
    if leaf.verdict == "right":
        pieces = _pieces(entries)
        if places:
            judged["at_box"] = any(iou(pieces, place) >= IOU for place in places)
            pages = {page for page, _ in pieces}
            judged["at_page"] = any(pages == {page for page, _ in place} for place in places)
            judged["covering"] = any(covered(place, pieces) >= COVER for place in places)
        if truth.lines:
            judged["on_lines"] = on_lines(leaf.kind, leaf.true, pieces, truth.lines)
    return JudgedLeaf(
        leaf,
        confidence=confidence,
        raw_confidence=confidence if before is None else before,
        boxed=bool(places),
        **judged,
    )


def _pieces(entries: Iterable[Row]) -> list[Piece]:
    return [
        (entry["page"], Box(entry["x0"], entry["y0"], entry["x1"], entry["y1"]))
        for entry in entries
        if entry["page"] is not None and entry["x0"] is not None
    ]
