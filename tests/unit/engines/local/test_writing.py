"""One answer as it is written: text from bytes, stops that are never shown, streams, alternatives, ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.engines.chat import token_probs
from docflow.engines.local.grammars import END, Grammars
from docflow.engines.local.model import Sampling
from docflow.engines.local.writing import Writing
from docflow.errors import BadAnswer

ENDS = (256, 257)


class Bytes:
    """A model whose tokens are single bytes, with two that end an answer."""

    ends = frozenset(ENDS)

    def token_bytes(self, token: int) -> bytes:
        return END if token in self.ends else bytes([token])


def writing(most: int = 1000, on_text: Any = None, **sampling: Any) -> Writing:
    return Writing(cast("Grammars", Bytes()), Sampling(**sampling), None, most, on_text)


def kept_in(pieces: list[str]) -> Callable[[str], bool]:
    def listen(piece: str) -> bool:
        pieces.append(piece)
        return True

    return listen


def write(made: Writing, text: str, *, end: bool = True) -> None:
    for token in [*text.encode(), *([ENDS[0]] if end else [])]:
        if not made.done:
            made.take(token, 0.5, ())


@given(st.text(alphabet="aé世🎉", max_size=12))
def test_characters_come_whole_and_in_order(text: str) -> None:
    pieces: list[str] = []
    made = writing(on_text=kept_in(pieces))
    write(made, text)
    reply = made.reply(7)
    assert reply.text == "".join(pieces) == text
    assert "\ufffd" not in reply.text
    assert reply.stop == "stop"
    assert (reply.usage.prompt, reply.usage.output) == (7, len(text.encode()) + 1)
    assert "".join(token.text for token in token_probs(reply.text, reply.steps)) == text


@given(
    st.text(alphabet="ab", max_size=24),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_a_stop_ends_the_text_before_it_and_is_never_shown(text: str, stops: list[str]) -> None:
    pieces: list[str] = []
    made = writing(on_text=kept_in(pieces), stop=tuple(stops))
    write(made, text)
    whole = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    expected = text
    if whole:  # the first that is complete counts
        expected = text[: min(text[: whole[0]].find(stop) for stop in stops if stop in text[: whole[0]])]
    assert made.reply(0).text == "".join(pieces) == expected


def test_no_more_is_written_than_there_is_room_for() -> None:
    made = writing(most=3)
    write(made, "abcdef", end=False)
    assert (made.reply(0).text, made.reply(0).stop) == ("abc", "length")
    made = writing(max_tokens=2)
    write(made, "世", end=False)
    assert made.reply(0).text == "\ufffd"


def test_nobody_waits_and_writing_ends() -> None:
    made = writing(on_text=lambda piece: piece == "")
    made.look()
    assert not made.done
    write(made, "abc")
    assert (made.reply(0).text, made.reply(0).stop) == ("a", "abort")
    nobody = writing(on_text=lambda _: False)
    nobody.look()
    assert nobody.done


def test_alternatives_that_write_the_same_are_one_and_ends_are_one_end() -> None:
    made = writing(top=4)
    made.take(ENDS[0], 0.5, [(97, 0.1), (ENDS[1], 0.2), (ENDS[0], 0.5)])
    [step] = made.reply(0).steps
    assert step.token == END
    assert step.top == {b"a": 0.1, END: pytest.approx(0.7)}


def test_numbers_that_are_none_are_a_bad_answer() -> None:
    with pytest.raises(BadAnswer):
        writing().take(97, float("nan"), ())
