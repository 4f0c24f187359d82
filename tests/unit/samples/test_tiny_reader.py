"""What docflow-tiny is trained on and when: all that needs no torch."""

from __future__ import annotations

import io
import json
import random
import re
from collections import Counter

import numpy as np
import pytest
import till
from docflow.programs.receipt import receipt as program
from PIL import Image
from tiny_reader import evaluation, glyphs, pages, questions
from tiny_reader.curriculum import FEWEST_STEPS, LEVELS, MOST_RECEIPTS_WITHOUT_A_FIELD, Progress
from tiny_reader.pages import FIELDS, ITEM_FIELDS, PARTS, Part

from docflow.engines.base import Answer, LeafHint, Limits, WantJson
from docflow.engines.bridge import run_program
from docflow.engines.scripted import ScriptedEngine
from docflow.program import instructions_text


def receipts(count: int, *, alike: bool = False) -> list[pages.Receipt]:
    rng = random.Random(11)
    return [pages.receipt(rng, 16, rng.randint(1, 4), alike=alike) for _ in range(count)]


@pytest.mark.parametrize("alike", [False, True])
def test_every_value_of_a_receipt_stands_on_its_page_as_it_is_asked_for(alike: bool) -> None:
    for receipt in receipts(60, alike=alike):
        text = "\n".join(receipt.rows)
        assert all(len(row) <= 32 and row.isascii() for row in receipt.rows)
        values = [receipt.record[name] for name in FIELDS if name not in ("items", "address")]
        values += receipt.record["address"].split(", ")
        values += [item[name] for item in receipt.record["items"] for name in ITEM_FIELDS]
        assert all(value is None or value in text for value in values)
        assert receipt.record["total"]
        assert receipt.record["company"]
        assert receipt.record["items"]


def test_a_page_is_whole_cells_with_two_letters_each() -> None:
    page = np.asarray(glyphs.composed(["Ab c", "   d"], 3))
    assert page.shape == (56, 84)
    inked = [[bool((page[y : y + 28, x : x + 14] < 128).any()) for x in range(0, 84, 14)] for y in (0, 28)]
    assert inked == [[True, True, False, True, False, False], [False, False, False, True, False, False]]


def test_the_letters_are_told_apart_in_jpegs_too() -> None:
    table = glyphs.ink_table().reshape(len(glyphs.CHARACTERS), glyphs.VARIANTS, -1)
    for variant in range(1, glyphs.VARIANTS):
        distances = np.linalg.norm(table[:, variant, None] - table[None, :, 0], axis=-1)
        assert (distances.argmin(1) == np.arange(len(table))).all()


@pytest.mark.parametrize("separators", questions.SEPARATORS)
def test_a_records_answer_is_its_json_and_the_spans_are_its_values(separators: tuple[str, str]) -> None:
    for receipt in receipts(20):
        question = questions.record_question(receipt.record, FIELDS, separators)
        assert json.loads(question.answer) == receipt.record
        assert question.answer == json.dumps(receipt.record, separators=separators)
        for path, start, end in question.spans:
            value = json.loads(question.answer[start:end])
            if not path.startswith("items"):
                assert value == receipt.record[path]


def test_words_of_a_confusing_receipt_begin_and_end_as_others_on_it_do() -> None:
    def twice(receipt: pages.Receipt) -> int:
        """How many beginnings of words stand on the page more than once."""
        words = re.findall(r"[A-Za-z]{4,}", "\n".join(receipt.rows))
        return sum(count > 1 for count in Counter(word[:3] for word in words).values())

    plain, confusing = (sum(map(twice, receipts(100, alike=alike))) for alike in (False, True))
    assert confusing > 2 * plain


@pytest.mark.parametrize("alike", [False, True])
def test_questions_about_random_letters_have_one_answer(alike: bool) -> None:
    rng = random.Random(5)
    for _ in range(50):
        page = pages.strings(rng, 8, 12, alike=alike)
        text = "\n".join(page.rows)
        for question in questions.reading_questions(rng, page, 99):
            assert question.answer in text
            if question.text.startswith(questions.GO_ON):
                known = question.text.removeprefix(questions.GO_ON)
                assert question.answer.startswith(known)
                assert text.count(known) == 1
            else:
                assert text.count(question.text.removeprefix(questions.BESIDE)) == 1


def test_the_prompt_is_what_the_receipt_program_sends_and_is_mostly_whole_tokens() -> None:
    from docflow.documents import Decoder, from_bytes

    engine = ScriptedEngine([Answer("{}")])
    receipt = receipts(1)[0]
    with Decoder() as decoder:
        document = decoder.open(from_bytes(evaluation.png(receipt), name="receipt.png"))
        run_program(program, document.pages, engine, Limits())
    [request] = engine.requests
    system, user = request.turns
    assert isinstance(request.want, WantJson)
    assert system.text == questions.system_text(FIELDS)
    assert user.parts[1:] == (questions.ASK,)
    assert user.parts[0] is document.pages[0]
    prompt = questions.before_page(system.text) + questions.after_page(user.text)
    tokens = questions.vocabulary().ids(prompt)
    assert len(tokens) < 40
    assert sum(token < 256 for token in tokens) <= 6


def test_tokens_are_text_again() -> None:
    vocabulary = questions.vocabulary()
    for text in ('{"company": "Bread & Co"}', 'caffè "x"', questions.system_text(FIELDS)):
        assert vocabulary.text(vocabulary.ids(text)) == text
    assert vocabulary.size % 64 == 0
    assert max(vocabulary.whole.values()) < vocabulary.size


def test_a_level_is_left_when_its_loss_is_low_and_not_before() -> None:
    progress = Progress()
    for _ in range(5 * FEWEST_STEPS):
        assert not progress.saw("reading", LEVELS[0].enough + 0.01, 10, 5)
    assert progress.level == 0
    steps = 0
    while not progress.saw("reading", 0.01, 10, 5):
        steps += 1
        assert steps < 100
    assert (progress.level, progress.steps_here) == (1, 0)
    for _ in range(FEWEST_STEPS - 1):
        assert not progress.saw("reading", 0.0, 10, 5)


def test_receipts_come_after_reading_and_reading_never_ends() -> None:
    tasks = []
    for level in range(len(LEVELS)):
        progress = Progress(level=level)
        lessons = [progress.lesson(random.Random(f"{level}/{step}")) for step in range(400)]
        tasks.append(sum(lesson.task == "reading" for lesson in lessons) / len(lessons))
        assert all(lesson.fields <= len(FIELDS) for lesson in lessons)
    first = next(level for level, share in enumerate(tasks) if share < 1)
    assert first >= 3
    assert LEVELS[first].fields == (1, 2)
    assert all(0.05 <= share <= 0.5 for share in tasks[first:])


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_receipt_holds_what_is_asked_of_it(part: Part) -> None:
    rng = random.Random(3)
    for receipt in receipts(40):
        rows = receipt.part(part, rng)
        text = "\n".join(rows)
        assert text in "\n".join(receipt.rows)
        for name in PARTS[part]:
            said = receipt.record[name]
            values = said.split(", ") if name == "address" else [said]
            if name == "items":
                values = [item["description"] for item in said]
            assert all(value is None or value in text for value in values)


@pytest.mark.parametrize("look", evaluation.LOOKS)
def test_every_look_of_a_receipt_is_a_picture_of_whole_cells(look: evaluation.Look) -> None:
    for receipt in receipts(5):
        picture = Image.open(io.BytesIO(evaluation.png(receipt, look)))
        assert picture.width % 28 == picture.height % 28 == 0
        assert (np.asarray(picture.convert("L")) < 128).mean() > 0.01
    assert evaluation.png(receipt, look) == evaluation.png(receipt, look), "the same receipt is the same file"


def test_the_smaller_program_asks_in_the_words_that_were_learned() -> None:
    fields = evaluation.PROGRAMS["till"][1]
    assert fields == PARTS["till"]
    assert instructions_text(till.Till) == questions.system_text(fields)


def test_the_stop_rule_counts_receipts_without_a_right_field() -> None:
    progress = Progress(level=len(LEVELS) - 1)
    progress.saw("receipt", 1.0, 8, MOST_RECEIPTS_WITHOUT_A_FIELD)
    assert progress.hopeless
    progress.best_field = 0.1
    assert not progress.hopeless


def test_the_score_counts_fields_items_and_whole_records() -> None:
    truth = receipts(1)[0].record
    score = evaluation.Score()
    score.add(truth, truth)
    score.add(truth, truth | {"total": "0.00", "items": []})
    score.add(truth, {})
    found = score.as_dict()
    assert found["records"] == 3
    assert found["all fields right"] == pytest.approx(0.333)
    assert found["fields"]["total"] == pytest.approx(0.333)
    assert found["fields"]["company"] == pytest.approx(0.667)
    assert found["fields"]["items.amount"] == pytest.approx(0.333)


def test_a_reading_tells_of_every_value_whether_it_is_right_and_how_sure_the_model_was() -> None:
    (receipt,) = receipts(1)
    said = receipt.record | {"total": "0.00", "items": [receipt.record["items"][0] | {"amount": "0.00"}]}
    paths = ("company", "total", "items[0].description", "items[0].amount")
    answer = Answer(json.dumps(said), hints={path: LeafHint(confidence=0.5) for path in paths})
    leaves = list(evaluation.Reading(receipt, answer, 1.0).leaves())
    assert sorted(leaves) == [(False, 0.5)] * 2 + [(True, 0.5)] * 2
    assert list(evaluation.Reading(receipt, None, 1.0).leaves()) == []


def test_held_out_receipts_are_always_the_same_documents() -> None:
    first, second = ([evaluation.png(receipt) for receipt in evaluation.held_out(3)] for _ in range(2))
    assert first == second
    assert Image.open(io.BytesIO(first[0])).size[0] == 16 * 28
