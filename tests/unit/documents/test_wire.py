from __future__ import annotations

import json
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from docflow.documents.wire import LENGTHS, head_of, pack_words, unpack_words

coordinate = st.integers(-(2**31), 2**31 - 1)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1)
word = st.tuples(text, st.tuples(coordinate, coordinate, coordinate, coordinate), coordinate)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(word))
def test_words_come_out_as_they_went_in(words: list[tuple[str, tuple[int, int, int, int], int]]) -> None:
    texts = [text for text, _, _ in words]
    boxes = array("i", [edge for _, box, _ in words for edge in box])
    segments = array("i", [segment for _, _, segment in words])
    assert unpack_words(pack_words(texts, boxes, segments), len(words)) == (texts, boxes, segments)


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=200), st.integers(0, 20))
def test_a_body_of_any_bytes_is_words_or_a_value_error(body: bytes, count: int) -> None:
    try:
        texts, boxes, segments = unpack_words(body, count)
    except ValueError:
        return
    assert (len(texts), len(boxes), len(segments)) == (count, 4 * count, count)


def test_the_head_of_a_message_tells_the_lengths_of_what_follows() -> None:
    head = head_of({"do": "open"}, 7)
    header_length, body_length = LENGTHS.unpack(head[: LENGTHS.size])
    assert json.loads(head[LENGTHS.size :]) == {"do": "open"}
    assert (header_length, body_length) == (len(head) - LENGTHS.size, 7)


def test_fewer_words_than_announced_are_refused() -> None:
    body = pack_words(["one"], array("i", [0, 0, 1, 1]), array("i", [0]))
    with pytest.raises(ValueError):
        unpack_words(body, 2)
