"""Batches: pages of one size with their questions, a function of the seed and the step alone."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tiny_reader import pages, questions
from tiny_reader.curriculum import Lesson
from tiny_reader.glyphs import VARIANTS
from tiny_reader.model import Batch
from tiny_reader.pages import FIELDS, PARTS, Part
from tiny_reader.questions import IGNORED, Question
from tiny_reader.vocabulary import Vocabulary

MOST_QUESTIONS = 8
"""Questions about one page of random letters: the page is computed once for all of them."""


BEGINNING_WEIGHT = 4.0
"""Of a value's first two tokens, its quotation mark and first letter: there it is found, the rest is copied."""

WORD_WEIGHT = 2.5
"""Of a later word's first letter: behind a blank there are fewest letters to know the place by."""


@dataclass(frozen=True)
class Sheet:
    """A page's rows and what is asked about it."""

    rows: Sequence[str]
    asked: Sequence[Question]


@dataclass
class Made:
    """A batch with the sheets that it was made of, and where each answer lies: (page, first token, offsets)."""

    batch: Batch
    sheets: list[Sheet]
    answers: list[tuple[int, int, list[int], Question]]


def lesson_sheets(rng: random.Random, lesson: Lesson, tokens: int) -> tuple[str, list[Sheet]]:
    """The system turn and the pages of a lesson; about ``tokens`` tokens in all."""
    if lesson.task == "reading":
        count = max(1, tokens // (lesson.rows * lesson.columns + min(lesson.rows, MOST_QUESTIONS) * 26 + 6))
        made: list[Sheet] = []
        while len(made) < count:
            page = pages.strings(rng, lesson.rows, lesson.columns, alike=lesson.alike)
            if lesson.goods[1]:
                goods = rng.randint(*lesson.goods)
                page = pages.strings_of(pages.receipt(rng, lesson.columns, goods, alike=lesson.alike).rows)
            if asked := questions.reading_questions(rng, page, MOST_QUESTIONS):
                made.append(Sheet(page.rows, asked))
        return questions.COPY, made
    if lesson.part:
        return part_sheets(rng, lesson, lesson.part, tokens)
    chosen = set(rng.sample(FIELDS, lesson.fields))
    fields = tuple(name for name in FIELDS if name in chosen)
    count = max(1, tokens // (18 * lesson.columns + lesson.fields * 14 + ("items" in chosen) * 60 * lesson.goods[1]))
    made = []
    for _ in range(count):
        receipt = pages.receipt(rng, lesson.columns, rng.randint(*lesson.goods), alike=lesson.alike)
        separators = rng.choice(questions.SEPARATORS)
        made.append(Sheet(receipt.rows, [questions.record_question(receipt.record, fields, separators)]))
    return questions.system_text(fields), made


def part_sheets(rng: random.Random, lesson: Lesson, part: Part, tokens: int) -> tuple[str, list[Sheet]]:
    """Parts of receipts, about as high as each other."""
    fields = PARTS[part]
    most = rng.randint(*lesson.goods)
    rows = 18 if part == "till" else 9
    count = max(1, tokens // (rows * lesson.columns + (50 * most if part == "goods" else 80)))
    made = []
    for _ in range(count):
        receipt = pages.receipt(rng, lesson.columns, rng.randint(max(1, most - 1), most), alike=lesson.alike)
        asked = questions.record_question(receipt.record, fields, rng.choice(questions.SEPARATORS))
        made.append(Sheet(receipt.part(part, rng), [asked]))
    return questions.system_text(fields), made


def assembled(rng: random.Random, vocabulary: Vocabulary, system: str, sheets: list[Sheet], columns: int) -> Made:
    """Sheets as tensors. Pages are filled up with empty rows to the height of the highest."""
    rows = max(len(sheet.rows) for sheet in sheets)
    text = np.full((len(sheets), rows, 2 * columns), 32, np.int64)
    tokens: list[list[tuple[int, int, int, int]]] = []
    answers = []
    for number, sheet in enumerate(sheets):
        for down, row in enumerate(sheet.rows):
            text[number, down, : len(row)] = np.frombuffer(row.encode("ascii"), np.uint8)
        line: list[tuple[int, int, int, int]] = []
        for which, question in enumerate(sheet.asked):
            given = vocabulary.ids(questions.after_page(question.text))
            said = vocabulary.ids(question.answer)
            first = len(line) + len(given) - 1
            whole = given + said
            following = [IGNORED] * (len(given) - 1) + said + [vocabulary.whole["<|im_end|>"]]
            line += [
                (token, place, which, after) for place, (token, after) in enumerate(zip(whole, following, strict=True))
            ]
            ends = np.cumsum([len(vocabulary.text([token])) for token in said]).tolist()
            answers.append((number, first, ends, question))
        tokens.append(line)
    length = max(map(len, tokens))
    padded = np.zeros((len(sheets), length, 4), np.int64)
    padded[:, :, 2], padded[:, :, 3] = -1, IGNORED
    weights = np.ones((len(sheets), length), np.float32)
    for number, first, ends, question in answers:
        for start in beginnings(question):
            place = first + int(np.searchsorted(ends, start, side="right"))
            weights[number, place : place + 2] = BEGINNING_WEIGHT
    for number, line in enumerate(tokens):
        padded[number, : len(line)] = line
    words = (padded[:, :, 0] == ord(" ")) & (padded[:, :, 3] < 256) & (padded[:, :, 3] != ord('"'))
    weights[words] = np.maximum(weights[words], WORD_WEIGHT)
    dice = np.random.default_rng(rng.getrandbits(32))
    variants = dice.integers(0, VARIANTS, text.shape) * (text != 32)
    glyphs = ((text - 32) * VARIANTS + variants).reshape(len(sheets), rows * columns, 2)
    letters = text.reshape(len(sheets), rows * columns, 2)
    ids, after, question_of, targets = (torch.from_numpy(np.ascontiguousarray(padded[:, :, n])) for n in range(4))
    batch = Batch(
        rows,
        columns,
        torch.tensor([vocabulary.ids(questions.before_page(system))]),
        torch.from_numpy(np.ascontiguousarray(glyphs[:, :, 0])),
        torch.from_numpy(np.ascontiguousarray(glyphs[:, :, 1])),
        torch.from_numpy(letters),
        ids,
        after,
        question_of,
        targets,
        torch.from_numpy(weights),
    )
    return Made(batch, sheets, answers)


def beginnings(question: Question) -> list[int]:
    """Where in an answer values begin."""
    return [start for path, start, _ in question.spans if path != "items"] or [0]


def batch_at(seed: int, step: int, rank: int, lesson: Lesson, vocabulary: Vocabulary, tokens: int) -> Made:
    """The batch of a step in one of the processes."""
    rng = random.Random(json.dumps(["batch", seed, step, rank] if rank else ["batch", seed, step]))
    system, sheets = lesson_sheets(rng, lesson, tokens)
    return assembled(rng, vocabulary, system, sheets, lesson.columns)
