"""Answers that are cut off, blank or no JSON: asked for once more, and then said for what they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from docflow.engines.base import Answer, LeafHint, Usage
from docflow.engines.scripted import Reply, ScriptedEngine
from docflow.errors import EngineRefused
from docflow.extraction import extract_document
from docflow.extraction.result import Result
from docflow.settings import ExtractionSettings
from tests.unit.extraction.test_extract import BILL, LINES, answer, by_path
from tests.unit.pages import document_of, page_of

GOOD = answer(total="1,203.75")
CUT = Answer(json.dumps(GOOD)[:-9], stop="length", usage=Usage(100, 0, 4096, 1))
BLANK = Answer('{"seller":' + " \n" * 2048, stop="length", usage=Usage(100, 0, 4096, 1))


def extracted(*replies: Reply, **settings: Any) -> tuple[Result[Any], ScriptedEngine]:
    engine = ScriptedEngine(replies)
    return extract_document(document_of(page_of(LINES)), BILL, engine, ExtractionSettings(**settings)), engine


@pytest.mark.parametrize("first", [CUT, BLANK, Answer(""), Answer("   "), Answer("I am sorry"), Answer("[1]")])
def test_a_bad_answer_is_asked_for_once_more(first: Answer) -> None:
    result, engine = extracted(first, GOOD)
    assert result.status == "valid"
    assert result.data == answer(total=Decimal("1203.75"))
    assert len(engine.requests) == 2
    assert ("cut off" in engine.requests[1].turns[-1].text) == (first.stop == "length")


@pytest.mark.parametrize(
    ("replies", "message", "hint", "retryable"),
    [
        ((CUT, CUT), "cut off after 4,096 tokens", "extraction.max_tokens", False),
        ((Answer("I am sorry"), CUT), "cut off after 4,096 tokens", "extraction.max_tokens", False),
        ((CUT, EngineRefused("the context is full")), "cut off after 4,096 tokens", "extraction.max_tokens", False),
        ((BLANK, BLANK), "white space", "any-whitespace", True),
        ((Answer(" " * 40), Answer("\n" * 40)), "white space", "any-whitespace", True),
        ((Answer(""), Answer("")), "empty", "", True),
        ((Answer("I am sorry"), Answer("No")), "no JSON, and was none when asked again: 'No'", "", True),
    ],
)
def test_a_second_bad_answer_fails_the_document_and_says_why(
    replies: Sequence[Reply], message: str, hint: str, retryable: bool
) -> None:
    result, engine = extracted(*replies)
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.type == "BadAnswer"
    assert message in result.error.message
    assert hint in result.error.hint
    assert result.error.retryable is retryable
    assert len(engine.requests) == 2


def test_a_whole_answer_that_ends_at_the_limit_counts() -> None:
    result, engine = extracted(Answer(json.dumps(GOOD), stop="length"))
    assert result.status == "valid"
    assert len(engine.requests) == 1


def test_a_bare_control_character_in_a_text_is_no_bad_answer() -> None:
    result, engine = extracted(json.dumps(GOOD).replace("1,203.75", "\t1,203.75"))
    assert result.data == answer(total=Decimal("1203.75"))
    assert len(engine.requests) == 1


def test_a_repair_that_is_cut_off_leaves_the_record_as_it_was() -> None:
    result, _ = extracted(answer(total="1,203.75", day="sometime"), Answer('{"day": "25 D', stop="length"))
    assert result.status == "valid"
    assert result.data == answer(total=Decimal("1203.75"))
    entry = by_path(result.evidence)["day"]
    assert (entry.value, entry.raw, entry.reason) == (None, "sometime", "unreadable")


def test_the_engines_own_confidence_counts_for_values_and_for_nulls() -> None:
    hints = {"total": LeafHint(confidence=0.8), "day": LeafHint(confidence=0.9)}
    result, _ = extracted(Answer(json.dumps(GOOD), hints=hints), grounding="off")
    found = by_path(result.evidence)
    assert found["total"].confidence == pytest.approx(0.8 * 0.9)  # 0.9: nobody looked where it stands
    assert found["day"].value is None
    assert found["day"].confidence == pytest.approx(0.9)
