"""What docflow asks of SGLang and vLLM, and what it makes of their answers: against the real servers.

The model's weights are random: its answers mean nothing, but they obey grammars, repeat exactly, and are probable to a
degree that can be compared with what the server itself says.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from docflow.documents.model import Document, Page
from docflow.engines.base import Limits, Request, ServerOptions, Turn, WantChoice, WantJson, WantText
from docflow.engines.chat import body_of
from docflow.engines.images import page_image
from docflow.engines.server import ServerEngine
from docflow.engines.sglang import SglangEngine
from docflow.engines.transport import Transport
from docflow.engines.vllm import VllmEngine
from docflow.errors import EngineRefused, EngineTimeout
from tests.unit.pages import page_of

LIMITS = Limits(max_tokens=12, page_tokens=160, timeout_seconds=60)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["receipt", "invoice", None]},
        "paid": {"type": ["boolean", "null"]},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}}},
    },
}
SYSTEM = Turn("system", ("You read documents and give what is printed on them. " * 6,))
BLOCK = 32
"""vLLM's prefix cache goes by blocks of this many tokens; SGLang's by the token."""


@pytest.fixture(scope="module", params=["sglang", "vllm"])
def engine(request: pytest.FixtureRequest) -> Iterator[ServerEngine]:
    kinds: dict[str, type[ServerEngine]] = {"sglang": SglangEngine, "vllm": VllmEngine}
    made = kinds[request.param](request.getfixturevalue(f"{request.param}_url"))
    yield made
    made.close()


@pytest.fixture
def other_page(open_sample: Callable[[str], Document]) -> Page:
    return open_sample("form-007.png").pages[0]


def request_of(*parts: str | Page, want: Any = WantText(), begun: str = "", **limits: Any) -> Request:  # noqa: B008
    return Request((SYSTEM, Turn("user", parts)), want, begun, replace(LIMITS, **limits))


def test_a_server_that_is_well_says_its_model_and_context(engine: ServerEngine) -> None:
    health = engine.health()
    assert health.ok
    assert health.model == engine.model == "tiny"
    assert "4096" in health.detail


def test_the_same_request_gets_the_same_text_at_temperature_zero(engine: ServerEngine, page: Page) -> None:
    first, second = (engine.answer(request_of(page, "Read this.", max_tokens=40)) for _ in range(2))
    assert first.text == second.text
    assert first.text
    assert (first.engine, first.model) == (engine.name, "tiny")


def test_several_images_are_read_in_their_place(engine: ServerEngine, page: Page, other_page: Page) -> None:
    there = engine.answer(request_of("Front: ", page, " back: ", other_page, " Compare."))
    turned = engine.answer(request_of("Front: ", other_page, " back: ", page, " Compare."))
    first = engine.answer(request_of(page, other_page, "Front:  back:  Compare."))
    assert len({there.text, turned.text, first.text}) == 3  # the place of an image changes what is read
    images = sum(page_image(one, LIMITS.page_tokens).tokens for one in (page, other_page))
    for answer in (there, turned, first):
        assert images < answer.usage.prompt < images + 120


def test_a_second_question_about_a_page_computes_only_its_own_words(engine: ServerEngine, page: Page) -> None:
    engine.answer(request_of(page, "What is the total?"))
    answer = engine.answer(request_of(page, "And which day is it from, please?"))
    assert answer.usage.cached > page_image(page, LIMITS.page_tokens).tokens
    assert answer.usage.prompt - answer.usage.cached <= 16 + BLOCK


def test_another_page_shares_the_words_before_it(engine: ServerEngine, page: Page, other_page: Page) -> None:
    engine.answer(request_of(page, "What is the total?"))
    alone = engine.answer(Request((SYSTEM, Turn("user", ("x",))), WantText(), limits=LIMITS)).usage.prompt
    answer = engine.answer(request_of(other_page, "What is the total?"))
    assert answer.usage.cached >= alone - 16 - BLOCK


def test_a_further_turn_finds_all_that_was_said_before_in_the_cache(engine: ServerEngine, page: Page) -> None:
    asked = request_of(page, "Read this.", want=WantJson(SCHEMA), max_tokens=48)
    first = engine.answer(asked)
    turns = (*asked.turns, Turn("assistant", (first.text,)), Turn("user", ("The total is missing.",)))
    second = engine.answer(Request(turns, WantJson(SCHEMA), limits=asked.limits))
    assert second.usage.cached >= first.usage.prompt - BLOCK


def test_json_obeys_its_schema_and_its_leaves_have_probabilities(engine: ServerEngine, page: Page) -> None:
    want = WantJson(
        {"type": "object", "properties": {"kind": SCHEMA["properties"]["kind"], "paid": {"type": "boolean"}}}
    )
    answer = engine.answer(request_of(page, "Read this.", want=want, max_tokens=64))
    found = json.loads(answer.text)
    assert answer.stop == "stop"
    assert list(found) == ["kind", "paid"]
    assert found["kind"] in ("receipt", "invoice", None)
    assert isinstance(found["paid"], bool)
    assert set(answer.hints) == {"kind", "paid"}
    assert all(hint.confidence is not None and 0 < hint.confidence <= 1 for hint in answer.hints.values())
    assert "".join(token.text for token in answer.tokens) == answer.text


def test_an_answer_that_is_too_long_says_so_and_is_given_as_far_as_it_went(engine: ServerEngine, page: Page) -> None:
    want = WantJson({"type": "object", "properties": {"note": {"type": "string"}}})
    answer = engine.answer(request_of(page, "Read this.", want=want, max_tokens=8))
    assert answer.stop == "length"
    assert answer.text.startswith("{")
    assert answer.usage.output == 8
    assert "".join(token.text for token in answer.tokens) == answer.text


def test_text_obeys_its_expression(engine: ServerEngine, page: Page) -> None:
    answer = engine.answer(request_of(page, "The number?", want=WantText(r"[A-Z]{2}-[0-9]{4}")))
    assert re.fullmatch(r"[A-Z]{2}-[0-9]{4}", answer.text)
    assert answer.stop == "stop"


def test_characters_that_take_several_tokens_are_whole_pieces(engine: ServerEngine, page: Page) -> None:
    answer = engine.answer(request_of(page, "Draw.", want=WantText("(𠮷|🦩|龘){3}"), max_tokens=20))
    assert "".join(token.text for token in answer.tokens) == answer.text
    assert "\ufffd" not in answer.text
    assert all(0 < token.prob <= 1 for token in answer.tokens)


def test_a_stop_text_ends_the_answer_before_it(engine: ServerEngine, page: Page) -> None:
    whole = engine.answer(request_of(page, "Read this."))
    stop = whole.tokens[3].text
    answer = engine.answer(request_of(page, "Read this.", stop=(stop,)))
    assert answer.stop == "stop"
    assert answer.text == whole.text[: whole.text.index(stop)]


def test_a_turn_that_was_begun_goes_on(engine: ServerEngine, page: Page) -> None:
    whole = engine.answer(request_of(page, "Read this.", want=WantText("[a-c]{6}")))
    answer = engine.answer(request_of(page, "Read this.", want=WantText("[a-c]{3}"), begun=whole.text[:3]))
    assert re.fullmatch("[a-c]{3}", answer.text)
    plain = engine.answer(request_of(page, "Read this.", begun="The total is"))
    other = engine.answer(request_of(page, "Read this.", begun="The total is "))
    assert not plain.text.startswith("The total is")
    assert other.usage.prompt == plain.usage.prompt + 1  # a blank at its end is not lost


def test_a_begun_turn_is_no_new_turn(engine: ServerEngine, page: Page) -> None:
    without = engine.answer(request_of(page, "Read this."))
    begun = engine.answer(request_of(page, "Read this.", begun=without.tokens[0].text))
    assert begun.usage.prompt == without.usage.prompt + 1
    assert (without.tokens[0].text + begun.text).startswith(without.text)


def test_the_probabilities_of_choices_sum_to_one_and_the_text_is_the_most_probable(
    engine: ServerEngine, page: Page
) -> None:
    for choices in (("receipt", "invoice", "letter"), ("receipt", "recv", "recibo", "invoice"), ("no", "none", "not")):
        first, answer = (engine.answer(request_of(page, "Which?", want=WantChoice(choices))) for _ in range(2))
        assert first.choice_probs == pytest.approx(answer.choice_probs, abs=0.03)
        assert tuple(answer.choice_probs) == choices
        assert sum(answer.choice_probs.values()) == pytest.approx(1)
        assert answer.text == max(choices, key=lambda choice: answer.choice_probs[choice])
        assert answer.stop == "stop"
        assert answer.usage.output <= 4 * answer.usage.calls
        assert answer.usage.prompt - answer.usage.cached <= answer.usage.calls * BLOCK


def test_choices_of_one_token_each_take_one_call_and_the_engine_s_own_probabilities(
    engine: ServerEngine, page: Page
) -> None:
    choices = ("A", "B", "C")
    request = request_of(page, "Which?", want=WantChoice(choices))
    answer = engine.answer(request)
    assert answer.usage.calls == 1
    # The server's own, free of any grammar: what the model thinks of each of these tokens at this place.
    own = {choice: own_score(engine, request, choice) for choice in choices}
    total = sum(math.exp(score) for score in own.values())
    for choice in choices:
        assert answer.choice_probs[choice] == pytest.approx(math.exp(own[choice]) / total, abs=0.03)


def own_score(engine: ServerEngine, request: Request, choice: str) -> float:
    """The log probability that a server gives to one token after a prompt, by its own way of scoring a text."""
    transport = Transport(engine.url, ServerOptions())
    try:
        if isinstance(engine, VllmEngine):
            options = {"prompt_logprobs": 0, "continue_final_message": True, "add_generation_prompt": False}
            scored = Request(request.turns, WantText(), choice, replace(request.limits, max_tokens=1))
            data = transport.post("/v1/chat/completions", body_of(scored, "tiny", options), 60)
            return float(next(iter(data["prompt_logprobs"][-1].values()))["logprob"])
        image = page_image(request.pages[0], request.limits.page_tokens).data_uri
        prompt = (
            f"<|im_start|>system\n{request.turns[0].text}<|im_end|>\n<|im_start|>user\n"
            f"<|vision_start|><|image_pad|><|vision_end|>{request.turns[1].text}<|im_end|>\n<|im_start|>assistant\n"
        )
        body = {
            "text": prompt + choice,
            "image_data": [image],
            "sampling_params": {"temperature": 0, "max_new_tokens": 0},
            "return_logprob": True,
            "logprob_start_len": 0,
        }
        data = transport.post("/generate", json.dumps(body).encode(), 60)
        return float(data["meta_info"]["input_token_logprobs"][-1][0])
    finally:
        transport.close()


@pytest.mark.parametrize(
    "choices",
    [
        ("a.b(c)", "a|b", "x*y", "[k]", "{2}"),
        ('"q"', "back\\slash", "new\nline", "tab\t", "é€漢", "-dash", "^c$", "a/b"),
        ("no", "none", "n"),
        (" lead", "trail "),
        ("𠮷", "🦩", "龘"),
    ],
)
def test_choices_of_any_characters_are_understood(engine: ServerEngine, page: Page, choices: tuple[str, ...]) -> None:
    answer = engine.answer(request_of(page, "Which?", want=WantChoice(choices)))
    assert answer.text in choices
    assert sum(answer.choice_probs.values()) == pytest.approx(1)


def test_a_choice_after_a_turn_that_was_begun(engine: ServerEngine, page: Page) -> None:
    answer = engine.answer(request_of(page, "Which?", want=WantChoice(("receipt", "invoice")), begun="It is a(n) "))
    assert answer.text in ("receipt", "invoice")


def test_a_model_that_the_server_does_not_have_is_refused_with_those_it_has(engine: ServerEngine, page: Page) -> None:
    other = type(engine)(engine.url, ServerOptions(model="qwen2-vl-72b"))
    with pytest.raises(EngineRefused, match="no model 'qwen2-vl-72b'") as caught:
        other.answer(request_of(page, "Read this."))
    assert "tiny" in caught.value.message
    assert caught.value.elsewhere
    health = other.health()
    assert not health.ok
    assert "no model" in health.detail
    other.close()


def test_a_prompt_longer_than_the_context_is_refused(engine: ServerEngine) -> None:
    with pytest.raises(EngineRefused, match="4096") as caught:
        engine.answer(request_of("word " * 6000))
    assert caught.value.elsewhere
    assert "extraction.page_tokens" in caught.value.hint
    assert "word word" not in caught.value.message


def test_an_answer_may_be_asked_for_that_is_longer_than_the_context_has_room_for(
    engine: ServerEngine, page: Page
) -> None:
    answer = engine.answer(request_of(page, "Read.", want=WantText("[0-9]{3}"), max_tokens=100_000))
    assert re.fullmatch("[0-9]{3}", answer.text)


def test_more_images_than_the_server_takes_are_refused(engine: ServerEngine, page: Page) -> None:
    with pytest.raises(EngineRefused, match=r"(?i)image") as caught:
        engine.answer(request_of(page, page, page, "Compare."))
    assert caught.value.elsewhere
    assert "--limit-mm" in caught.value.hint


def test_a_grammar_that_the_server_does_not_understand_is_refused(engine: ServerEngine, page: Page) -> None:
    with pytest.raises(EngineRefused):
        engine.answer(request_of(page, "Read.", want=WantText("(a")))


def test_a_server_that_takes_longer_than_the_request_allows_is_left(engine: ServerEngine, page: Page) -> None:
    engine.health()
    with pytest.raises(EngineTimeout):
        engine.answer(request_of(page, "Read.", max_tokens=1500, timeout_seconds=0.3))


def test_blank_pages_are_read_too(engine: ServerEngine) -> None:
    answer = engine.answer(request_of(page_of([""]), "Read.", want=WantText("[0-9]{3}")))
    assert re.fullmatch("[0-9]{3}", answer.text)
