"""Requests as chat requests, and what comes back as answers: without a server."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.documents.model import Page
from docflow.engines.base import Limits, Request, TokenProb, Turn, Usage, WantChoice, WantJson, WantText
from docflow.engines.chat import (
    Step,
    answer_of,
    body_of,
    choice_regex,
    json_constraint,
    reply_of,
    room_for,
    token_probs,
)
from docflow.engines.images import page_image
from docflow.errors import BadAnswer
from tests.unit.pages import page_of

SCHEMA = {
    "type": "object",
    "properties": {"total": {"type": ["string", "null"], "x-kind": "money"}, "date": {"type": ["string", "null"]}},
    "required": ["total", "date"],
}


@pytest.fixture
def page() -> Page:
    return page_of(["Total 1.00"])


def parsed(request: Request, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body_of(request, "qwen", options))
    return found


def test_pages_stand_in_their_place_among_the_text_as_bytes_that_docflow_made(page: Page) -> None:
    other = page_of(["Page two"])
    request = Request((Turn("system", ("Read.",)), Turn("user", ("front ", page, " back ", other, " end"))), WantText())
    system, user = parsed(request)["messages"]
    assert system == {"role": "system", "content": "Read."}
    assert [part["type"] for part in user["content"]] == ["text", "image_url", "text", "image_url", "text"]
    assert [part["text"] for part in user["content"][::2]] == ["front ", " back ", " end"]
    for part, shown in zip(user["content"][1::2], (page, other), strict=True):
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert base64.b64decode(data, validate=True) == page_image(shown, 1280).data


def test_a_page_is_fitted_to_the_tokens_that_the_request_allows(page: Page) -> None:
    small = Request((Turn("user", (page,)),), WantText(), limits=Limits(page_tokens=64))
    part = parsed(small)["messages"][0]["content"][0]
    assert part["image_url"]["url"] == page_image(page, 64).data_uri


def test_limits_go_along() -> None:
    limits = Limits(max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop=("\n\n", "END"))
    body = parsed(Request((Turn("user", ("x",)),), WantText(), limits=limits))
    assert body["model"] == "qwen"
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["seed"]) == (7, 0.5, 0.9, 3)
    assert body["stop"] == ["\n\n", "END"]
    assert body["logprobs"] is True
    assert "top_logprobs" not in body
    assert "continue_final_message" not in body


def test_a_turn_that_was_begun_is_the_last_message_and_goes_on() -> None:
    body = parsed(Request((Turn("user", ("x",)),), WantText(), begun='{"a": '))
    assert body["messages"][-1] == {"role": "assistant", "content": '{"a": '}
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False


def test_the_same_request_gives_the_same_bytes_and_a_longer_one_begins_with_them(page: Page) -> None:
    turns = (Turn("system", ("Read.",)), Turn("user", (page, "What?")))
    first = body_of(Request(turns, WantJson(SCHEMA)), "qwen", {})
    assert first == body_of(Request(turns, WantJson(SCHEMA)), "qwen", {})
    more = (*turns, Turn("assistant", ('{"total": "1"}',)), Turn("user", ("Again.",)))
    second = body_of(Request(more, WantJson(SCHEMA)), "qwen", {})
    shared = first.index(b'],"temperature"')
    assert second[:shared] == first[:shared]
    assert second[shared : shared + 1] == b","


texts = st.text(max_size=30)


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), texts), min_size=1, max_size=4), texts)
def test_text_of_any_kind_arrives_as_it_was(said: list[tuple[Any, str]], begun: str) -> None:
    request = Request(tuple(Turn(role, (text,)) for role, text in said), WantText(), begun=begun)
    messages = parsed(request)["messages"]
    assert [(one["role"], one["content"]) for one in messages[: len(said)]] == said
    assert [one["content"] for one in messages[len(said) :]] == ([begun] if begun else [])


def test_half_of_a_surrogate_pair_does_not_break_the_request() -> None:
    assert parsed(Request((Turn("user", ("a\ud800b",)),), WantText()))["messages"][0]["content"] == "a?b"


def test_json_is_asked_for_by_its_wire_schema_in_the_order_of_its_keys() -> None:
    said = json_constraint(WantJson(SCHEMA))["response_format"]
    assert said["type"] == "json_schema"
    assert said["json_schema"]["strict"] is True
    assert list(said["json_schema"]["schema"]["properties"]) == ["total", "date"]
    assert "x-kind" not in json.dumps(said)


@given(st.lists(st.text(min_size=0, max_size=12), min_size=1, max_size=5), st.text(max_size=12))
def test_the_expression_of_choices_matches_them_and_nothing_else(choices: list[str], other: str) -> None:
    expression = re.compile(choice_regex(choices))
    assert all(expression.fullmatch(choice) for choice in choices)
    assert bool(expression.fullmatch(other)) == (other in choices)


def test_the_room_for_an_answer_is_what_pages_and_text_leave_at_least(page: Page) -> None:
    request = Request((Turn("user", (page, "x" * 400)),), WantText(), limits=Limits(page_tokens=100))
    room = room_for(request, 4096)
    assert 4096 - 100 - 400 < room < 4096 - page_image(page, 100).tokens - 100
    assert room_for(Request(request.turns, WantText(), begun="y" * 200, limits=request.limits), 4096) == room - 100


# --- answers ----------------------------------------------------------------------------------------------------------


def said(text: str, *, finish: str | None = "stop", logprobs: Any = None, usage: Any = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": logprobs}],
        "usage": usage or {"prompt_tokens": 10, "completion_tokens": 2},
    }


def token(text: str, logprob: float, *, raw: list[int] | None = None, top: Any = ()) -> dict[str, Any]:
    return {
        "token": text,
        "bytes": list(text.encode()) if raw is None else raw,
        "logprob": logprob,
        "top_logprobs": list(top),
    }


def answered(data: Any, want: Any = WantText()) -> Any:  # noqa: B008 (it is frozen)
    request = Request((Turn("user", ("x",)),), want)
    return answer_of(reply_of(data, "http://gpu1"), request, engine="vllm", model="qwen", shown="http://gpu1")


def test_text_usage_and_the_reason_to_stop_are_read() -> None:
    usage = {"prompt_tokens": 406, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 384}}
    answer = answered(said("Hello", finish="length", usage=usage))
    assert (answer.text, answer.stop, answer.engine, answer.model) == ("Hello", "length", "vllm", "qwen")
    assert answer.usage == Usage(prompt=406, cached=384, output=8, calls=1)
    assert answered(said("Hello", finish="abort")).stop == "abort"
    assert answered(said("Hello", finish=None)).stop == "abort"


def test_a_server_that_tells_no_cached_tokens_counts_as_none() -> None:
    usage = {"prompt_tokens": 406, "completion_tokens": 8, "prompt_tokens_details": None}
    assert answered(said("Hello", usage=usage)).usage == Usage(prompt=406, cached=0, output=8, calls=1)


def test_the_leaves_of_json_get_the_probabilities_of_their_tokens() -> None:
    pieces = [("{", 0.0), ('"total"', 0.0), (":", 0.0), ('"', 0.0), ("1", -0.5), (".5", -0.25), ('"', 0.0), ("}", 0.0)]
    content = [token(text, logprob) for text, logprob in pieces] + [token("<|im_end|>", 0.0)]
    answer = answered(said('{"total":"1.5"}', logprobs={"content": content}), WantJson(SCHEMA))
    assert answer.hints["total"].confidence == pytest.approx(2.718281828**-0.75)
    assert "".join(one.text for one in answer.tokens) == '{"total":"1.5"}'


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        "text",
        {"choices": []},
        {"choices": None},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]},
        {"object": "error", "message": "no"},
        said("x", logprobs={"content": [{"token": "x"}]}),
        said("x", logprobs={"content": [{"token": "x", "bytes": [999], "logprob": 0}]}),
        said("x", usage={"prompt_tokens": "many"}),
    ],
)
def test_json_that_is_no_chat_completion_is_a_bad_answer(data: Any) -> None:
    with pytest.raises(BadAnswer):
        answered(data)


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_an_empty_answer_where_json_was_wanted_is_a_bad_one(text: str) -> None:
    with pytest.raises(BadAnswer, match="empty"):
        answered(said(text), WantJson(SCHEMA))
    assert answered(said(text)).text == text


def test_blanks_without_end_come_back_as_an_answer_that_was_cut_off() -> None:
    answer = answered(said("{" + " " * 400, finish="length"), WantJson(SCHEMA))
    assert answer.stop == "length"
    assert answer.text == "{" + " " * 400


def test_a_character_in_several_tokens_is_one_piece_whichever_way_a_server_tells_its_bytes() -> None:
    sglang = [(b"\xf0\xa0", 0.5), (b"\xae", 0.5), (b"\xb7", 1.0), (b"!", 0.25), (b"<|im_end|>", 1.0)]
    vllm = [(b"", 0.5), (b"", 0.5), ("𠮷".encode(), 1.0), (b"!", 0.25), (b"<|im_end|>", 1.0)]
    for steps in (sglang, vllm):
        pieces = token_probs("𠮷!", [Step(raw, {raw: prob}) for raw, prob in steps])
        assert pieces == (TokenProb("𠮷", 0.25), TokenProb("!", 0.25))


@given(st.text(max_size=20), st.lists(st.integers(1, 5), max_size=60))
def test_the_pieces_of_a_text_are_the_text_however_it_was_cut(text: str, sizes: list[int]) -> None:
    raw, steps = text.encode(), []
    for size in [*sizes, *[1] * len(raw)]:
        if raw:
            steps.append(Step(raw[:size], {raw[:size]: 0.9}))
            raw = raw[size:]
    pieces = token_probs(text, [*steps, Step(b"<|im_end|>", {b"<|im_end|>": 1.0})])
    assert "".join(piece.text for piece in pieces) == text
    total = 1.0
    for piece in pieces:
        total *= piece.prob
    assert total == pytest.approx(0.9 ** len(steps))


def test_what_stands_after_a_stop_text_is_no_piece_of_the_answer() -> None:
    steps = [Step(raw, {raw: 1.0}) for raw in (b"yes", b"\n", b"\n")]
    assert token_probs("yes", steps) == (TokenProb("yes", 1.0),)


def test_a_choice_is_wanted_in_each_server_s_own_words() -> None:
    from docflow.engines.sglang import constraint as sglang
    from docflow.engines.vllm import constraint as vllm

    choice = WantChoice(("receipt", "a.b"))
    assert sglang(choice) == {"regex": "(receipt|a\\.b)"}
    assert vllm(choice) == {"structured_outputs": {"choice": ["receipt", "a.b"]}}
    assert vllm(WantChoice(("", "s"))) == {"structured_outputs": {"regex": "(|s)"}}
    assert sglang(WantText("[0-9]+")) == {"regex": "[0-9]+"}
    assert vllm(WantText("[0-9]+")) == {"structured_outputs": {"regex": "[0-9]+"}}
    assert sglang(WantText()) == vllm(WantText()) == {}
    assert sglang(WantJson(SCHEMA)) == vllm(WantJson(SCHEMA)) == json_constraint(WantJson(SCHEMA))
