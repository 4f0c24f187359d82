"""Parties and addresses that a label announces: "Bill to", "Tenant:", "Sold by"."""

from __future__ import annotations

from collections.abc import Mapping

from docflow.engines.embedded.context import Context, Span
from docflow.engines.embedded.head import Found
from docflow.engines.embedded.labels import Label
from docflow.engines.embedded.lines import HeadLine, LineReader, without_number
from docflow.engines.embedded.pairing import Pair, pairs
from docflow.engines.embedded.questions import Question
from docflow.engines.embedded.values import take
from docflow.fields.kinds import Kind

_MAX_LINES = 6
_SAID = 1.5
"""How much more a name counts that a label announces in so many words than one that only looks like a name."""


def parties(context: Context, question: Question, labels: Mapping[int, list[Label]], reader: LineReader) -> list[Found]:
    """Names that stand at a label of this party, the likeliest first."""
    found = []
    for pair in pairs(context, question, labels, (question.path, *question.concepts)):
        taken = take(Kind.PARTY, question.concept, pair.region.span, context)
        if taken is None:
            continue
        span, look = taken
        span = _name_part(span, reader)
        line = reader.span(span.line, span.start, span.end)
        score = pair.score * look
        if line.contact or line.registration:
            score -= 0.6
        if line.address >= 0.7 and not line.suffix:
            score -= 0.4
        if line.suffix:
            score += 0.2
        if _is_label(span, labels):
            score -= 0.5
        elif score >= 1.0 and pair.label.leads and pair.label.marked and not (line.contact or line.registration):
            score += _SAID
        text = without_number(span.text)
        end = span.start + len(text) if span.text.startswith(text) else span.end
        found.append(Found(text, (span.line.piece(span.start, end),), score, (span.line.number,)))
    return sorted(found, key=lambda one: -one.score)


def _name_part(span: Span, reader: LineReader) -> Span:
    """The name alone where its address follows on the line: "SCI Les Tilleuls, 8 rue Pasteur, 69003 Lyon"."""
    comma = span.text.find(",")
    if comma > 2:
        rest = reader.span(span.line, span.start + comma + 1, span.end)
        if rest.address >= 0.7 and reader.span(span.line, span.start, span.start + comma).address < 0.7:
            return Span(span.line, span.start, span.start + comma)
    return span


def address_under(
    context: Context, question: Question, labels: Mapping[int, list[Label]], reader: LineReader
) -> list[Found]:
    """Addresses that stand at a label of their own, or under the name that a party's label announces."""
    names = [question.path, *question.concepts]
    if question.about:
        names.append(question.about)
    if "address" not in names:
        names.append("address")
    found = []
    for pair in pairs(context, question, labels, tuple(names)):
        if pair.region.how != "below" or pair.region.steps == 1:
            one = _address_from(context, pair, reader)
            if one is not None:
                found.append(one)
    return sorted(found, key=lambda one: -one.score)


def _address_from(context: Context, pair: Pair, reader: LineReader) -> Found | None:
    """The lines of an address from where a label says it begins: the first that looks like one, to the postcode."""
    taken: list[HeadLine] = []
    span: Span | None = pair.region.span
    seen = 0
    while span is not None and seen < _MAX_LINES:
        line = reader.span(span.line, span.start, span.end)
        seen += 1
        if seen > 1 and (line.labelled or line.contact or line.title or ":" in span.text[:30]):
            break
        if line.address >= 0.4 or (taken and not line.noise and not line.registration):
            taken.append(line)
            if line.postcode and line.address > 0.8:
                follower = _next_down(context, span)
                if follower is not None:
                    below = reader.span(follower.line, follower.start, follower.end)
                    if below.region:
                        taken.append(below)
                break
        elif taken:
            break
        span = _next_down(context, span)
    if not taken or sum(line.address for line in taken) < 0.7:
        return None
    score = pair.score + 0.1 * min(3, len(taken)) - 0.1 * (taken[0].line.number - pair.region.span.line.number)
    parts = [line.text.strip(" ,;:") for line in taken]
    pieces = tuple(line.line.piece(line.start, line.end) for line in taken)
    return Found(", ".join(parts), pieces, score, tuple(line.line.number for line in taken))


def _next_down(context: Context, span: Span) -> Span | None:
    cell = span.line.cells[span.line.cell_at(span.start)]
    below = context.below(cell, reach=1.6)
    return context.span_of(below) if below is not None else None


def _is_label(span: Span, labels: Mapping[int, list[Label]]) -> bool:
    return any(
        label.leads and label.marked and label.span.start <= span.start + 1
        for label in labels.get(span.line.number, ())
        if label.span.overlaps(span)
    )
