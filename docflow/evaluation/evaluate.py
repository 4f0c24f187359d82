"""What ``docflow eval`` says: scores by field and list, places, and what confidence is worth."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from docflow.evaluation import reliability
from docflow.evaluation.judging import Judged, JudgedDocument, JudgedLeaf
from docflow.evaluation.scoring import FieldScore, ListScore, PlaceScore, mean, rounded, share, total
from docflow.evaluation.values import as_text, squashed

REPORT_FORMAT = 1
"""The number of the form of report.json."""
ERRORS = (0.005, 0.01, 0.02, 0.05)
"""The shares of errors for which the report says how much could be accepted without looking."""


@dataclass(frozen=True)
class Evaluation:
    """A judged dataset in figures. With several programs a field's name begins with its program: ``receipt/total``."""

    judged: Judged

    def _name(self, document: JudgedDocument, field: str) -> str:
        return f"{document.program}/{field}" if len(self.judged.programs) > 1 else field

    @cached_property
    def fields(self) -> dict[str, FieldScore]:
        """The score of each field that the truth names, cells of lists among them, in the order of the schema."""
        scores: dict[str, FieldScore] = defaultdict(FieldScore)
        for document in self.judged.documents:
            for leaf in document.leaves:
                scores[self._name(document, leaf.outcome.field)].add(leaf.outcome)
        return dict(scores)

    @cached_property
    def lists(self) -> dict[str, ListScore]:
        """The score of each list that the truth names, by rows."""
        scores: dict[str, ListScore] = defaultdict(ListScore)
        for document in self.judged.documents:
            for outcome in document.outcome.lists:
                scores[self._name(document, outcome.field)].add(outcome)
        return dict(scores)

    def cells(self, name: str) -> FieldScore:
        """All cells of a list as one field."""
        return total(score for field, score in self.fields.items() if field.startswith(f"{name}[]"))

    @property
    def single_fields(self) -> dict[str, FieldScore]:
        """The fields that stand in no list."""
        return {name: score for name, score in self.fields.items() if "[]" not in name}

    @property
    def mean(self) -> float | None:
        """The mean F1 over the fields that stand in no list and, for each list, over all its cells as one field."""
        outermost = [name for name in self.lists if "[]" not in name]
        return mean(score.f1 for score in (*self.single_fields.values(), *map(self.cells, outermost)))

    @cached_property
    def places(self) -> PlaceScore:
        """How the evidence points, over every leaf whose place is known."""
        score = PlaceScore()
        for leaf in self._leaves():
            if leaf.boxed:
                score.boxed += 1
                score.given += leaf.outcome.given
                score.right += leaf.outcome.verdict == "right"
                score.at_box += bool(leaf.at_box)
                score.at_page += bool(leaf.at_page)
                score.covering += bool(leaf.covering)
            if leaf.on_lines is not None:
                score.with_lines += 1
                score.on_lines += leaf.on_lines
        return score

    def _leaves(self) -> Iterable[JudgedLeaf]:
        return (leaf for document in self.judged.documents for leaf in document.leaves)

    def answers(self, *, nulls: bool = True, raw: bool = False) -> list[reliability.Judged]:
        """Every answered leaf that the truth names with its confidence: also nulls, unless ``nulls`` says otherwise.

        ``raw`` takes the confidence as it was before calibration.
        """
        return [
            reliability.Judged(confidence, leaf.outcome.correct)
            for leaf in self._leaves()
            if (confidence := leaf.raw_confidence if raw else leaf.confidence) is not None
            and (nulls or leaf.outcome.given)
        ]

    def mean_over_groups(self, field: str) -> float | None:
        """The mean recall of the fields that stand in no list, each group of documents with one true ``field`` once.

        Hundred documents of one sender then count as much as one of another.
        """
        groups: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
        for document in self.judged.documents:
            true = next((leaf.outcome.true for leaf in document.leaves if leaf.outcome.field == field), None)
            for leaf in document.leaves:
                if leaf.outcome.printed and "[]" not in leaf.outcome.field:
                    groups[squashed(true or document.truth)][leaf.outcome.field].append(leaf.outcome.verdict == "right")
        names = {name for fields in groups.values() for name in fields}
        return mean(
            mean(share(sum(fields[name]), len(fields[name])) for fields in groups.values() if name in fields)
            for name in names
        )

    # --- as a report --------------------------------------------------------------------------------------------

    def as_dict(self, *, out: str = "", truth: str = "") -> dict[str, Any]:
        """The report as plain values: what report.json holds."""
        judged = self.judged
        return {
            "format": REPORT_FORMAT,
            "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "out": out,
            "truth": truth,
            "programs": judged.programs,
            "documents": {
                "scored": len(judged.documents),
                "statuses": dict(Counter(document.status for document in judged.documents)),
                "all_right": sum(document.outcome.correct for document in judged.documents),
                "missing_rows": self._missing_rows(),
                "without_truth": judged.without_truth,
                "not_scored": judged.unmatched,
                "unreadable": [{"truth": name, "status": status} for name, status in judged.unreadable],
            },
            "unknown_fields": dict(judged.unknown.most_common()),
            "bad_values": [{"truth": t, "field": f, "why": why} for t, f, why in judged.bad_values],
            "mean": rounded(self.mean),
            "fields": {name: score.as_dict() for name, score in self.fields.items()},
            "lists": {name: score.as_dict(self.cells(name)) for name, score in self.lists.items()},
            "grounding": self.places.as_dict(),
            "confidence": self._confidence(),
            "review": self._review(),
            "misses": [
                _miss(self._name(document, leaf.outcome.field), document, leaf)
                for document in judged.documents
                for leaf in document.leaves
                if not leaf.outcome.correct
            ],
        }

    def _confidence(self) -> dict[str, Any]:
        answers, values = self.answers(), self.answers(nulls=False)
        curve = reliability.risk_curve(answers)
        bins = reliability.bins_of(answers)
        return {
            "answers": len(answers),
            "accuracy": rounded(share(sum(answer.right for answer in answers), len(answers))),
            "ece": rounded(reliability.calibration_error(bins)),
            "ece_even": rounded(reliability.calibration_error(reliability.even_bins_of(answers))),
            "ece_values": rounded(reliability.calibration_error(reliability.bins_of(values))),
            "ece_before_calibration": rounded(
                reliability.calibration_error(reliability.bins_of(self.answers(raw=True)))
            ),
            "brier": rounded(reliability.brier(answers)),
            "area_under_risk": rounded(reliability.area_under_risk(curve)),
            "error_at_half": rounded(reliability.error_at(answers, 0.5)),
            "coverage_at": {f"{error:g}": rounded(reliability.coverage_at(curve, error)) for error in ERRORS},
            "bins": [
                {"count": b.count, "confidence": rounded(b.confidence), "accuracy": rounded(b.accuracy)} for b in bins
            ],
            "curve": [
                {
                    "threshold": rounded(point.threshold),
                    "coverage": rounded(point.coverage),
                    "error": rounded(point.error),
                }
                for point in _thinned(curve)
            ],
        }

    def _missing_rows(self) -> dict[str, int]:
        """Documents whose lists lack rows, those of which it was suspected, and of how many it was rightly."""
        pairs = Counter((one.lacks_rows, one.rows_suspected) for one in self.judged.documents)
        return {
            "lacking": pairs[True, True] + pairs[True, False],
            "suspected": pairs[True, True] + pairs[False, True],
            "rightly": pairs[True, True],
        }

    def _review(self) -> dict[str, Any]:
        """What the marks ``needs_review`` came to: of the rows that need no look, how many leaves are wrong."""
        marked = [document for document in self.judged.documents if document.needs_review is not None]
        accepted = [document for document in marked if not document.needs_review]
        leaves = [leaf.outcome for document in accepted for leaf in document.leaves]
        return {
            "marked": len(marked),
            "need_no_look": len(accepted),
            "leaves": len(leaves),
            "leaf_error": rounded(share(sum(not leaf.correct for leaf in leaves), len(leaves))),
            "row_error": rounded(share(sum(not document.outcome.correct for document in accepted), len(accepted))),
        }


def _thinned(curve: Sequence[reliability.RiskPoint], most: int = 400) -> Sequence[reliability.RiskPoint]:
    step = max(1, len(curve) // most)
    return [*curve[::step], *curve[-1:]] if step > 1 else curve


def _miss(name: str, document: JudgedDocument, leaf: JudgedLeaf) -> dict[str, Any]:
    outcome = leaf.outcome
    return {
        "truth": document.truth,
        "source": document.source,
        "field": name,
        "path": outcome.path or outcome.true_path,
        "verdict": outcome.verdict,
        "true": None if outcome.true is None else as_text(outcome.true),
        "got": None if outcome.got is None else as_text(outcome.got),
        "likeness": rounded(outcome.likeness),
        "confidence": rounded(leaf.confidence),
    }


def figure(report: Mapping[str, Any], name: str) -> float | None:
    """A figure of a report by its name: ``mean``, a field (its F1), ``total.recall``, ``items.rows_right``,
    ``grounding.box_f1``, ``documents.all_right`` as a share. Raises KeyError for a name that is none.
    """
    if name == "mean":
        return _number(report["mean"])
    owner, _, figure_name = name.rpartition(".")
    lookups: list[Callable[[], Any]] = [
        lambda: report["fields"][name]["f1"],
        lambda: report["lists"][name]["cells_f1"],
        lambda: report["fields"][owner][figure_name],
        lambda: report["lists"][owner][figure_name],
        lambda: report[owner][figure_name],
    ]
    if name == "documents.all_right":
        return share(report["documents"]["all_right"], report["documents"]["scored"])
    for lookup in lookups:
        try:
            value = lookup()
        except (KeyError, TypeError):
            continue
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return _number(value)
    raise KeyError(name)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def figure_names(report: Mapping[str, Any]) -> list[str]:
    """The names that ``figure`` knows best: for messages."""
    return ["mean", *report["fields"], *(f"{name}.rows_right" for name in report["lists"]), "grounding.box_f1"]
