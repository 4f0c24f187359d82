"""From a field's words to the value printed beside, right of, or under them: for any field of any schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from docflow.engines.embedded.context import Context, PrintedLine, Span
from docflow.engines.embedded.labels import Label, Region, find_labels, regions
from docflow.engines.embedded.lexicon import Phrases, Token, lexicon, words_of
from docflow.engines.embedded.questions import Question

OWN = 1.1
"""How much a field's own name counts against a synonym of what it means."""
_HOW = {"beside": 1.0, "stacked": 0.98, "right": 0.97, "below": 0.8}
_COMMON = frozenset({"number", "date", "identifier", "amount", "name", "total", "code", "type", "address", "telephone"})


@dataclass(frozen=True, slots=True)
class Pair:
    """A label that names a field and a place where its value may stand, with how plausible the pair is."""

    question: Question
    label: Label
    region: Region
    score: float


@lru_cache(maxsize=64)
def _own_phrases(names: tuple[tuple[str, tuple[str, ...]], ...]) -> Phrases:
    phrases = Phrases()
    for path, words in names:
        for name in words:
            phrases.add(name, path, OWN)
    return phrases


def labels_for(context: Context, questions: Iterable[Question]) -> dict[int, list[Label]]:
    """The labels of the pages: those of the lexicon and those that the fields' own names make, merged line by line.

    A field's own name inside a longer phrase of another meaning ("date" in "due date") is no label of that field.
    """
    questions = tuple(questions)
    known = context.labels
    own = find_labels(context, _own_phrases(tuple((question.path, question.names) for question in questions)))
    soft = _soft_labels(context, questions, known, own)
    merged: dict[int, list[Label]] = {}
    meanings = {question.path: question.concepts for question in questions}
    claimed = {concept for question in questions for concept in question.concepts}
    for number in known.keys() | own.keys() | soft.keys():
        labels = list(known.get(number, ()))
        for label in (*own.get(number, ()), *soft.get(number, ())):
            labels = _merge(labels, label, meanings, claimed)
        merged[number] = sorted(labels, key=lambda label: label.span.start)
    return merged


def _merge(labels: list[Label], new: Label, meanings: Mapping[str, tuple[str, ...]], claimed: set[str]) -> list[Label]:
    clashing = [label for label in labels if label.span.overlaps(new.span)]
    if not clashing:
        return [*labels, new]
    longest = max(clashing, key=lambda label: label.span.end - label.span.start)
    if longest.span.end - longest.span.start > new.span.end - new.span.start:
        kept = {}
        for path, strength in new.names.items():
            said = max((longest.names.get(concept, 0.0) for concept in meanings.get(path, ())), default=0.0)
            if said > 0:
                kept[path] = strength * said
        if not kept and not longest.names.keys() & claimed:
            # "Balance due" for a field "balance", where no other field asks for what is due.
            kept = {path: 0.75 * strength for path, strength in new.names.items()}
        if not kept:
            return labels
        return [_with(label, kept) if label is longest else label for label in labels]
    names: dict[str, float] = {}
    if longest.span.end - longest.span.start == new.span.end - new.span.start:
        names.update(longest.names)
    names.update(new.names)
    return [*(label for label in labels if label not in clashing), _with(new, names)]


def _with(label: Label, names: Mapping[str, float]) -> Label:
    return Label(label.span, {**label.names, **names}, label.words, label.marked, label.leads, label.exact)


# --- labels that say a field's name in other words ----------------------------------------------------------------


def _soft_labels(
    context: Context,
    questions: tuple[Question, ...],
    known: Mapping[int, list[Label]],
    own: Mapping[int, list[Label]],
) -> dict[int, list[Label]]:
    """Beginnings of cells that share most of their meaning with a field's name ("Staff No." for employee_number)."""
    named = {path for labels in own.values() for label in labels for path in label.names}
    named |= {
        question.path
        for question in questions
        for labels in known.values()
        for label in labels
        if label.leads and any(label.names.get(concept, 0) >= 1 for concept in question.concepts)
    }
    wanted = [(question, _meanings(question)) for question in questions if question.path not in named]
    wanted = [(question, meanings) for question, meanings in wanted if meanings]
    if not wanted:
        return {}
    found: dict[int, list[Label]] = {}
    meant = frozenset().union(*(meanings for _, meanings in wanted))
    for line in context.printed:
        for number in range(len(line.cells)):
            taken = _label_tokens(line, number)
            if not taken:
                continue
            printed = _weights(token.text for token in taken)
            if not printed or not any(_has(printed, meaning) for meaning in meant):
                continue
            names = {}
            for question, meanings in wanted:
                score = _likeness(meanings, printed, _described(question))
                if score:
                    names[question.path] = score
            if names:
                span = Span(line, taken[0].start, taken[-1].end)
                end = line.spans[number][1]
                rest = line.text[span.end : end].strip(" :.()")
                marked = not rest or line.text[span.end : span.end + 3].lstrip().startswith(":")
                found.setdefault(line.number, []).append(Label(span, names, len(taken), marked, True, False))
    return found


def _likeness(meanings: Mapping[str, float], printed: Mapping[str, float], described: Mapping[str, float]) -> float:
    """How surely a printed label means a field, by what they share; 0 where they share too little."""
    shared = sum(weight for meaning, weight in meanings.items() if _has(printed, meaning))
    if not shared:
        return 0.0
    alike = 2 * shared / (sum(meanings.values()) + sum(printed.values()))
    if alike >= 0.6:
        return 0.9 * alike
    if alike >= 0.45 and all(_has(meanings, word) for word in printed):
        return 0.6  # "ID" for patient_id, where the patient's other fields stand around it
    if len(printed) > 1 and all(_has(meanings, word) or _has(described, word) for word in printed):
        return 0.6  # "Rent due on day", where the description speaks of the day on which the rent is due
    return 0.0


@lru_cache(maxsize=1024)
def _described(question: Question) -> dict[str, float]:
    return _weights(words_of(question.description))


@lru_cache(maxsize=1024)
def _meanings(question: Question) -> dict[str, float]:
    name = question.names[-1] if question.names else ""
    return _weights(words_of(name))


def _weights(words: Iterable[str]) -> dict[str, float]:
    known = lexicon()
    meanings = (known.meaning(word) for word in words if word not in known.filler and len(word) > 1)
    return {meaning: 0.5 if meaning in _COMMON else 1.0 for meaning in meanings}


def _has(printed: Mapping[str, float], meaning: str) -> bool:
    if meaning in printed:
        return True
    return len(meaning) >= 5 and any(
        one.startswith(meaning[:5]) or meaning.startswith(one) for one in printed if len(one) >= 5
    )


def _label_tokens(line: PrintedLine, number: int) -> list[Token]:
    """The tokens of a cell up to its colon; of a cell without one all, if they are few and no figures."""
    start, end = line.spans[number]
    colon = min((at for mark in ":：" if (at := line.text.find(mark, start, end)) >= 0), default=-1)
    stop = colon if colon >= 0 else end
    taken = [token for token in line.tokens if start <= token.start and token.end <= stop]
    if len(taken) > 6 or (colon < 0 and any(token.text.isdigit() for token in taken)):
        return []
    return taken


# --- pairs --------------------------------------------------------------------------------------------------------


def pairs(
    context: Context, question: Question, labels: Mapping[int, list[Label]], names: tuple[str, ...]
) -> list[Pair]:
    """The places where the field's value may stand, the likeliest first. ``names`` are what its labels may say."""
    found: list[Pair] = []
    for on_line in labels.values():
        for label in on_line:
            strength = 0.0
            for rank, name in enumerate(names):
                said = label.names.get(name, 0.0)
                strength = max(strength, said - (0.04 * rank if said else 0.0))
            if strength <= 0:
                continue
            if label.marked:
                strength += 0.15
            if label.leads:
                strength += 0.1
            else:
                strength -= 0.25
                if not label.marked and len(label.line.tokens) > 9:
                    strength -= 0.4  # a word of a sentence
            if not label.exact:
                strength -= 0.1
            for place, region in enumerate(regions(context, label, labels)):
                score = strength * _HOW[region.how] - 0.12 * place
                if region.how == "right" and region.steps > 1:
                    score -= 0.1 * region.steps
                found.append(Pair(question, label, region, score))
    return sorted(found, key=lambda pair: -pair.score)
