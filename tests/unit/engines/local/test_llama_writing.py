"""Which token comes next, and when an answer ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from docflow.engines.local.llama_writing import Next, Picker, Written, next_tokens, step_of
from docflow.engines.local.model import Sampling


class Only:
    """Bounds that let some tokens through, and count what they are asked."""

    def __init__(self, tokens: set[int]) -> None:
        self.tokens, self.asked = tokens, 0

    def allowed(self, tokens: NDArray[np.int32]) -> NDArray[np.bool_]:
        self.asked += len(tokens)
        return np.array([int(token) in self.tokens for token in tokens], dtype=bool)

    def accept(self, token: int) -> None:
        raise AssertionError(token)


def scores(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def test_the_likeliest_comes_first() -> None:
    found = next_tokens(scores(1.0, 3.0, 2.0), None, None)
    assert found.tokens.tolist() == [1, 2, 0]
    assert found.probs.sum() == pytest.approx(1)
    assert found.probs[0] / found.probs[1] == pytest.approx(np.e)


def test_what_is_ruled_out_counts_for_nothing() -> None:
    found = next_tokens(scores(1.0, 9.0, 2.0, 8.0), Only({0, 2, 3}), np.array([False, False, False, True]))
    assert found.tokens.tolist() == [2, 0]
    assert found.probs.sum() == pytest.approx(1)


def test_nothing_may_come_where_everything_is_ruled_out() -> None:
    assert not len(next_tokens(scores(1.0, 2.0), Only(set()), None).tokens)


@given(st.integers(0, 2**32 - 1), st.sets(st.integers(0, 4999), min_size=1, max_size=40), st.floats(0.1, 12))
def test_a_large_vocabulary_is_looked_through_only_where_it_must_be(seed: int, legal: set[int], spread: float) -> None:
    values = (np.random.default_rng(seed).standard_normal(5000) * spread).astype(np.float32)
    bounds = Only(legal)
    found = next_tokens(values, bounds, None)
    order = sorted(legal, key=lambda token: (-float(values[token]), token))
    assert found.tokens[0] == order[0], "the likeliest is always the right one"
    weights = np.exp(values[order].astype(np.float64) - float(values.max()))
    assert found.probs[0] == pytest.approx(weights[0] / weights.sum(), rel=0.011)


def test_sure_answers_ask_the_grammar_little() -> None:
    values = np.zeros(150_000, dtype=np.float32)
    values[77] = 40
    bounds = Only({77, 78})
    assert next_tokens(values, bounds, None).tokens[0] == 77
    assert bounds.asked == 64


def test_scores_that_are_no_numbers_are_never_taken() -> None:
    found = next_tokens(scores(float("nan"), 1.0, float("-inf")), None, None)
    assert found.tokens[0] == 1


def three() -> Next:
    return Next(np.array([5, 6, 7], dtype=np.int32), np.array([0.5, 0.3, 0.2]))


def test_without_temperature_the_first_is_taken() -> None:
    assert {Picker(Sampling(seed=seed)).pick(three()) for seed in range(20)} == {0}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, {0, 1, 2}),
        ({"top_k": 2}, {0, 1}),
        ({"top_p": 0.6}, {0, 1}),
        ({"top_p": 0.4}, {0}),
        ({"top_p": 0.0}, {0}),
        ({"top_k": 1}, {0}),
    ],
)
def test_chance_keeps_within_its_bounds(sampling: dict[str, float], expected: set[int]) -> None:
    found = {Picker(Sampling(temperature=2.0, seed=seed, **sampling)).pick(three()) for seed in range(60)}  # type: ignore[arg-type]
    assert found == expected


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 1.0, 1e6])
def test_any_temperature_gives_a_token(temperature: float) -> None:
    sure = Next(np.array([5, 6], dtype=np.int32), np.array([1.0, 0.0]))
    for following in (three(), sure):
        place = Picker(Sampling(temperature=temperature, seed=1)).pick(following)
        assert following.probs[place] > 0


def test_a_step_tells_of_what_was_taken_and_of_the_likeliest() -> None:
    step = step_of(three(), 2, 1, lambda token: b"%d" % token)
    assert step.token == b"7"
    assert step.top == {b"5": 0.5, b"7": 0.2}


def written(pieces: list[bytes], stops: tuple[str, ...] = ()) -> tuple[str, list[str], bool]:
    told: list[str] = []
    text = Written(stops, lambda piece: told.append(piece) is None)
    for piece in pieces:
        text.add(piece)
        if text.stopped:
            break
    return text.end("stop"), told, text.stopped


@given(st.text(), st.lists(st.text(min_size=1, max_size=3), max_size=3), st.integers(1, 4))
def test_a_text_ends_before_the_first_stop(text: str, stops: list[str], width: int) -> None:
    raw = text.encode("utf-8", "replace")
    text = raw.decode("utf-8")
    pieces = [raw[at : at + width] for at in range(0, len(raw), width)]
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    found, told, stopped = written(pieces, tuple(stops))
    assert "".join(told) == found, "what was told is what is answered"
    assert stopped == bool(ends)
    if not ends:
        assert found == text
    elif width == 1 and raw.isascii():
        # a stop that ends first is found first, wherever others begin
        first = min(text.find(stop) + len(stop) for stop in stops if stop in text)
        begun = min(text.find(stop) for stop in stops if stop in text[:first])
        assert found == text[:begun]
    else:
        assert text.startswith(found)


def test_half_a_character_waits_for_the_other_half() -> None:
    euro = "€".encode()
    assert written([euro[:1], euro[1:2], euro[2:], b"5"]) == ("€5", ["€", "5"], False)
    cut = Written((), None)
    cut.add(b"5" + euro[:2])
    assert cut.end("length") == "5"


def test_nobody_is_told_more_once_they_have_left() -> None:
    told: list[str] = []

    def leave(piece: str) -> bool:
        told.append(piece)
        return False

    text = Written((), leave)
    text.add(b"a")
    text.add(b"b")
    assert text.left
    assert told == ["a"]
