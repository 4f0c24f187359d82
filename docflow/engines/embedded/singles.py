"""Leaves that stand alone: the currency, a box ticked, one of several words, a heading, an IBAN by its shape."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from docflow.engines.base import Piece
from docflow.engines.embedded.context import Context, PrintedLine, Span
from docflow.engines.embedded.head import Head
from docflow.engines.embedded.labels import Label
from docflow.engines.embedded.lexicon import lexicon, words_of
from docflow.engines.embedded.money import Ledger
from docflow.engines.embedded.pairing import pairs
from docflow.engines.embedded.questions import Question
from docflow.engines.embedded.values import choice_in, vat_numbers, yes_or_no
from docflow.fields.currencies import find_currency
from docflow.fields.identifiers import find_ibans, valid_vat
from docflow.fields.text import fold
from docflow.fields.words import find_emails, find_links

_CURRENCY_HEAD = re.compile(r"[(\[]\s?[^\W\d_]{0,3}[$€£¥]?\s?[)\]]|[$€£¥₩]")
_FULL_STOP = re.compile(r"[.;!?]\s+|[.;!?]$")


def currencies(context: Context, total: Span | None) -> list[tuple[str, Span, float]]:
    """The currency marks of the pages with their codes, the one most printed first; of equal ones that at the total."""
    marked = [line for line in context.printed if any(one.currency for one in context.amounts.get(line.number, ()))]
    heads = [line for line in context.printed if _CURRENCY_HEAD.search(line.text)]
    marks = _marks(context, [*marked, *(line for line in heads if line not in marked)])
    if not marks:
        marks = _marks(context, context.printed)
    counts = Counter(value for value, _ in marks)
    found = []
    for value, span in marks:
        score = counts[value] / max(1, len(marks))
        if total is not None and span.line is total.line:
            score += 0.3
        if span.text.strip().isalpha() and span.text.isupper() and len(span.text) == 3:
            score += 0.1
        found.append((value, span, score))
    return sorted(found, key=lambda one: -one[2])


def _marks(context: Context, lines: Iterable[PrintedLine]) -> list[tuple[str, Span]]:
    """Currency signs, codes and names of these lines with their codes; a single letter is none.

    Nor is what stands in a company's suffix: "Sdn Bhd" ends in the code of a currency.
    """
    suffix = context.locale.pattern("company")
    marks = []
    for line in lines:
        suffixes = [match.span() for match in suffix.finditer(fold(line.text))] if suffix is not None else []
        for found in find_currency(line.text, context.locale):
            text = line.text[found.start : found.end]
            if len(text) == 1 and text.isascii() and text.isalpha():
                continue
            if not any(start <= found.start and found.end <= end for start, end in suffixes):
                marks.append((found.value, Span(line, found.start, found.end)))
    return marks


def booleans(
    context: Context, question: Question, labels: Mapping[int, list[Label]]
) -> list[tuple[bool, tuple[Piece, ...], float]]:
    """What stands at the question's label, or as a box right before it."""
    found: list[tuple[bool, tuple[Piece, ...], float]] = []
    for pair in pairs(context, question, labels, (question.path, *question.concepts)):
        said = yes_or_no(pair.region.span.text, context)
        if said is not None:
            found.append((said, (pair.region.span.piece,), pair.score))
        label = pair.label.span
        before = Span(label.line, max(0, label.start - 5), label.start)
        ticked = yes_or_no(before.text, context) if before.text.strip() and not before.text.strip().isalnum() else None
        if ticked is not None:
            found.append((ticked, (before.piece,), pair.score + 0.1))
    if not found:
        found += _said_in_words(context, question)
    return sorted(found, key=lambda one: -one[2])


def _said_in_words(context: Context, question: Question) -> Iterator[tuple[bool, tuple[Piece, ...], float]]:
    """A sentence that holds every word of the question's name: what it says, "not" and "un-" turned round."""
    known = lexicon()
    wanted = {known.meaning(word) for word in words_of(question.names[-1]) if word not in known.filler}
    if not wanted:
        return
    negations = known.negations
    for line in context.printed:
        for start, end in _sentences(line.text):
            said = [token.text for token in line.tokens if start <= token.start < end]
            meanings = {known.meaning(word) for word in said}
            turned = {
                known.meaning(word[len(prefix) :])
                for word in said
                for prefix in ("un", "non", "in")
                if word.startswith(prefix)
            }
            if not len(wanted) < len(said) <= 14 or not wanted <= meanings | turned:
                continue
            no = bool(negations & set(said)) or not wanted <= meanings
            yield not no, (line.piece(start, end),), 0.5


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _FULL_STOP.finditer(text):
        yield start, match.start()
        start = match.end()
    if start < len(text):
        yield start, len(text)


def choices(context: Context, question: Question, labels: Mapping[int, list[Label]]) -> list[tuple[str, Span, float]]:
    """The choices as they stand at the question's label; else anywhere on the pages, more weakly."""
    found = []
    for pair in pairs(context, question, labels, (question.path, *question.concepts)):
        region = pair.region.span
        match = choice_in(region.text, question.choices)
        if match is not None:
            choice, start, end = match
            found.append((choice, Span(region.line, region.start + start, region.start + end), pair.score))
    if not found:
        for line in context.printed:
            match = choice_in(line.text, question.choices)
            if match is not None:
                found.append((match[0], Span(line, match[1], match[2]), 0.45 - 0.001 * line.number))
    return sorted(found, key=lambda one: -one[2])


def asks_for_heading(question: Question) -> bool:
    """Whether a field asks for what the document calls itself, and not for somebody's title."""
    name = set(words_of(question.names[-1]))
    described = set(words_of(question.description))
    return bool(name & {"title", "heading", "headline"}) and (
        bool(described & {"heading", "headline", "header", "document", "form", "page", "top"}) or "heading" in name
    )


def headings(context: Context) -> list[tuple[Span, float]]:
    """The lines of the first page's head, those in the largest letters and furthest up first."""
    if not context.layouts or not context.layouts[0].lines:
        return []
    layout = context.layouts[0]
    found = []
    for line in context.printed[: min(12, len(layout.lines))]:
        for start, end in line.stretches():
            span = Span(line, start, end)
            letters = sum(char.isalpha() for char in span.text)
            if (
                letters >= 4
                and letters > 0.6 * len(span.text.replace(" ", ""))
                and not span.text.rstrip().endswith(":")
            ):
                heights = [word.level_box.height for word in line.words(start, end)]
                title = words_of(span.text) in lexicon().titles
                size = max(heights) / layout.height if layout.height else 1.0
                found.append((span, 0.3 * size - 0.03 * line.number + (0.2 if title else 0.0)))
    return sorted(found, key=lambda one: -one[1])


def payment_methods(ledger: Ledger) -> Iterator[tuple[Span, float]]:
    """The words that name what was paid: "CASH", "VISA"."""
    for amount in ledger.amounts:
        label = amount.label
        if label is None or amount.claims("paid") < 0.9 or not label.leads or amount.in_summary:
            continue
        if any(ch.isalpha() for ch in label.span.text):
            yield _whole_label(label, amount.span.start), 0.5 - 0.001 * amount.span.line.number


def _whole_label(label: Label, end: int) -> Span:
    """The label with the words up to the amount that belong to it: "PAID CASH", "Debit card"."""
    line = label.line
    cell_end = min(end, line.spans[line.cell_at(label.span.start)][1])
    rest = line.text[label.span.end : cell_end]
    words = rest.strip(" :.*")
    if words and len(words.split()) <= 2 and all(char.isalpha() or char in " -&" for char in words):
        return Span(line, label.span.start, label.span.end + len(rest.rstrip(" :.*")))
    return label.span


def shaped(context: Context, concept: str, head: Head) -> Iterator[tuple[Span, float]]:
    """Values that are known by their shape alone, without a label: IBAN, VAT number, e-mail, web site."""
    for line in context.printed:
        if concept == "iban":
            for start, end in find_ibans(line.text):
                yield Span(line, start, end), 0.9 - 0.0005 * line.number
        elif concept == "vat":
            for start, end in vat_numbers(line.text):
                proven = valid_vat(line.text[start:end])
                yield Span(line, start, end), (0.85 if proven else 0.5) - 0.0005 * line.number
        elif concept == "email":
            for start, end in find_emails(line.text):
                yield Span(line, start, end), 0.6 - 0.001 * line.number
        elif concept == "website":
            for start, end in find_links(line.text):
                yield Span(line, start, end), 0.6 - 0.001 * line.number


def is_readers(span: Span) -> bool:
    """Whether a value's label says that it is the reader's own: "Your VAT number: ..." on an invoice."""
    line = span.line
    cell = line.cell_at(span.start)
    before = line.text[line.spans[cell][0] : span.start]
    if not words_of(before) and cell:
        before = line.text[line.spans[cell - 1][0] : line.spans[cell - 1][1]]
    return bool(lexicon().yours & set(words_of(before)[:1]))
