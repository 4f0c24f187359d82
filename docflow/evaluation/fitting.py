"""Fitting confidence to labelled documents: a logistic curve a field, drawn towards what all fields have in common.

Labelled documents are few, and most answers are right: a curve of its own would follow the accidents of a field. So
each field's slope and intercept have a prior around those of all fields together, and how wide that prior is, is
chosen by how well it does on documents that were left out.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from docflow.evaluation import reliability
from docflow.evaluation.calibration import Acceptance, Calibration, Curve, EngineCalibration, evidence_for, sigmoid
from docflow.evaluation.judging import Judged, JudgedDocument

FEWEST_DOCUMENTS = 10
"""Fewer labelled documents than this say too little to fit anything to."""
FOLDS = 5
FEWEST_RANKED = 15
"""A field with fewer answers is ranked among those of all fields."""
MOST_KNOTS = 40


@dataclass(frozen=True, slots=True)
class Answer:
    """A labelled answer: which document and field, value or null, how sure the engine was, and whether it was right."""

    document: str
    field: str
    null: bool
    raw: float
    right: bool


@dataclass(frozen=True, slots=True)
class Freedom:
    """How far a field's curve may lie from that of all fields: standard deviations of slope and intercept.

    ``ranked`` curves go by a confidence's rank among the field's labelled ones.
    """

    slope: float
    intercept: float
    ranked: bool = False


FREEDOMS = (
    Freedom(0.0, 0.0),
    *(
        Freedom(slope, intercept, ranked)
        for ranked in (False, True)
        for slope, intercept in ((0.0, 0.5), (0.0, 1.0), (0.0, 2.0), (0.3, 1.0), (0.3, 2.0), (1.0, 3.0))
    ),
)
_COMMON = (1.0, 0.0), (0.5, 3.0)
"""The prior of the common curve: mean and deviation of slope and intercept. A slope of 1 takes the engine's word."""


@dataclass(frozen=True, slots=True)
class Unfitted:
    """A program and engine with too few labelled documents."""

    program: str
    engine: str
    documents: int


def fit(judged: Judged, accept_error: float | None = None) -> tuple[Calibration, list[Unfitted]]:
    """The calibration that the judged documents support, and what there were too few documents for."""
    from docflow.storage.rows import docflow_version

    groups: dict[tuple[str, str, str], list[JudgedDocument]] = defaultdict(list)
    for document in judged.documents:
        if document.source is not None and document.status in ("valid", "invalid"):
            groups[document.program, document.engine, document.model].append(document)
    engines, unfitted = [], []
    for (program, engine, model), documents in sorted(groups.items()):
        if len(documents) < FEWEST_DOCUMENTS:
            unfitted.append(Unfitted(program, engine, len(documents)))
            continue
        answers = [answer for document in documents for answer in answers_of(document)]
        valid = {document.truth for document in documents if document.status == "valid"}
        engines.append(fit_engine(program, engine, model, len(documents), answers, valid))
    created_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return Calibration(tuple(engines), accept_error, created_at, docflow_version()), unfitted


def answers_of(document: JudgedDocument) -> list[Answer]:
    """The labelled answers of a document, nulls among them."""
    return [
        Answer(document.truth, leaf.outcome.field, not leaf.outcome.given, leaf.raw_confidence, leaf.outcome.correct)
        for leaf in document.leaves
        if leaf.raw_confidence is not None
    ]


def fit_engine(
    program: str, engine: str, model: str, documents: int, answers: Sequence[Answer], valid: set[str]
) -> EngineCalibration:
    """The curves for one program and engine; ``valid`` are the documents whose rows could be accepted at all."""
    left_out = {freedom: _left_out(answers, freedom) for freedom in FREEDOMS}
    freedom = min(FREEDOMS, key=lambda freedom: reliability.brier(left_out[freedom]) or 0.0)
    held_out = left_out[freedom]
    before = [reliability.Judged(answer.raw, answer.right) for answer in answers]
    curves = fit_curves(answers, freedom)
    return EngineCalibration(
        program=program,
        engine=engine,
        model=model,
        documents=documents,
        values={field: curve for (field, null), curve in curves.items() if not null},
        nulls={field: curve for (field, null), curve in curves.items() if null},
        rows=row_acceptances(answers, held_out, valid),
        leaves=leaf_acceptances(held_out),
        held_out={
            "answers": len(held_out),
            "ece": reliability.calibration_error(reliability.bins_of(held_out)),
            "ece_before": reliability.calibration_error(reliability.bins_of(before)),
            "brier": reliability.brier(held_out),
            "brier_before": reliability.brier(before),
            "freedom_of_slope": freedom.slope,
            "freedom_of_intercept": freedom.intercept,
            "ranked": float(freedom.ranked),
        },
    )


def _left_out(answers: Sequence[Answer], freedom: Freedom) -> list[reliability.Judged]:
    """Each answer with the confidence that curves give it which were fitted without its document."""
    folds = [_fold(answer.document) for answer in answers]
    by_fold = {
        fold: fit_curves([a for a, other in zip(answers, folds, strict=True) if other != fold], freedom)
        for fold in set(folds)
    }
    judged = []
    for answer, fold in zip(answers, folds, strict=True):
        curve = by_fold[fold].get((answer.field, answer.null))
        judged.append(reliability.Judged(curve(answer.raw) if curve else answer.raw, answer.right))
    return judged


def _fold(document: str) -> int:
    """The part that a document belongs to: by its name, so that the same documents give the same calibration."""
    return hashlib.sha256(document.encode("utf-8", "surrogatepass")).digest()[0] % FOLDS


def fit_curves(answers: Sequence[Answer], freedom: Freedom) -> dict[tuple[str, bool], Curve]:
    """A curve for each field, apart for values and nulls."""
    grouped: dict[tuple[str, bool], list[Answer]] = defaultdict(list)
    for answer in answers:
        grouped[answer.field, answer.null].append(answer)
    curves = {}
    for null in (False, True):
        fields = {field: members for (field, other), members in grouped.items() if other == null}
        every = [answer for members in fields.values() for answer in members]
        knots = {field: _knots(members) or _knots(every) if freedom.ranked else () for field, members in fields.items()}
        points = {field: [_point(answer, knots[field]) for answer in members] for field, members in fields.items()}
        common = _logistic([point for ones in points.values() for point in ones], *_COMMON)
        for field, members in fields.items():
            slope, intercept = _logistic(points[field], common, (freedom.slope, freedom.intercept))
            right = sum(answer.right for answer in members)
            curves[field, null] = Curve(slope, intercept, len(members), right, knots[field])
    return curves


def _knots(answers: Sequence[Answer]) -> tuple[float, ...]:
    """The raw confidences by which others are ranked: all of them, or evenly many; none of too few."""
    if len(answers) < FEWEST_RANKED:
        return ()
    raw = sorted(answer.raw for answer in answers)
    count = min(MOST_KNOTS, len(raw))
    return tuple(raw[int((index + 0.5) * len(raw) / count)] for index in range(count))


def _point(answer: Answer, knots: Sequence[float]) -> tuple[float, float]:
    return evidence_for(answer.raw, knots), float(answer.right)


def _logistic(
    points: Sequence[tuple[float, float]], centre: tuple[float, float], deviation: tuple[float, float]
) -> tuple[float, float]:
    """Slope and intercept that make the answers likeliest, with a normal prior (Newton's method, to convergence).

    A deviation of 0 holds a parameter at its centre. The slope is never negative: less sure is never more right.
    """
    slope, intercept = _newton(points, centre, deviation)
    if slope < 0:
        slope, intercept = _newton(points, (0.0, centre[1]), (0.0, deviation[1]))
    return slope, intercept


def _newton(
    points: Sequence[tuple[float, float]], centre: tuple[float, float], deviation: tuple[float, float]
) -> tuple[float, float]:
    weights = [1 / d**2 if d else math.inf for d in deviation]
    at = list(centre)

    def loss(slope: float, intercept: float) -> float:
        total = 0.0
        for x, y in points:
            z = slope * x + intercept
            total += max(z, 0.0) - z * y + math.log1p(math.exp(-abs(z)))
        for value, middle, weight in zip((slope, intercept), centre, weights, strict=True):
            total += 0.0 if math.isinf(weight) else 0.5 * weight * (value - middle) ** 2
        return total

    best = loss(*at)
    for _ in range(100):
        gradient, curvature = [0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]
        for x, y in points:
            p = sigmoid(at[0] * x + at[1])
            for i, u in enumerate((x, 1.0)):
                gradient[i] += (p - y) * u
                for j, v in enumerate((x, 1.0)):
                    curvature[i][j] += p * (1 - p) * u * v
        for i, weight in enumerate(weights):
            if math.isinf(weight):  # held: no step in this direction
                gradient[i] = 0.0
                curvature[i] = [float(i == j) for j in range(2)]
                curvature[1 - i][i] = 0.0
            else:
                gradient[i] += weight * (at[i] - centre[i])
                curvature[i][i] += weight
        (a, b), (c, d) = curvature
        determinant = a * d - b * c
        step = ((d * gradient[0] - b * gradient[1]) / determinant, (a * gradient[1] - c * gradient[0]) / determinant)
        size = 1.0
        while size > 1e-6:  # halve a step that overshoots
            tried = (at[0] - size * step[0], at[1] - size * step[1])
            if (now := loss(*tried)) <= best:
                break
            size /= 2
        else:
            break
        at, gain, best = list(tried), best - now, now
        if gain < 1e-10:
            break
    return at[0], at[1]


# --- what thresholds would accept ---------------------------------------------------------------------------------


def leaf_acceptances(held_out: Sequence[reliability.Judged]) -> tuple[Acceptance, ...]:
    """What each threshold would accept of single leaves."""
    return _acceptances([(answer.confidence, [answer]) for answer in held_out])


def row_acceptances(
    answers: Sequence[Answer], held_out: Sequence[reliability.Judged], valid: set[str]
) -> tuple[Acceptance, ...]:
    """What each threshold would accept of rows: those that are valid and whose every leaf reaches it."""
    rows: dict[str, list[reliability.Judged]] = defaultdict(list)
    for answer, judged in zip(answers, held_out, strict=True):
        rows[answer.document].append(judged)
    sure = [
        (min(leaf.confidence for leaf in leaves) if document in valid else -1.0, leaves)
        for document, leaves in rows.items()
    ]
    return _acceptances(sure)


def _acceptances(items: Sequence[tuple[float, Sequence[reliability.Judged]]]) -> tuple[Acceptance, ...]:
    """What each threshold would accept of items that have a confidence and leaves; negative ones are never accepted."""
    ordered = sorted(items, key=lambda item: -item[0])
    acceptances: list[Acceptance] = []
    expected = wrong = leaves = 0.0
    for index, (confidence, members) in enumerate(ordered, start=1):
        if confidence < 0:
            break
        leaves += len(members)
        expected += sum(1 - member.confidence for member in members)
        wrong += sum(not member.right for member in members)
        if index < len(ordered) and ordered[index][0] == confidence:
            continue
        # Rounded down as confidences are stored, so that the item itself passes.
        threshold = math.floor(confidence * 10_000) / 10_000
        acceptances.append(Acceptance(threshold, index / len(ordered), expected / leaves, wrong / leaves))
    return tuple(acceptances)


def freedoms_compared(answers: Sequence[Answer]) -> Mapping[Freedom, tuple[float, float]]:
    """For each freedom the left-out calibration error and Brier score: what the choice among them is made from."""
    compared = {}
    for freedom in FREEDOMS:
        judged = _left_out(answers, freedom)
        error = reliability.calibration_error(reliability.bins_of(judged))
        compared[freedom] = (error or 0.0, reliability.brier(judged) or 0.0)
    return compared
