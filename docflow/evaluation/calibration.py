"""Confidence fitted to labelled documents: kept beside a dataset as calibration.json, and applied to what comes later.

A curve turns an answer's raw confidence into how often such answers of its field were right. There is one for each
program, engine, model and field, and apart from that one for values and one for nulls. What the truth did not name has
no curve, and keeps the confidence it has.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from docflow.buckets import Place
from docflow.errors import StorageError
from docflow.extraction.result import Evidence, Result

FORMAT = 1
"""The number of the form of calibration.json. A reader refuses files with another one."""
FILE = "calibration.json"
PAGES_SURE = 0.9
"""With a lower probability that the pages of a row are one document and all of it, somebody should look."""
_EDGE = 0.002
"""Raw confidences are taken as no nearer to 0 or 1 than this: engines round, and a logit has no end."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Raw confidence to calibrated: ``sigmoid(slope * logit(x) + intercept)``.

    ``x`` is the raw confidence itself, or, where there are ``knots``, its rank among them (0 to 1): engines press the
    confidences of a field together, and what then tells right from wrong is the order. ``answers`` is how many labelled
    answers stand behind the curve, ``right`` how many of them were right.
    """

    slope: float
    intercept: float
    answers: int
    right: int
    knots: Sequence[float] = ()

    def __call__(self, raw: float) -> float:
        return sigmoid(self.slope * evidence_for(raw, self.knots) + self.intercept)


def evidence_for(raw: float, knots: Sequence[float]) -> float:
    """What a curve multiplies by its slope: the logit of the raw confidence or of its rank among the knots."""
    return logit(rank(raw, knots) if knots else raw)


def rank(value: float, knots: Sequence[float]) -> float:
    """The share of the (sorted) knots that lie below a value, linear between them, equals by half; never 0 or 1."""
    below, up_to = bisect_left(knots, value), bisect_right(knots, value)
    if below < up_to:
        place = (below + up_to) / 2
    elif 0 < below < len(knots):
        place = below - 0.5 + (value - knots[below - 1]) / (knots[below] - knots[below - 1])
    else:
        place = float(below)
    return (place + 0.5) / (len(knots) + 1)


def logit(confidence: float) -> float:
    """The log of the odds, for a confidence that is kept away from 0 and 1."""
    inside = min(1 - _EDGE, max(_EDGE, confidence))
    return math.log(inside / (1 - inside))


def sigmoid(value: float) -> float:
    """The confidence of a logit."""
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a threshold would accept of the labelled documents, and the share of errors among the accepted leaves.

    ``expected`` is that share by the confidences themselves, ``observed`` by the truth; both by curves that were
    fitted without the document at hand.
    """

    threshold: float
    coverage: float
    expected: float
    observed: float

    @property
    def error(self) -> float:
        """The worse of the two."""
        return max(self.expected, self.observed)


@dataclass(frozen=True, slots=True)
class EngineCalibration:
    """The curves of one program's answers from one engine and model.

    ``values`` and ``nulls`` go by field (``items[].amount``). ``rows`` and ``leaves`` say what thresholds would accept:
    rows whose every leaf reaches it, or single leaves. ``held_out`` says how well curves fitted on part of the
    documents did on the others.
    """

    program: str
    engine: str
    model: str
    documents: int
    values: Mapping[str, Curve] = field(default_factory=dict)
    nulls: Mapping[str, Curve] = field(default_factory=dict)
    rows: Sequence[Acceptance] = ()
    leaves: Sequence[Acceptance] = ()
    held_out: Mapping[str, float | None] = field(default_factory=dict)

    def curve_of(self, path: str, *, null: bool) -> Curve | None:
        """The curve for an answer; None for a field that has none."""
        return (self.nulls if null else self.values).get(field_of(path))

    def row_threshold(self, error: float) -> float:
        """The least confidence that every leaf of a row needs, so that at most ``error`` of the accepted are wrong.

        More than 1, which no leaf reaches, where the labelled documents do not show that it can be had.
        """
        return _threshold(self.rows, error)

    def leaf_threshold(self, error: float) -> float:
        """The same for leaves one by one."""
        return _threshold(self.leaves, error)


NEVER = 1.01
"""A threshold that nothing reaches."""


def _threshold(acceptances: Sequence[Acceptance], error: float) -> float:
    good = [acceptance for acceptance in acceptances if acceptance.error <= error]
    return max(good, key=lambda acceptance: acceptance.coverage).threshold if good else NEVER


def field_of(path: str) -> str:
    """The field that a leaf belongs to: ``items[3].amount`` is one of ``items[].amount``."""
    return re.sub(r"\[\d+\]", "[]", path)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything that was fitted for a dataset.

    ``accept_error`` is the share of wrong leaves that may go through unseen, 0 to 1; None marks no rows.
    """

    engines: Sequence[EngineCalibration]
    accept_error: float | None = None
    created_at: str = ""
    docflow_version: str = ""

    def for_row(self, program: str, engine: str, model: str) -> EngineCalibration | None:
        """The curves for a row's answers; None where none were fitted for its program, engine and model."""
        return next(
            (one for one in self.engines if (one.program, one.engine, one.model) == (program, engine, model)), None
        )

    def apply(self, result: Result[Any], accept_error: float | None = None) -> Result[Any]:
        """``result`` with its confidences calibrated, always from the raw ones, and marked for review or not.

        ``accept_error`` counts more than the stored one. The mark stays None without either, and for a valid row for
        which nothing was fitted. Rows that are not valid, or from whose lists rows seem to be missing, always need
        review.
        """
        error = self.accept_error if accept_error is None else accept_error
        fitted = self.for_row(result.program, result.engine, result.model)
        evidence = tuple(_calibrated(entry, fitted) for entry in result.evidence)
        needs_review: bool | None = None
        unsure_pages = result.split_confidence is not None and result.split_confidence < PAGES_SURE
        if error is not None and (result.status != "valid" or result.missing_rows or unsure_pages):
            needs_review = True
        elif error is not None and fitted is not None:
            threshold = fitted.row_threshold(error)
            needs_review = any(entry.confidence < threshold for entry in evidence if entry.raw_confidence is not None)
        return dataclasses.replace(result, evidence=evidence, needs_review=needs_review)

    # --- on disk ------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: Place) -> Calibration:
        """What ``save`` wrote. Raises StorageError."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                number = content.get("format") if isinstance(content, dict) else None
                raise StorageError(
                    f"{path} has calibration format {number}; this docflow knows {FORMAT}",
                    hint="Make it again with docflow calibrate OUT TRUTH.",
                )
            return cls(
                engines=tuple(_engine_of(engine) for engine in content["engines"]),
                accept_error=content["accept_error"],
                created_at=content["created_at"],
                docflow_version=content["docflow_version"],
            )
        except OSError as error:
            raise StorageError(f"the calibration {path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StorageError(
                f"{path} is no calibration: {type(error).__name__}: {error}",
                hint="Make it again with docflow calibrate OUT TRUTH, or delete it.",
            ) from error

    @classmethod
    def beside(cls, out: Place) -> Calibration | None:
        """The calibration of a dataset; None where none was made. Raises StorageError for one that cannot be read."""
        path = out / FILE
        return cls.load(path) if path.is_file() else None

    def save(self, path: Place) -> None:
        """Write it as JSON, whole or not at all. Raises StorageError."""
        from docflow.storage.parts import write_whole

        content = {
            "format": FORMAT,
            "created_at": self.created_at,
            "docflow_version": self.docflow_version,
            "accept_error": self.accept_error,
            "engines": [_rounded(dataclasses.asdict(engine)) for engine in self.engines],
        }
        write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _calibrated(entry: Evidence, fitted: EngineCalibration | None) -> Evidence:
    raw = entry.confidence if entry.raw_confidence is None else entry.raw_confidence
    curve = fitted.curve_of(entry.path, null=entry.value is None) if fitted else None
    if curve is None:
        return dataclasses.replace(entry, confidence=raw, raw_confidence=None)
    return dataclasses.replace(entry, confidence=round(curve(raw), 4), raw_confidence=raw)


def _engine_of(content: Mapping[str, Any]) -> EngineCalibration:
    return EngineCalibration(
        program=str(content["program"]),
        engine=str(content["engine"]),
        model=str(content["model"]),
        documents=int(content["documents"]),
        values={name: _curve_of(curve) for name, curve in content["values"].items()},
        nulls={name: _curve_of(curve) for name, curve in content["nulls"].items()},
        rows=tuple(Acceptance(**one) for one in content["rows"]),
        leaves=tuple(Acceptance(**one) for one in content["leaves"]),
        held_out=dict(content["held_out"]),
    )


def _curve_of(content: Mapping[str, Any]) -> Curve:
    return Curve(**{**content, "knots": tuple(float(knot) for knot in content["knots"])})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
