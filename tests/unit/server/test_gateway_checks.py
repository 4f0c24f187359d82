"""What the gateway makes of bodies: a call or a refusal, whatever they hold."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from docflow.server.service.allowance import Allowances
from docflow.server.service.bounds import MOST_DEPTH, check_schema, object_of
from docflow.server.service.gateway.bodies import body_for
from docflow.server.service.gateway.call import Kind
from docflow.server.service.gateway.checks import call_of, mark_beginnings, prompt_length
from docflow.server.service.keys import Caller
from docflow.server.service.refusals import Refusal
from docflow.settings import GatewaySettings
from tests.integration.service.gateways import PIXEL

SETTINGS = GatewaySettings()
NAMES = (
    *("model", "messages", "prompt", "input", "stream", "stream_options", "n", "max_tokens", "stop", "tools"),
    *("response_format", "structured_outputs", "guided_json", "regex", "role", "content", "type", "text", "image_url"),
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20)
LEAVES |= st.sampled_from(["user", "system", "text", "image_url", PIXEL])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner),
    max_leaves=20,
)
KINDS = st.sampled_from(["chat", "completion", "embeddings"])


@given(KINDS, st.dictionaries(st.sampled_from(NAMES), VALUES))
@example("chat", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": PIXEL}]}]})
@example("completion", {"prompt": [1, 2, 3]})
@example("chat", {"messages": [{"role": "tool", "content": None}], "stream": True, "stream_options": {}})
def test_any_body_is_a_call_or_a_refusal(kind: Kind, body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    try:
        call = call_of(kind, raw, "id", SETTINGS, "tiny")
    except Refusal as refusal:
        if refusal.status != 400:
            raise
        return
    assert prompt_length(call) >= 0
    mark_beginnings(call)
    assert len(call.beginnings) <= 2
    sent = orjson.loads(body_for(call, ""))
    if call.uncounted:
        assert sent.pop("stream_options")["include_usage"] is True
        body = {name: value for name, value in body.items() if name != "stream_options"}
    assert sent == orjson.loads(orjson.dumps(orjson.loads(json.dumps(body))))
    assert orjson.loads(body_for(call, "other"))["model"] == "other"


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_refusal(raw: bytes) -> None:
    try:
        assert isinstance(object_of(raw), dict)
    except Refusal as refusal:
        if refusal.status != 400:
            raise


@pytest.mark.parametrize("bomb", [b'{"a":' * 50_000, b"[" * 5_000_000, b"[{}" + b",{}" * 5_000_000 + b"]"])
def test_a_body_of_brackets_is_refused_before_it_is_read(bomb: bytes) -> None:
    began = time.process_time()
    with pytest.raises(Refusal):
        object_of(bomb)
    assert time.process_time() - began < 5


def test_bounds_are_bounds() -> None:
    body: Any = {"a": 1}
    for _ in range(MOST_DEPTH - 1):
        body = {"a": body}
    assert object_of(orjson.dumps(body)) == body
    with pytest.raises(Refusal, match="deeper"):
        object_of(orjson.dumps({"a": body}))
    check_schema(
        {"properties": {"pattern": {"type": "string", "pattern": "^a+$"}, "$ref": {"$ref": "#/$defs/x"}}}, "it"
    )
    with pytest.raises(Refusal, match="outside"):
        check_schema({"anyOf": [{"$ref": "other.json#/x"}]}, "it")


def test_what_begins_alike_is_marked_alike() -> None:
    def beginnings(system: str, image: str, question: str) -> tuple[str, tuple[bytes, ...]]:
        parts = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": question}]
        messages = [{"role": "system", "content": system}, {"role": "user", "content": parts}]
        call = call_of("chat", orjson.dumps({"messages": messages}), "id", SETTINGS, "tiny")
        mark_beginnings(call)
        return call.document, call.beginnings

    long, other = "Read receipts. " * 20, PIXEL[:-4] + "AAAA"
    first = beginnings(long, PIXEL, "total?")
    assert first == beginnings(long, PIXEL, "date?")
    assert len(first[1]) == 2
    second = beginnings(long, other, "total?")
    assert second[0] != first[0]
    assert second[1][0] == first[1][0]
    assert len(beginnings("short", PIXEL, "a")[1]) == 1


def test_a_share_comes_in_again_evenly() -> None:
    now = 0.0
    allowances = Allowances(requests=60, tokens=600, clock=lambda: now)
    caller = Caller("team")
    for _ in range(60):
        allowances.take(caller)
    with pytest.raises(Refusal) as refused:
        allowances.take(caller)
    assert refused.value.status == 429
    assert refused.value.retry_after == 1
    allowances.take(Caller("other"))
    now = 2.0
    allowances.take(caller)
    allowances.used(caller, 1_800)
    with pytest.raises(Refusal, match="tokens"):
        allowances.take(caller)
    now = 150.0
    allowances.take(caller)
