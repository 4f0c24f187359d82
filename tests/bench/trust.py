"""How far docflow's values can be trusted: ``python tests/bench/trust.py [DATA] [--fresh N] [--seed S] [--check]``.

DATA holds real documents in folders: receipts as ``img/``, ``key/ID.json`` (company, date, address, total as printed)
and ``box/ID.csv`` (x1,y1,...,x4,y4,text), and invoices as ``ID.pdf`` beside ``ID.json``. Without DATA only documents
that the project makes itself are measured, with a new seed each time. Prints tables, and one JSON object as its last
line. With ``--check`` the exit code is 1 when a figure is below what it must be.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "samples"))

import docflow
from docflow.evaluation import fitting, reliability
from docflow.evaluation.evaluate import Evaluation
from docflow.evaluation.judging import Judged, JudgedDocument, judge
from docflow.evaluation.scoring import FieldScore, ListScore, mean, rounded, share, total
from docflow.evaluation.truth import Truth, read_truths
from docflow.fields import locale_named
from docflow.settings import load_settings
from tests.bench.missing_rows import measure_missing_rows

ROOT = Path(__file__).resolve().parents[2]
KEYS = ("company", "date", "address", "total")
THEIR_INVOICES = {
    "amount_tax": "tax",
    "date_due": "due_date",
    "static_vat": "vat",
    "lines": "items",
    "lines[].name": "items[].description",
    "lines[].desc": "items[].description",
    "lines[].qty": "items[].quantity",
    "lines[].price_unit": "items[].unit_price",
    "lines[].price": "items[].unit_price",
    "lines[].price_subtotal": "items[].amount",
}
SCHEMAS = ("lease", "payslip", "lab_report")
ACCEPT_ERROR = 0.01
HALVES = 20
TIMED = 12
"""Receipts whose reading is timed without the words cache."""

LEAST = {
    "receipts/company": 0.80,
    "receipts/date": 0.95,
    "receipts/address": 0.74,
    "receipts/total": 0.93,
    "receipts/mean": 0.86,
    "receipts/grounded": 0.95,
    "receipts/mean_without_country": 0.78,
    "invoices/three_fields": 1.0,
    "fresh/items/rows_found": 0.95,
    "fresh/items/cells_right": 0.90,
    "fresh/form_pairs_f1": 0.85,
    "fresh/auto": 0.98,
    "fresh/absent_as_absent": 0.95,
    "fresh/schemas/lease": 0.85,
    "fresh/schemas/payslip": 0.85,
    "fresh/schemas/lab_report": 0.85,
    "fresh/missing_rows/noticed": 0.90,
    "calibration/coverage_at_error": 0.50,
}
MOST = {"fresh/missing_rows/false_alarms": 0.01, "calibration/ece": 0.05, "calibration/error_at_half": 0.01}


def main() -> int:
    options = _options()
    if options.without_country:
        return _extract_without(options.without_country, options.data, options.out)
    started = time.perf_counter()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="docflow-trust-") as folder:
        work = Path(folder)
        if options.data is not None:
            receipts, invoices = _real(options.data)
            if receipts is not None:
                figures |= measure_receipts(receipts, work, options.locale)
            if invoices is not None:
                figures["invoices"] = measure_invoices(invoices, work)
        if options.fresh:
            figures["fresh"] = measure_fresh(work, options.fresh, options.seed)
    figures["seconds"] = round(time.perf_counter() - started, 1)
    missed = list(_missed(figures))
    figures["missed"] = missed
    _print(figures)
    print(json.dumps(figures, ensure_ascii=False))
    return 1 if missed and options.check else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="a folder with folders of real documents")
    parser.add_argument("--locale", default="en_MY", help="how the keys of the receipts are written")
    parser.add_argument("--fresh", type=int, default=150, metavar="N", help="make N samples; 0 for none")
    never_used = random.SystemRandom().randrange(10**6, 10**9)
    parser.add_argument("--seed", type=int, default=never_used, help="of the samples (a new one each time)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure is not what it must be")
    parser.add_argument("--without-country", metavar="CODE", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _real(data: Path) -> tuple[Path | None, Path | None]:
    """The folders of receipts and of invoices below DATA."""
    folders = [data, *sorted(path for path in data.iterdir() if path.is_dir())]
    receipts = next((path for path in folders if (path / "img").is_dir() and (path / "key").is_dir()), None)
    invoices = next((path for path in folders if _holds_invoices(path)), None)
    return receipts, invoices


def _holds_invoices(folder: Path) -> bool:
    return any(pdf.with_suffix(".json").exists() for pdf in folder.glob("*.pdf"))


def _extracted(sources: Any, out: Path, **how: Any) -> docflow.Dataset:
    docflow.extract(sources, out=out, runner="direct", **how)
    return docflow.open(out)


# --- receipts -----------------------------------------------------------------------------------------------------


def measure_receipts(folder: Path, work: Path, locale: str) -> dict[str, Any]:
    truths = list(_keys(folder))
    known = locale_named(locale)
    dataset = _extracted(folder / "img", work / "receipts", program="receipt")
    evaluation = Evaluation(judge(dataset, truths, program="receipt", locale=known))
    figures = _receipt_figures(evaluation)
    country = locale.rpartition("_")[2]
    without = work / "without"
    this = [sys.executable, __file__, str(folder / "img"), "--without-country", country, "--out", str(without)]
    subprocess.run(this, check=True)
    bare = Evaluation(judge(docflow.open(without), truths, program="receipt", locale=known))
    figures["mean_without_country"] = _receipt_figures(bare)["mean"]
    figures["fields_without_country"] = {name: rounded(bare.fields[name].recall) for name in KEYS}
    return {
        "receipts": figures,
        "calibration": measure_calibration(evaluation.judged),
        "grounding": measure_grounding(sorted((folder / "img").iterdir())[:TIMED]),
    }


def _keys(folder: Path) -> Iterator[Truth]:
    for path in sorted((folder / "key").glob("*.json")):
        key = json.loads(path.read_text(encoding="utf-8"))
        record = {name: key.get(name) or None for name in KEYS if key.get(name)}  # an empty key says nothing
        yield Truth(path.stem, record, "receipt", lines=list(_lines(folder / "box" / f"{path.stem}.csv")))


def _lines(path: Path) -> Iterator[Any]:
    from docflow.documents.model import Box
    from docflow.evaluation.places import TrueLine

    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else ():
        *corners, text = line.split(",", 8)
        if len(corners) == 8 and all(corner.strip().lstrip("-").isdigit() for corner in corners):
            x, y = [int(corner) for corner in corners[0::2]], [int(corner) for corner in corners[1::2]]
            yield TrueLine(1, Box(min(x), min(y), max(x), max(y)), text)


def _receipt_figures(evaluation: Evaluation) -> dict[str, Any]:
    fields = {name: evaluation.fields[name].recall for name in KEYS}
    places = evaluation.places
    return {
        "documents": len(evaluation.judged.documents),
        **{name: rounded(value) for name, value in fields.items()},
        "mean": rounded(mean(fields.values())),
        "mean_over_companies": rounded(evaluation.mean_over_groups("company")),
        "likeness": {name: evaluation.fields[name].as_dict()["likeness"] for name in KEYS},
        "grounded": rounded(share(places.on_lines, places.with_lines)),
    }


def _extract_without(country: str, source: Path, out: Path) -> int:
    """Extract with a country's data, and that of languages which only it has, taken out: in a process of its own."""
    from docflow.fields import locale

    files = locale._files
    countries = files("country_")
    own = countries.pop(country.lower())
    elsewhere = {language for data in countries.values() for language in data["languages"]}
    gone = {f"country_{country.lower()}", *(f"language_{name}" for name in own["languages"] if name not in elsewhere)}

    def others(prefix: str) -> dict[str, dict[str, Any]]:
        return {name: data for name, data in files(prefix).items() if f"{prefix}{name}" not in gone}

    locale._files = others
    docflow.extract(source, out=out, program="receipt", runner="direct")
    return 0


# --- calibration --------------------------------------------------------------------------------------------------


def measure_calibration(judged: Judged) -> dict[str, Any]:
    """Fitted on one half and tested on the other: over random halves, and one half both ways."""
    documents = list(judged.documents)
    tests = []
    for seed in range(HALVES):
        random.Random(seed).shuffle(documents)
        middle = len(documents) // 2
        tests.append(_halves(documents[:middle], documents[middle:]))
    alternate = sorted(judged.documents, key=lambda document: document.truth)
    both = [_halves(alternate[::2], alternate[1::2]), _halves(alternate[1::2], alternate[::2])]
    names = list(tests[0])
    return {
        "halves": HALVES,
        **{name: rounded(mean(test[name] for test in tests)) for name in names},
        "worst_ece": rounded(max(test["ece"] or 0.0 for test in tests)),
        "worst_error_at_half": rounded(max(test["error_at_half"] or 0.0 for test in tests)),
        "alternate": {name: rounded(mean(test[name] for test in both)) for name in names},
    }


def _halves(to_fit: Sequence[JudgedDocument], to_test: Sequence[JudgedDocument]) -> dict[str, float | None]:
    calibration, _ = fitting.fit(Judged(documents=list(to_fit)), ACCEPT_ERROR)
    [fitted] = calibration.engines
    curves = {(name, False): curve for name, curve in fitted.values.items()}
    curves |= {(name, True): curve for name, curve in fitted.nulls.items()}
    tested = [leaf for document in to_test for leaf in fitting.answers_of(document)]
    answers, raw = _answers(tested, curves), _answers(tested, {})
    accepted = [answer for answer in answers if answer.confidence >= fitted.leaf_threshold(ACCEPT_ERROR)]
    return {
        "ece": reliability.calibration_error(reliability.bins_of(answers)),
        "ece_before": reliability.calibration_error(reliability.bins_of(raw)),
        "ece_even": reliability.calibration_error(reliability.even_bins_of(answers)),
        "brier": reliability.brier(answers),
        "brier_before": reliability.brier(raw),
        "error_at_half": reliability.error_at(answers, 0.5),
        "error_at_half_before": reliability.error_at(raw, 0.5),
        "coverage_at_error": reliability.coverage_at(reliability.risk_curve(answers), ACCEPT_ERROR),
        "accepted_by_threshold": share(len(accepted), len(answers)),
        "error_of_accepted": share(sum(not answer.right for answer in accepted), len(accepted)),
    }


def _answers(answers: Sequence[fitting.Answer], curves: Mapping[tuple[str, bool], Any]) -> list[reliability.Judged]:
    judged = []
    for answer in answers:
        curve = curves.get((answer.field, answer.null))
        judged.append(reliability.Judged(curve(answer.raw) if curve else answer.raw, answer.right))
    return judged


# --- grounding ----------------------------------------------------------------------------------------------------


def measure_grounding(paths: Sequence[Path]) -> dict[str, Any]:
    """The share of a document's time that looking its values up takes, with OCR and with words from the cache."""
    from docflow.extraction.grounding import Grounder

    spent = [0.0]

    def timed(name: str) -> None:
        original = getattr(Grounder, name)

        def wrapper(*arguments: Any, **named: Any) -> Any:
            before = time.thread_time()  # of this thread alone, whatever else the machine does
            try:
                return original(*arguments, **named)
            finally:
                spent[0] += time.thread_time() - before

        setattr(Grounder, name, wrapper)

    for name in ("find", "check"):
        timed(name)
    figures: dict[str, Any] = {"documents": len(paths)}
    settings = load_settings({"reading.cache": False})
    list(docflow.iter_records(paths, program="receipt", settings=settings, concurrency=1, limit=1))  # warm
    for case, cache in (("with_ocr", False), ("without_ocr", True)):
        settings = load_settings({"reading.cache": cache})
        if cache:
            list(docflow.iter_records(paths, program="receipt", settings=settings))
        spent[0] = 0.0
        results = list(docflow.iter_records(paths, program="receipt", settings=settings, concurrency=1))
        seconds = sum(result.seconds for result in results)
        figures[case] = {"share": rounded(share(spent[0], seconds)), "ms": round(1000 * spent[0] / len(results), 2)}
    return figures


# --- invoices -----------------------------------------------------------------------------------------------------


def measure_invoices(folder: Path, work: Path) -> dict[str, Any]:
    truths = [_with_tax(truth) for truth in read_truths(folder, THEIR_INVOICES)]
    dataset = _extracted(sorted(folder.glob("*.pdf")), work / "invoices", program="invoice")
    evaluation = Evaluation(judge(dataset, truths, program="invoice"))
    fields, lists = evaluation.fields, evaluation.lists
    three = total(fields[name] for name in ("invoice_number", "date", "amount"))
    wrong = [
        f"{document.truth} {leaf.outcome.path or leaf.outcome.true_path}: {leaf.outcome.verdict}"
        for document in evaluation.judged.documents
        for leaf in document.leaves
        if not leaf.outcome.correct
    ]
    return {
        "documents": len(evaluation.judged.documents),
        "three_fields": rounded(three.recall),
        "fields": {name: f"{score.right}/{score.printed}" for name, score in fields.items() if "[]" not in name},
        "items": lists["items"].as_dict(evaluation.cells("items")) if "items" in lists else None,
        "cells": {name: f"{score.right}/{score.printed}" for name, score in fields.items() if "[]" in name},
        "wrong": wrong,
        "not_judged": dict(evaluation.judged.unknown),
    }


def _with_tax(truth: Truth) -> Truth:
    """Where a truth gives the sum and the sum before tax, the tax is what lies between."""
    record = dict(truth.record or {})
    if "amount" in record and "amount_untaxed" in record and "tax" not in record:
        tax = Decimal(str(record["amount"])) - Decimal(str(record["amount_untaxed"]))
        if tax:
            record["tax"] = str(tax)
    return Truth(truth.name, record, "invoice")


# --- samples ------------------------------------------------------------------------------------------------------


def measure_fresh(work: Path, count: int, seed: int) -> dict[str, Any]:
    from maker.collection import KINDS, orders, write  # beside samples/make.py

    folder = work / "fresh"
    write(folder, seed, orders(seed, count, list(KINDS), fresh=True))
    raw = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "truth").glob("*.json"))
    }
    truths = {truth.name: truth for truth in read_truths(folder / "truth")}
    evaluations: dict[str, Evaluation] = {}
    with_rows = []
    for program in sorted({about["program"] for about in raw.values()}):
        names = [name for name, about in raw.items() if about["program"] == program]
        schema = next((raw[name]["schema"] for name in names if raw[name]["schema"]), None)
        how = {"schema": str(ROOT / "samples" / "schemas" / schema)} if schema else {"program": program}
        paths = [folder / "documents" / raw[name]["document"] for name in names]
        dataset = _extracted(paths, work / f"out-{program}", **how)
        evaluations[program] = Evaluation(judge(dataset, [truths[name] for name in names], program=program))
        if program != "form":  # its pairs stand anywhere on the page
            whole = [name for name in names if raw[name]["status"] != "failed"]
            records = {folder / "documents" / raw[name]["document"]: raw[name]["record"] for name in whole}
            with_rows.append((how, records))
    cells, rows, absent = FieldScore(), ListScore(), FieldScore()
    for program in ("receipt", "invoice"):
        if program in evaluations and "items" in evaluations[program].lists:
            cells += evaluations[program].cells("items")
            rows += evaluations[program].lists["items"]
    for program, evaluation in evaluations.items():
        if program != "form":  # an entry of a form that was left blank is no absent field
            absent += total(evaluation.single_fields.values())
    pairs = evaluations["form"].lists.get("fields") if "form" in evaluations else None
    built_in = {name: about for name, about in raw.items() if not about["schema"] and about["status"] != "failed"}
    return {
        "seed": seed,
        "documents": len(raw),
        "items": rows.as_dict(cells),
        "missing_rows": measure_missing_rows(
            with_rows,
            [one for name in evaluations if name != "form" for one in evaluations[name].judged.documents],
            seed,
        ),
        "form_pairs_f1": rounded(pairs.f1) if pairs else None,
        "auto": _auto(folder, built_in, work),
        "absent_as_absent": rounded(absent.abstention),
        "fields": {
            program: {name: rounded(score.recall) for name, score in evaluation.single_fields.items()}
            for program, evaluation in evaluations.items()
        },
        "schemas": {
            name: rounded(total(evaluations[name].fields.values()).recall) for name in SCHEMAS if name in evaluations
        },
        "grounding": {
            program: {key: evaluation.places.as_dict()[key] for key in ("box_f1", "page_f1", "covering_of_right")}
            for program, evaluation in evaluations.items()
        },
    }


def _auto(folder: Path, truths: Mapping[str, Mapping[str, Any]], work: Path) -> float | None:
    """The share of documents whose kind was found."""
    paths = [folder / "documents" / about["document"] for about in truths.values()]
    dataset = _extracted(paths, work / "out-auto", program="auto")
    found = {Path(row["source"]).name: row["program"] for row in dataset}
    kinds = Counter(found.get(about["document"]) == about["program"] for about in truths.values())
    return rounded(share(kinds[True], kinds.total()))


# --- what is said of it -------------------------------------------------------------------------------------------


def _figure(figures: Mapping[str, Any], path: str) -> float | None:
    value: Any = figures
    for key in path.split("/"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _missed(figures: Mapping[str, Any]) -> Iterable[str]:
    for bounds, sign in ((LEAST, 1), (MOST, -1)):
        for path, bound in bounds.items():
            if path.split("/")[0] in figures:
                value = _figure(figures, path)
                if value is None or sign * (value - bound) < 0:
                    yield f"{path} is {value}, must be at {'least' if sign > 0 else 'most'} {bound}"


def _print(figures: Mapping[str, Any]) -> None:
    for part, content in figures.items():
        if isinstance(content, Mapping):
            print(f"\n{part}")
            for name, value in content.items():
                bound = LEAST.get(f"{part}/{name}", MOST.get(f"{part}/{name}"))
                wanted = "" if bound is None else f"  (must be {'>=' if f'{part}/{name}' in LEAST else '<='} {bound})"
                print(f"  {name:24} {json.dumps(value, ensure_ascii=False)}{wanted}")
    print(f"\n{figures['seconds']} s")
    print(*figures["missed"], sep="\n")


if __name__ == "__main__":
    sys.exit(main())
