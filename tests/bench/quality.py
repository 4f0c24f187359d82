"""How right docflow is on samples with truth: ``python tests/bench/quality.py [DIR] [--fresh N --seed S] [--check]``.

DIR holds ``documents/`` and ``truth/`` as samples/make.py writes them (the project's own samples when not given);
``--fresh`` makes new ones. Prints tables, and one JSON object as the last line. With ``--check`` the exit code is 1
when a figure is below its floor.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "samples"))

import docflow
from docflow.evaluation.evaluate import Evaluation
from docflow.evaluation.judging import judge
from docflow.evaluation.scoring import FieldScore, ListScore, rounded, share, total
from docflow.evaluation.truth import read_truths

ROOT = Path(__file__).resolve().parents[2]
BUILT_IN = ("receipt", "invoice", "form")

FLOORS: dict[str, dict[str, float]] = {
    "receipt": {
        "company": 0.72,
        "date": 0.93,
        "address": 0.86,
        "total": 0.93,
        "currency": 0.92,
        "tax": 0.9,
        "subtotal": 0.9,
        "receipt_number": 0.86,
        "payment_method": 0.8,
        "items": 0.95,
        "grounded": 0.95,
    },
    "invoice": {
        "issuer": 0.66,
        "customer": 0.5,
        "invoice_number": 0.91,
        "date": 0.91,
        "due_date": 0.9,
        "currency": 0.91,
        "amount_untaxed": 0.91,
        "tax": 0.91,
        "amount": 0.91,
        "iban": 0.88,
        "vat": 0.87,
        "items": 0.95,
        "grounded": 0.95,
    },
    "form": {"title": 0.75, "pairs": 0.88, "grounded": 0.95},
    "payslip": {"all_fields": 0.88, "fields_and_cells": 0.75, "grounded": 0.95},
    "lab_report": {"all_fields": 0.92, "fields_and_cells": 0.85, "grounded": 0.95},
    "lease": {"all_fields": 0.8, "grounded": 0.85},
    "auto": {"accuracy": 0.95},
    "broken": {"accuracy": 1.0},
}
"""The least that each figure may be on the project's own samples: about one document below what was reached.

A field's figure is its accuracy, a list's the accuracy of its cells, that of pairs their F1. A change that makes
docflow better raises its floor in the same commit.
"""


def program_figures(evaluation: Evaluation) -> dict[str, Any]:
    """What was counted for one program: fields, lists by rows and cells, pairs of a form, places."""
    every = total(evaluation.single_fields.values())
    cells = total(score for name, score in evaluation.fields.items() if name not in evaluation.single_fields)
    out: dict[str, Any] = {
        "documents": len(evaluation.judged.documents),
        "statuses": dict(Counter(document.status for document in evaluation.judged.documents)),
        "fields": {name: _field_figures(score) for name, score in evaluation.single_fields.items()},
        "all_fields": rounded(every.recall),
        "fields_and_cells": rounded(share(every.right + cells.right, every.printed + cells.printed)),
        "grounded": evaluation.places.as_dict()["covering_of_right"],
    }
    for name, rows in evaluation.lists.items():
        if evaluation.judged.programs == ["form"]:
            out["pairs"] = _pair_figures(rows)
        else:
            out[name] = _list_figures(rows, evaluation.cells(name))
    return out


def _field_figures(score: FieldScore) -> dict[str, Any]:
    return {
        "printed": score.printed,
        "right": score.right,
        "accuracy": rounded(score.recall),
        "absent": score.absent,
        "invented": score.invented,
    }


def _list_figures(rows: ListScore, cells: FieldScore) -> dict[str, Any]:
    return {
        "rows": rows.rows,
        "rows_right": rows.right,
        "row_accuracy": rounded(share(rows.right, rows.rows)),
        "cells": cells.printed,
        "cells_right": cells.right,
        "cell_accuracy": rounded(cells.recall),
        "extra_rows": max(0, rows.got - rows.rows),
    }


def _pair_figures(pairs: ListScore) -> dict[str, Any]:
    return {
        "true": pairs.rows,
        "got": pairs.got,
        "precision": rounded(share(pairs.right, pairs.got)),
        "recall": rounded(share(pairs.right, pairs.rows)),
        "f1": rounded(pairs.f1),
    }


def main() -> int:
    options = _options()
    if options.fresh:
        with tempfile.TemporaryDirectory(prefix="docflow-samples-") as folder:
            _make_samples(Path(folder), options.fresh, options.seed, options.kinds)
            figures = measure(Path(folder), options.kinds, misses=options.misses)
    else:
        figures = measure(options.folder, options.kinds, misses=options.misses)
    _print_tables(figures)
    below = [f"{name}: {got} is below {floor}" for name, floor, got in _below_floors(figures)] if options.check else []
    print(*below, sep="\n")
    print(json.dumps(figures, ensure_ascii=False))
    return 1 if below else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "samples", help="documents/ and truth/")
    parser.add_argument("--fresh", type=int, metavar="N", help="make N new samples and measure on those")
    parser.add_argument("--seed", type=int, default=2, help="of the new samples")
    parser.add_argument("--kinds", type=lambda text: text.split(","), help="only these kinds, comma-separated")
    parser.add_argument("--misses", action="store_true", help="list every wrong value")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure is below its floor")
    return parser.parse_args()


def _make_samples(folder: Path, count: int, seed: int, kinds: list[str] | None) -> None:
    from maker.collection import KINDS, orders, write  # beside samples/make.py

    write(folder, seed, orders(seed, count, kinds or list(KINDS), fresh=True))


def measure(folder: Path, kinds: list[str] | None = None, *, misses: bool = False) -> dict[str, Any]:
    """Run docflow over a folder of samples: each with its own program, then all of the built-in kinds with auto."""
    truths = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "truth").glob("*.json"))]
    truths = [truth for truth in truths if not kinds or truth["program"] in kinds]
    about = {Path(truth["document"]).stem: truth for truth in truths}
    readable = {truth.name: truth for truth in read_truths(folder / "truth")}
    started = time.perf_counter()
    figures: dict[str, Any] = {"samples": len(truths)}
    broken: list[bool] = []
    for program, group in _grouped(truths, lambda truth: truth["program"]).items():
        schema = next((truth["schema"] for truth in group if truth["schema"]), None)
        how = {"schema": str(ROOT / "samples" / "schemas" / schema)} if schema else {"program": program}
        with tempfile.TemporaryDirectory(prefix="docflow-quality-") as out:
            docflow.extract(_paths(folder, group), out=out, runner="direct", **how)
            wanted = [readable[Path(truth["document"]).stem] for truth in group]
            evaluation = Evaluation(judge(docflow.open(out), wanted, program=program))
        broken += [status == "failed" for _, status in evaluation.judged.unreadable]
        figures[program] = program_figures(evaluation)
        if misses:
            print(*_misses(evaluation, about), sep="\n")
    figures["broken"] = {"documents": len(broken), "accuracy": rounded(share(sum(broken), len(broken)))}
    kinds_known = [truth for truth in truths if truth["program"] in BUILT_IN and truth["status"] != "failed"]
    if kinds_known:
        figures["auto"] = _auto(folder, kinds_known, misses=misses)
    figures["seconds"] = round(time.perf_counter() - started, 1)
    return figures


def _misses(evaluation: Evaluation, about: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """A line for every leaf that was not right."""
    for document in evaluation.judged.documents:
        truth = about[document.truth]
        made = f"{truth['document']} {truth['layout']} {truth['locale']}"
        if document.status != "valid":
            yield f"{made} {document.status}"
        for leaf in document.leaves:
            outcome = leaf.outcome
            if not outcome.correct:
                where = outcome.path or f"({outcome.true_path})"
                yield f"{made} {where}: {outcome.verdict}, {outcome.true!r} but {outcome.got!r}"


def _auto(folder: Path, truths: list[dict[str, Any]], *, misses: bool) -> dict[str, Any]:
    """How often the kind of a document was found."""
    kinds = {truth["document"]: truth for truth in truths}
    confusion: Counter[str] = Counter()
    for result in docflow.iter_records(_paths(folder, truths), program="auto"):
        truth = kinds[Path(result.source).name]
        confusion[f"{truth['program']} as {result.program}"] += 1
        if misses and truth["program"] != result.program:
            print(f"{truth['document']} {truth['layout']} {truth['locale']} was taken for {result.program}")
    right = sum(count for names, count in confusion.items() if len(set(names.split(" as "))) == 1)
    return {
        "documents": confusion.total(),
        "accuracy": rounded(share(right, confusion.total())),
        "confusion": dict(confusion),
    }


def _paths(folder: Path, truths: Iterable[Mapping[str, Any]]) -> list[Path]:
    return [folder / "documents" / truth["document"] for truth in truths]


def _grouped(truths: Iterable[Any], key: Callable[[Any], str]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for truth in truths:
        groups.setdefault(key(truth), []).append(truth)
    return groups


def _print_tables(figures: Mapping[str, Any]) -> None:
    for program, tally in figures.items():
        if not isinstance(tally, dict) or "fields" not in tally:
            continue
        print(f"\n{program}: {tally['documents']} documents, {tally['statuses']}, grounded {tally['grounded']}")
        for name, score in tally["fields"].items():
            accuracy = "" if score["accuracy"] is None else f"{score['accuracy']:.2f}"
            print(f"  {name:18} {score['right']:4}/{score['printed']:<4} {accuracy:5} invented {score['invented']}")
        for name, score in tally.items():
            if isinstance(score, dict) and "cells" in score:
                print(
                    f"  {name:18} rows {score['row_accuracy']}, cells {score['cell_accuracy']}, "
                    f"too many {score['extra_rows']}"
                )
        if "pairs" in tally:
            pairs = tally["pairs"]
            print(f"  {'pairs':18} f1 {pairs['f1']} (precision {pairs['precision']}, recall {pairs['recall']})")
        print(f"  {'all':18} fields {tally['all_fields']}, with cells {tally['fields_and_cells']}")
    if "auto" in figures:
        print(f"\nauto: {figures['auto']['accuracy']} {figures['auto']['confusion']}")
    print(f"\n{figures['samples']} samples, {figures['seconds']} s")


def _below_floors(figures: Mapping[str, Any]) -> Iterable[tuple[str, float, float | None]]:
    """Every figure that is below its floor, or that could not be taken."""
    for program, floors in FLOORS.items():
        tally = figures.get(program, {})
        for name, floor in floors.items():
            figure = tally.get("fields", {}).get(name, tally.get(name))
            if isinstance(figure, dict):
                figure = figure.get("accuracy", figure.get("cell_accuracy", figure.get("f1")))
            if figure is None or figure < floor:
                yield f"{program} {name}", floor, figure


if __name__ == "__main__":
    sys.exit(main())
