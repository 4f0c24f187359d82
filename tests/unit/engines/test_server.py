"""The engines for SGLang and vLLM against servers that answer as those do: recorded shapes, and spoiled ones."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from docflow.engines.base import Limits, Request, ServerOptions, Turn, Usage, WantChoice, WantJson, WantText
from docflow.engines.server import ServerEngine
from docflow.engines.sglang import SglangEngine
from docflow.engines.vllm import VllmEngine
from docflow.errors import BadAnswer, ConfigError, EngineRefused, EngineTimeout, EngineUnavailable
from tests.engines.loopback import LoopbackServer, Received, response
from tests.unit.pages import page_of

# As recorded from SGLang 0.5.23 and vLLM 0.32.0, for a prompt of 406 tokens and the choices receipt, recv, recibo and
# invoice, of which the model's favourites begin with rec.
SGLANG_MODELS = {
    "object": "list",
    "data": [{"id": "tiny", "object": "model", "owned_by": "sglang", "root": "tiny", "max_model_len": 4096}],
}
VLLM_MODELS = {
    "object": "list",
    "data": [{"id": "tiny", "object": "model", "owned_by": "vllm", "root": "/models/tiny", "max_model_len": 4096}],
}
SGLANG_NO = -3.4028234663852886e38
VLLM_NO = -9999.0


def token(text: str, logprob: float, top: Sequence[tuple[str, float]] = ()) -> dict[str, Any]:
    said = {"token": text, "bytes": list(text.encode()), "logprob": logprob}
    return {**said, "top_logprobs": [token(*one) for one in top]} if top else said


def sglang_chat(text: str, tokens: Sequence[dict[str, Any]] = (), finish: str = "stop") -> dict[str, Any]:
    return {
        "id": "0f",
        "object": "chat.completion",
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "reasoning_content": None, "tool_calls": None},
                "logprobs": {"content": list(tokens)},
                "finish_reason": finish,
                "matched_stop": 151645,
            }
        ],
        "usage": {
            "prompt_tokens": 406,
            "total_tokens": 408,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 405, "image_tokens": 384},
            "reasoning_tokens": 0,
        },
    }


def vllm_chat(text: str, tokens: Sequence[dict[str, Any]] = (), finish: str = "stop") -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, "tool_calls": []},
                "logprobs": {"content": list(tokens)},
                "finish_reason": finish,
                "stop_reason": None,
            }
        ],
        "usage": {
            "prompt_tokens": 406,
            "total_tokens": 408,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 384, "created_cache_tokens": 0},
        },
        "prompt_logprobs": None,
    }


class Recorded(LoopbackServer):
    """Gives its models, and its replies in order, the last one for ever."""

    def __init__(self, models: Any, replies: Sequence[bytes | dict[str, Any]]) -> None:
        super().__init__()
        self.models = models
        self.replies = list(replies)
        self.requests: list[Received] = []

    async def handle(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        if request.path == "/v1/models":
            writer.write(self.models if isinstance(self.models, bytes) else response(200, self.models))
            return
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        writer.write(reply if isinstance(reply, bytes) else response(200, reply))

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The bodies of the chat requests."""
        return [request.json() for request in self.requests if request.method == "POST"]


Opened = tuple[ServerEngine, Recorded]
Opener = Callable[..., Opened]


@pytest.fixture(params=["sglang", "vllm"])
def opened(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Makes an engine and the server behind it, of each kind."""
    made: list[Opened] = []
    sglang = request.param == "sglang"

    def opener(*replies: Any, models: Any = None, options: ServerOptions | None = None) -> Opened:
        kind = SglangEngine if sglang else VllmEngine
        chat = sglang_chat if sglang else vllm_chat
        said = [chat(reply) if isinstance(reply, str) else reply for reply in replies or ("hello",)]
        server = Recorded((SGLANG_MODELS if sglang else VLLM_MODELS) if models is None else models, said).start()
        made.append((kind(server.url, options or ServerOptions()), server))
        return made[-1]

    yield opener
    for engine, server in made:
        engine.close()
        server.close()


def request_of(want: Any = WantText(), **limits: Any) -> Request:  # noqa: B008 (it is frozen)
    turns = (Turn("system", ("Read.",)), Turn("user", (page_of(["Total 1.00"]), "What is it?")))
    return Request(turns, want, limits=Limits(**{"page_tokens": 64, "timeout_seconds": 5.0, **limits}))


def test_an_answer_says_who_gave_it_and_what_it_cost(opened: Opener) -> None:
    engine, server = opened("It is a receipt.")
    answer = engine.answer(request_of())
    cached = 405 if engine.name == "sglang" else 384
    assert (answer.text, answer.engine, answer.model, answer.stop) == ("It is a receipt.", engine.name, "tiny", "stop")
    assert answer.usage == Usage(prompt=406, cached=cached, output=2, calls=1)
    assert server.asked[0]["model"] == "tiny"


def test_the_model_is_asked_for_once_and_is_known_from_then_on(opened: Opener) -> None:
    engine, server = opened()
    assert engine.model == ""
    for _ in range(3):
        engine.answer(request_of())
    assert [request.path for request in server.requests].count("/v1/models") == 1
    assert engine.model == "tiny"


def test_a_model_that_is_not_there_is_refused_before_a_page_is_sent(opened: Opener) -> None:
    engine, server = opened(options=ServerOptions(model="other"))
    with pytest.raises(EngineRefused, match="has no model 'other', but tiny") as caught:
        engine.answer(request_of())
    assert caught.value.elsewhere
    assert server.asked == []
    assert engine.model == "other"


def test_a_server_of_the_other_kind_is_refused_and_one_that_says_no_kind_is_taken(opened: Opener) -> None:
    mistaken = [opened(models=models)[0] for models in (SGLANG_MODELS, VLLM_MODELS)]
    by_kind = dict(zip(("sglang", "vllm"), mistaken, strict=True))
    other = "vllm" if mistaken[0].name == "sglang" else "sglang"
    with pytest.raises(EngineRefused, match=f"says that it is {other}") as caught:
        by_kind[other].answer(request_of())
    assert caught.value.elsewhere
    assert by_kind[mistaken[0].name].answer(request_of()).text == "hello"
    unknown, _ = opened(models={"data": [{"id": "tiny", "owned_by": "me"}]})
    assert unknown.answer(request_of()).text == "hello"


def test_the_model_is_looked_up_again_after_a_failure_for_another_server_may_be_there_now(opened: Opener) -> None:
    engine, server = opened("hello", response(503, {"message": "loading"}), "hello")
    engine.answer(request_of())
    with pytest.raises(EngineUnavailable):
        engine.answer(request_of())
    assert engine.model == "tiny"  # what rows are recorded under does not vanish meanwhile
    server.models = {"data": [{"id": "larger"}]}
    assert engine.answer(request_of()).model == "larger"
    assert server.asked[-1]["model"] == "larger"


@pytest.mark.parametrize("models", [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", {"data": [{}]}, {"data": 7}, {}])
def test_a_list_of_models_that_is_none_is_a_bad_answer(opened: Opener, models: Any) -> None:
    engine, _ = opened(models=models)
    with pytest.raises(BadAnswer):
        engine.answer(request_of())
    assert not engine.health().ok


def test_a_server_without_a_model_is_refused(opened: Opener) -> None:
    engine, _ = opened(models={"data": []})
    with pytest.raises(EngineRefused, match="has no model"):
        engine.answer(request_of())


def test_health_says_what_is_wrong_and_raises_nothing(opened: Opener) -> None:
    well, _ = opened()
    assert well.health().ok
    assert well.health().model == "tiny"
    warming, _ = opened(models=response(503, b""))
    assert not warming.health().ok
    assert "503" in warming.health().detail
    gone, server = opened()
    server.refuse()
    begun = time.monotonic()
    assert not gone.health().ok
    assert "cannot be reached" in gone.health().detail
    assert time.monotonic() - begun < 2


def test_an_answer_is_no_longer_than_the_context_has_room_for(opened: Opener) -> None:
    engine, server = opened()
    engine.answer(request_of(max_tokens=100_000))
    engine.answer(request_of(max_tokens=50))
    assert 3500 < server.asked[0]["max_tokens"] < 4096 - 64
    assert server.asked[1]["max_tokens"] == 50


def test_a_server_that_does_not_say_its_context_is_asked_for_what_is_wanted(opened: Opener) -> None:
    engine, server = opened(models={"data": [{"id": "tiny", "max_model_len": None}]})
    engine.answer(request_of(max_tokens=100_000))
    assert server.asked[0]["max_tokens"] == 100_000


def test_a_choice_is_one_call_where_one_token_tells(opened: Opener) -> None:
    engine, server = opened({})
    no = SGLANG_NO if engine.name == "sglang" else VLLM_NO
    top = [("invoice", -0.7231), ("i", -0.9731), ("receipt", -2.1), ("%", no), ("3", no)]
    chat = sglang_chat if engine.name == "sglang" else vllm_chat
    server.replies = [chat("invoice", [token("invoice", -0.7231, top)], "length")]
    answer = engine.answer(request_of(WantChoice(("receipt", "invoice")), temperature=0.7, stop=("i",)))
    assert answer.text == "invoice"
    assert answer.choice_probs == pytest.approx({"receipt": 0.12424, "invoice": 0.87576}, abs=1e-4)
    assert answer.stop == "stop"
    (asked,) = server.asked
    assert (asked["max_tokens"], asked["temperature"], asked["top_logprobs"]) == (1, 0.0, 20)
    assert "stop" not in asked
    if engine.name == "sglang":
        assert asked["regex"] == "(receipt|invoice)"
    else:
        assert asked["structured_outputs"] == {"choice": ["receipt", "invoice"]}


def test_choices_that_begin_alike_take_a_second_call_that_goes_on_from_their_beginning(opened: Opener) -> None:
    engine, server = opened({})
    chat = sglang_chat if engine.name == "sglang" else vllm_chat
    server.replies = [
        chat("invoice", [token("invoice", -0.5108, [("invoice", -0.5108), ("rec", -0.9163)])]),
        chat("v", [token("v", -0.2877, [("v", -0.2877), ("eipt", -1.3863)])]),
    ]
    answer = engine.answer(request_of(WantChoice(("receipt", "recv", "invoice"))))
    assert answer.choice_probs == pytest.approx({"receipt": 0.1, "recv": 0.3, "invoice": 0.6}, abs=1e-3)
    assert answer.usage.calls == 2
    assert answer.usage.prompt == 812
    first, second = server.asked
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert second["messages"][-1] == {"role": "assistant", "content": "rec"}
    assert second["continue_final_message"] is True


def test_a_choice_without_probabilities_is_a_bad_answer(opened: Opener) -> None:
    engine, _ = opened("invoice")
    with pytest.raises(BadAnswer, match="no probabilities"):
        engine.answer(request_of(WantChoice(("receipt", "invoice"))))


def test_the_calls_of_one_choice_share_its_time(opened: Opener) -> None:
    engine, server = opened("hello")
    engine.answer(request_of())

    async def slow(request: Received, writer: asyncio.StreamWriter) -> None:
        server.requests.append(request)
        await asyncio.sleep(0.3)
        chat = sglang_chat if engine.name == "sglang" else vllm_chat
        said = chat("ba", [token("b", -0.6931, [("b", -0.6931), ("a", -0.6931)])])
        writer.write(response(200, said))

    server.handle = slow  # type: ignore[method-assign]
    begun = time.monotonic()
    with pytest.raises(EngineTimeout):
        engine.answer(request_of(WantChoice(("aa", "ab", "ba", "bb")), timeout_seconds=0.5))
    assert time.monotonic() - begun < 1.5


def test_a_hung_server_holds_neither_answers_nor_health(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, server = opened()

    async def hang(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    server.handle = hang  # type: ignore[method-assign, assignment]
    monkeypatch.setattr("docflow.engines.server._HEALTH_SECONDS", 0.3)
    begun = time.monotonic()
    assert "did not answer within 0.3 s" in engine.health().detail
    with pytest.raises(EngineTimeout):
        engine.answer(request_of(timeout_seconds=0.4))
    assert time.monotonic() - begun < 2


def test_many_threads_may_ask_at_once(opened: Opener) -> None:
    engine, server = opened("hello", options=ServerOptions(connections=4))
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: engine.answer(request_of()), range(48)))
    assert {answer.text for answer in answers} == {"hello"}
    assert len(server.asked) == 48
    assert len({json.dumps(asked) for asked in server.asked}) == 1


def test_an_empty_json_answer_is_a_bad_one(opened: Opener) -> None:
    engine, _ = opened("")
    with pytest.raises(BadAnswer, match="empty"):
        engine.answer(request_of(WantJson({"type": "object", "properties": {"a": {"type": "string"}}})))


def test_an_answer_of_blanks_without_end_is_asked_for_without_white_space_and_so_are_all_after_it(
    opened: Opener,
) -> None:
    engine, server = opened({})
    chat = sglang_chat if engine.name == "sglang" else vllm_chat
    server.replies = [chat('{"a":' + " " * 200, finish="length"), chat('{"a":"1"}')]
    want = WantJson({"type": "object", "properties": {"a": {"type": "string"}}})
    answer = engine.answer(request_of(want))
    assert (answer.text, answer.stop) == ('{"a":"1"}', "stop")
    assert (answer.usage.calls, answer.usage.prompt) == (2, 812)
    engine.answer(request_of(want))
    first, second, third = server.asked
    assert "response_format" in first
    for asked in (second, third):
        assert "response_format" not in asked
        expression = asked["regex"] if engine.name == "sglang" else asked["structured_outputs"]["regex"]
        assert re.fullmatch(expression, '{"a":"1"}')
        assert not re.fullmatch(expression, '{"a": "1"}')
        assert asked["messages"] == first["messages"]


def test_an_answer_that_is_cut_off_in_a_value_is_left_to_whoever_asked(opened: Opener) -> None:
    engine, server = opened({})
    chat = sglang_chat if engine.name == "sglang" else vllm_chat
    server.replies = [chat('{"a":"' + "long " * 100, finish="length")]
    answer = engine.answer(request_of(WantJson({"type": "object", "properties": {"a": {"type": "string"}}})))
    assert answer.stop == "length"
    assert len(server.asked) == 1


def test_a_url_that_is_none_is_a_setting_that_is_off() -> None:
    for kind in (SglangEngine, VllmEngine):
        with pytest.raises(ConfigError):
            kind("gpu1:30000")
