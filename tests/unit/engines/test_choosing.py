"""How probability is shared among choices, from what constrained answers show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.engines.chat import Step
from docflow.engines.choosing import MOST_QUESTIONS, Choosing, tokens_to_tell

END = "<|im_end|>"


def step(written: str, **others: float) -> Step:
    """A token and its alternatives, each with its probability; what is left is the token's own."""
    rest = 1 - sum(others.values())
    top = {token.encode(): prob for token, prob in others.items()}
    return Step(written.encode(), {**top, written.encode(): rest})


def test_tokens_with_which_one_choice_alone_begins_settle_it_in_one_question() -> None:
    choosing = Choosing(("receipt", "invoice", "letter"))
    assert choosing.question() == ("", ("receipt", "invoice", "letter"))
    choosing.learn("", [step("re", invoice=0.2, inv=0.1, let=0.05)])
    assert choosing.question() is None
    assert choosing.probs() == pytest.approx({"receipt": 0.65, "invoice": 0.3, "letter": 0.05})


def test_choices_that_begin_alike_are_told_apart_along_the_answer() -> None:
    choosing = Choosing(("receipt", "recibo", "invoice"))
    choosing.learn("", [step("rec", invoice=0.2), step("ibo", eipt=0.25)])
    assert choosing.question() is None
    assert choosing.probs() == pytest.approx({"receipt": 0.2, "recibo": 0.6, "invoice": 0.2})


def test_a_beginning_that_was_not_written_is_asked_about_with_its_own_choices_only() -> None:
    choosing = Choosing(("receipt", "recv", "recibo", "invoice"))
    choosing.learn("", [step("invoice", rec=0.4)])
    assert choosing.question() == ("rec", ("eipt", "v", "ibo"))
    choosing.learn("rec", [step("v", eipt=0.25, i=0.25)])
    assert choosing.question() is None
    assert choosing.probs() == pytest.approx({"receipt": 0.1, "recv": 0.2, "recibo": 0.1, "invoice": 0.6})


def test_a_choice_that_another_one_goes_on_from_may_end() -> None:
    choosing = Choosing(("no", "none"))
    choosing.learn("", [step("no"), step(END, ne=0.1, n=0.1)])
    assert choosing.probs() == pytest.approx({"no": 0.8, "none": 0.2})
    other = Choosing(("no", "none"))
    other.learn("", [step("none", no=0.5)])
    assert other.question() == ("no", ("", "ne"))
    other.learn("no", [step("ne", **{END: 0.25})])
    assert other.probs() == pytest.approx({"no": 0.125, "none": 0.875})


def test_what_a_server_shows_beside_the_choices_does_not_count() -> None:
    choosing = Choosing(("yes", "no"))
    choosing.learn("", [step("yes", no=0.1, Sure=0.4, The=0.2)])  # as of a server that reports them before its mask
    assert choosing.probs() == pytest.approx({"yes": 0.75, "no": 0.25})


def test_a_beginning_of_next_to_no_share_is_not_asked_about() -> None:
    choosing = Choosing(("recv", "recibo", "invoice"))
    choosing.learn("", [step("invoice", rec=0.005, recv=0.1)])
    assert choosing.question() is None
    assert choosing.probs() == pytest.approx({"recv": 0.105, "recibo": 0.0, "invoice": 0.895})


def test_questions_come_to_an_end() -> None:
    choosing = Choosing(tuple("abcdefghij"[i] + "xy"[j] for i in range(10) for j in range(2)))
    choosing.learn("", [step("a", **dict.fromkeys("bcdefghij", 0.1)), step("x", y=0.5)])
    asked = 1
    while (question := choosing.question()) is not None:
        choosing.learn(question[0], [step("x", y=0.5)])
        asked += 1
    assert asked == MOST_QUESTIONS
    assert choosing.probs() == pytest.approx(dict.fromkeys(choosing.choices, 0.05))


def test_characters_of_several_tokens_are_told_apart_by_their_bytes() -> None:
    choosing = Choosing(("𠮷", "🦩"))
    choosing.learn("", [Step(b"\xf0\xa0", {b"\xf0\xa0": 0.5, b"\xf0": 0.2, b"\xf0\x9f": 0.3})])
    assert choosing.question() is None  # half a character cannot be given to a model
    assert choosing.probs() == pytest.approx({"𠮷": 0.625, "🦩": 0.375})


def test_characters_of_several_tokens_whose_bytes_a_server_does_not_tell_leave_the_answer_most_probable() -> None:
    choosing = Choosing(("𠮷", "🦩"))
    whole = "🦩".encode()
    choosing.learn("", [Step(b"", {b"": 0.8}), Step(b"", {b"": 1.0}), Step(whole, {whole: 1.0})])
    assert choosing.probs() == pytest.approx({"𠮷": 0.1, "🦩": 0.9})


@pytest.mark.parametrize(
    ("choices", "tokens"),
    [
        (("yes", "no"), 1),
        (("receipt", "recv", "recibo", "invoice"), 4),
        (("no", "none"), 3),
        (("a",), 1),
        (("é", "è"), 2),
    ],
)
def test_no_more_tokens_are_asked_for_than_tell_the_choices_apart(choices: tuple[str, ...], tokens: int) -> None:
    assert tokens_to_tell(choices) == tokens


class Model:
    """A model that writes its choices in tokens of these many characters, masked as a grammar does."""

    def __init__(self, weights: Mapping[str, float], sizes: Sequence[int]) -> None:
        self.weights = weights
        self.cuts = {0, *accumulate(sizes)}

    def steps(self, beginning: str, most: int) -> list[Step]:
        steps: list[Step] = []
        at = beginning
        while len(steps) < most:
            going = {text: weight for text, weight in self.weights.items() if text == at or self._leads(at, text)}
            top: dict[bytes, float] = {}
            for text, weight in going.items():
                end = min((cut for cut in self.cuts if cut > len(at)), default=len(text))
                token = text[len(at) : end].encode() or END.encode()
                top[token] = top.get(token, 0.0) + weight / sum(going.values())
            written = max(top, key=lambda token: (top[token], token))
            steps.append(Step(written, top))
            if written == END.encode():
                break
            at += written.decode()
        return steps

    def _leads(self, at: str, text: str) -> bool:
        return text.startswith(at) and len(at) in self.cuts


@given(
    st.dictionaries(st.text(alphabet="abé", min_size=1, max_size=5), st.floats(0.05, 1.0), min_size=2, max_size=4),
    st.lists(st.integers(1, 3), max_size=4),
)
def test_the_shares_of_a_model_s_choices_are_found_again(weights: dict[str, float], sizes: list[int]) -> None:
    model, choosing = Model(weights, [*sizes, 1, 1, 1, 1, 1]), Choosing(tuple(weights))
    while (question := choosing.question()) is not None:
        beginning, endings = question
        assert {beginning + ending for ending in endings} == {text for text in weights if text.startswith(beginning)}
        choosing.learn(beginning, model.steps(beginning, tokens_to_tell(endings)))
    probs, total = choosing.probs(), sum(weights.values())
    assert sum(probs.values()) == pytest.approx(1)
    for choice, weight in weights.items():  # the rest was too little to ask about
        assert probs[choice] == pytest.approx(weight / total, abs=0.02)


steps_of_any_kind = st.lists(
    st.builds(
        lambda written, top: Step(written, {**top, written: top.get(written, 0.1)}),
        st.binary(max_size=3),
        st.dictionaries(st.binary(max_size=3), st.floats(0, 1), max_size=4),
    ),
    max_size=4,
)


@given(
    st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True),
    st.lists(steps_of_any_kind, min_size=6, max_size=6),
)
def test_whatever_a_server_says_the_shares_sum_to_one(choices: list[str], said: list[list[Step]]) -> None:
    choosing = Choosing(tuple(choices))
    for steps in said:
        question = choosing.question()
        if question is None:
            break
        choosing.learn(question[0], steps)
    assert sum(choosing.probs().values()) == pytest.approx(1)
    assert all(0 <= prob <= 1.000001 for prob in choosing.probs().values())
