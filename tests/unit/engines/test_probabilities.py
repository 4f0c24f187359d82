"""Token probabilities mapped to the leaves of a JSON answer."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.engines.base import TokenProb
from docflow.engines.probabilities import hints_of, leaf_spans
from docflow.extraction.leaves import path_of

SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
) | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
RECORDS = st.dictionaries(st.text(max_size=8), VALUES, max_size=5)


def leaves(value: Any, keys: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    if isinstance(value, dict):
        return {k: v for key, child in value.items() for k, v in leaves(child, (*keys, key)).items()}
    if isinstance(value, list):
        return {k: v for index, child in enumerate(value) for k, v in leaves(child, (*keys, index)).items()}
    return {keys: value}


@st.composite
def written(draw: st.DrawFn) -> tuple[Any, str, list[TokenProb]]:
    """A record, its JSON in some spelling, and that text cut into tokens at random places."""
    record = draw(RECORDS)
    text = json.dumps(
        record,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 1])),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")])),
    )
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=40)))
    bounds = [0, *(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[a:b] for a, b in pairwise(bounds)]
    probs = draw(st.lists(st.floats(0, 1), min_size=len(pieces), max_size=len(pieces)))
    return record, text, [TokenProb(piece, prob) for piece, prob in zip(pieces, probs, strict=True)]


@given(written())
def test_every_leaf_has_the_product_over_the_tokens_that_overlap_its_value(
    made: tuple[Any, str, list[TokenProb]],
) -> None:
    record, text, tokens = made
    expected = leaves(record)
    spans = leaf_spans(text)
    assert list(spans) == list(expected)
    hints = hints_of(text, tokens)
    paths = [path_of(keys) for keys in expected]
    assert set(hints) == {path for path in paths if paths.count(path) == 1}
    for keys, value in expected.items():
        start, end = spans[keys]
        inner = text[start:end]
        assert json.loads(f'"{inner}"' if isinstance(value, str) and value else inner) == value
        if path_of(keys) not in hints:
            continue
        at, joint = 0, 1.0
        for token in tokens:
            if at < end and at + len(token.text) > start:
                joint *= token.prob
            at += len(token.text)
        confidence = hints[path_of(keys)].confidence
        assert confidence is not None
        assert math.isclose(confidence, joint, rel_tol=1e-9, abs_tol=1e-300)


@given(written(), st.integers(0, 400))
def test_of_json_that_is_cut_off_the_leaves_before_the_cut_are_found(
    made: tuple[Any, str, list[TokenProb]], length: int
) -> None:
    _, text, _ = made
    # A text is whole once its closing quote is there; where a number ends, only the next character tells.
    whole = {
        keys: (start, end)
        for keys, (start, end) in leaf_spans(text).items()
        if end < length or (end == length and text[start:end] == '""')
    }
    assert leaf_spans(text[:length]) == whole


def tokens(*pieces: tuple[str, float]) -> list[TokenProb]:
    return [TokenProb(*piece) for piece in pieces]


def confidences(text: str, *pieces: tuple[str, float]) -> dict[str, float | None]:
    return {path: hint.confidence for path, hint in hints_of(text, tokens(*pieces)).items()}


def test_keys_quotes_and_punctuation_do_not_count_and_a_straddling_token_does() -> None:
    got = confidences(
        '{"total": "12.50"}',
        ('{"', 0.1),
        ("total", 0.1),
        ('": "', 0.1),
        ("12", 0.9),
        (".", 0.5),
        ('50"', 0.8),
        ("}", 0.1),
    )
    assert got == {"total": pytest.approx(0.9 * 0.5 * 0.8)}


def test_a_null_has_the_probability_of_null() -> None:
    assert confidences('{"a":null}', ('{"a":', 0.2), ("null", 0.75), ("}", 0.3)) == {"a": pytest.approx(0.75)}


def test_an_empty_text_has_the_probability_of_its_quotes() -> None:
    assert confidences('{"a":""}', ('{"a":', 0.2), ('""', 0.75), ("}", 0.3)) == {"a": pytest.approx(0.75)}


def test_escapes_and_quotes_within_a_value_are_part_of_it() -> None:
    got = confidences('{"a":"x\\"\\u00e9"}', ('{"a":"', 0.1), ("x", 0.9), ('\\"', 0.5), ("\\u00", 0.5), ('e9"}', 0.5))
    assert got == {"a": pytest.approx(0.9 * 0.5**3)}


@pytest.mark.parametrize(
    "shown", [("\ufffd", "\ufffd", "\ufffd"), ("", "", "世"), ("\ufffd\ufffd", "\ufffd", "\ufffd")]
)
def test_a_character_split_among_tokens_counts_them_all(shown: tuple[str, ...]) -> None:
    pieces = [('{"a":"', 0.1), *((piece, 0.5) for piece in shown), ('","b":"', 0.1), ("x", 0.9), ('"}', 0.1)]
    got = confidences('{"a":"世","b":"x"}', *pieces)
    assert got == {"a": pytest.approx(0.5 ** len(shown)), "b": pytest.approx(0.9)}


def test_special_tokens_and_white_space_around_the_text_are_allowed_for() -> None:
    got = confidences('{"a":"x"}', (" ", 0.1), ('{"a":"', 0.1), ("x", 0.9), ('"}', 0.1), ("<|im_end|>", 0.1))
    assert got == {"a": pytest.approx(0.9)}


def test_what_was_given_to_the_model_has_no_confidence_of_its_own() -> None:
    got = confidences('{"kind":"receipt","total":"12"}', ('"total', 0.1), ('":"', 0.1), ("12", 0.9), ('"}', 0.1))
    assert got == {"total": pytest.approx(0.9)}
    # A value of which only the end was written says nothing of the whole.
    assert confidences('{"total":"12"}', ("2", 0.9), ('"}', 0.1)) == {}


def test_a_code_fence_around_the_json_is_allowed_for() -> None:
    assert confidences('```json\n{"a":"x"}\n```', ("```json\n", 1), ('{"a":"', 1), ("x", 0.9), ('"}\n```', 1)) == {
        "a": pytest.approx(0.9)
    }


def test_the_last_of_two_equal_keys_counts() -> None:
    text = '{"a":{"b":"x"},"a":"y"}'
    assert confidences(text, *((piece, 0.5) for piece in text)) == {"a": pytest.approx(0.5)}


def test_two_leaves_of_one_path_get_no_hint() -> None:
    text = '{"a.b":"x","a":{"b":"y"},"c":"z"}'
    assert set(confidences(text, *((piece, 0.5) for piece in text))) == {"c"}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ('{"a":"x"}', ['{"a":"', "y", '"}']),
        ('{"a":"x"}', []),
        ('{"a":"ab"}', ['{"a":"', "\ufffd", '"}']),
        ('{"a":"é"}', ['{"a":"', "\ufffd"]),
        ("no json", ["no json"]),
        ("", []),
    ],
)
def test_tokens_that_are_not_those_of_the_text_give_no_hints(text: str, pieces: list[str]) -> None:
    assert hints_of(text, [TokenProb(piece, 0.9) for piece in pieces]) == {}


def test_a_probability_that_is_no_number_gives_no_hint() -> None:
    assert confidences('{"a":"x","b":"y"}', ('{"a":"', 1), ("x", math.nan), ('","b":"', 1), ("y", 0.5), ('"}', 1)) == {
        "b": pytest.approx(0.5)
    }


def test_nesting_without_end_is_no_trouble() -> None:
    text = '{"a":' * 100_000
    assert hints_of(text, [TokenProb(text, 0.5)]) == {}
    text = "[" * 100_000
    assert leaf_spans(text) == {}
