"""The gateway on a real port, before upstreams that answer, fail, hang and break off."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.integration.service.gateways import (
    PIECES,
    PIXEL,
    USAGE,
    Upstream,
    break_before_the_first_byte,
    break_in_the_middle,
    break_off,
    chat,
    half_an_answer,
    hang,
    has_left,
    serving,
    until,
)

CHAT = "/v1/chat/completions"


@pytest.fixture
def a() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def b() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def two(a: Upstream, b: Upstream, **more: Any) -> Any:
    flags = {"gateway__upstreams": f"vllm={a.url};sglang={b.url}", "gateway__fallbacks": "vllm=sglang"}
    return serving(**(flags | more))


def text_of(answer: httpx.Response) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


# --- what is passed on --------------------------------------------------------------------------------------------


def test_a_chat_is_answered_by_the_first_upstream_and_passed_on_byte_for_byte(a: Upstream, b: Upstream) -> None:
    body = b'{"model":"tiny", "messages":[{"role":"user","content":"na\\u00efve"}], "made_up":{"x":1e-5},"top_k":3 }'
    with two(a, b) as client:
        answer = client.post(CHAT, content=body, headers={"x-request-id": "abc-1", "cookie": "c=1"})
    assert answer.status_code == 200
    assert text_of(answer) == "".join(PIECES)
    assert answer.headers["x-docflow-upstream"] == "vllm"
    assert answer.headers["x-request-id"] == "abc-1"
    assert not b.requests
    (sent,) = a.requests
    assert sent.body == body
    assert sent.headers["x-request-id"] == "abc-1"
    assert not {"authorization", "cookie", "x-api-key"} & set(sent.headers)


def test_images_tools_and_response_formats_reach_the_upstream(a: Upstream, b: Upstream) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/A", "$defs": {"A": {}}}}}
    parts = [{"type": "image_url", "image_url": {"url": PIXEL}}, {"type": "text", "text": "read"}]
    body = chat(tools=tools, response_format=wanted) | {"messages": [{"role": "user", "content": parts}]}
    with two(a, b) as client:
        assert client.post(CHAT, json=body).status_code == 200
    assert a.requests[0].json() == body


def test_the_credentials_of_an_upstream_go_to_it_alone_and_show_nowhere(a: Upstream) -> None:
    place = a.url.removeprefix("http://")
    with serving(gateway__upstreams=f"mine=http://me:s3cret@{place}") as client:
        answer = client.post(CHAT, json=chat())
        a.status = 401
        refused = client.post(CHAT, json=chat())
        a.refuse()
        failed = client.post(CHAT, json=chat())
        a.listen()
        a.status = 200
    with serving(gateway__upstreams=f"mine=http://:s3cret@{place}") as client:
        client.post(CHAT, json=chat())
    assert a.requests[0].headers["authorization"].startswith("Basic ")
    assert a.requests[-1].headers["authorization"] == "Bearer s3cret"
    assert (answer.status_code, refused.status_code, failed.status_code) == (200, 502, 502)
    assert "s3cret" not in str([one.text + str(one.headers) for one in (answer, refused, failed)])


def test_completions_and_embeddings_are_relayed(a: Upstream, b: Upstream) -> None:
    with two(a, b) as client:
        assert client.post("/v1/completions", json={"model": "tiny", "prompt": "a"}).status_code == 200
        answer = client.post("/v1/embeddings", json={"model": "tiny", "input": "a"})
        assert answer.json()["data"][0]["embedding"] == [0.5]
        assert [one.path for one in a.requests] == ["/v1/completions", "/v1/embeddings"]
        a.status, a.said = 404, {"detail": "Not Found"}
        refused = client.post("/v1/embeddings", json={"model": "tiny", "input": "a"})
    assert refused.status_code == 501
    assert "embedding" in refused.json()["error"]["message"]


def test_models_are_those_of_all_upstreams(a: Upstream) -> None:
    with Upstream("other") as b, two(a, b) as client:
        models = client.get("/v1/models").json()
        assert [model["id"] for model in models["data"]] == ["tiny", "other"]
        assert client.get("/v1/models/other").json()["id"] == "other"
        assert client.get("/v1/models/none").status_code == 404
        client.post(CHAT, json=chat(model="other"))
        assert len(b.requests) == 1  # the only one that has it
        client.post(CHAT, json=chat(model="sglang"))
        assert b.requests[1].json()["model"] == "other"  # an upstream's name stands for its model


# --- streams ------------------------------------------------------------------------------------------------------


def test_a_stream_is_what_the_upstream_sends_and_its_tokens_are_counted(a: Upstream, b: Upstream) -> None:
    body = chat(stream=True)
    with two(a, b) as client:
        answer = client.post(CHAT, json=body)
        asked = client.post(CHAT, json=body | {"stream_options": {"include_usage": True}})
        metrics = client.get("/metrics").text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.content == b"".join(a.events(body))
    assert a.requests[0].json()["stream_options"] == {"include_usage": True}
    assert json.loads(asked.text.split("\n\n")[-3].removeprefix("data: "))["usage"] == USAGE
    assert 'upstream="vllm"' in metrics
    assert "} 6.0" in "".join(line for line in metrics.splitlines() if "output_tokens" in line and "vllm" in line)


def test_the_first_piece_arrives_before_the_second_is_there(a: Upstream, b: Upstream) -> None:
    a.go.clear()
    with two(a, b) as client, client.stream("POST", CHAT, json=chat(stream=True)) as answer:
        pieces = answer.iter_bytes()
        assert b"Total" in next(pieces)
        a.go.set()
        assert b"[DONE]" in b"".join(pieces)


def test_a_client_that_goes_away_ends_the_upstreams_work(a: Upstream, b: Upstream) -> None:
    a.go.clear()
    with two(a, b) as client:
        with client.stream("POST", CHAT, json=chat(stream=True)) as answer:
            next(answer.iter_bytes())
        assert a.left.wait(10)
        a.go.set()
        until(lambda: "docflow" in client.get("/metrics").text)
        assert client.post(CHAT, json=chat()).status_code == 200  # its place is free again


def test_a_client_that_goes_away_before_the_answer_ends_the_upstreams_work_too(a: Upstream, b: Upstream) -> None:
    gone = threading.Event()

    async def wait(request: Any, writer: Any) -> None:
        while not has_left(writer):
            await asyncio.sleep(0.005)
        gone.set()

    a.does = wait
    with two(a, b) as client, pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=chat(), timeout=0.5)
    assert gone.wait(10)
    assert not b.requests


# --- one takes over for another -----------------------------------------------------------------------------------


def _status(code: int, **headers: str) -> Callable[[Upstream], None]:
    def set_to(upstream: Upstream) -> None:
        upstream.status, upstream.headers = code, {name.replace("_", "-"): value for name, value in headers.items()}

    return set_to


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        _status(500),
        _status(503),
        _status(429),
        _status(429, retry_after="30"),
        _status(302, location="http://127.0.0.1:1/"),
        Upstream.refuse,
        lambda upstream: setattr(upstream, "does", break_off),
        lambda upstream: setattr(upstream, "does", break_before_the_first_byte),
        lambda upstream: setattr(upstream, "does", half_an_answer),
        lambda upstream: setattr(upstream, "does", hang),
    ],
    ids=["500", "503", "429", "429-later", "302", "refused", "reset", "empty", "half", "silent"],
)
def test_the_substitute_answers_where_the_first_fails(
    a: Upstream, b: Upstream, fault: Callable[[Upstream], None], stream: bool
) -> None:
    with two(a, b, gateway__answer_seconds=1) as client:
        fault(a)
        answer = client.post(CHAT, json=chat(stream=stream))
        metrics = client.get("/metrics").text
    assert answer.status_code == 200
    assert "12.50" in answer.text
    assert (answer.headers["x-docflow-upstream"], answer.headers["x-docflow-fallback-from"]) == ("sglang", "vllm")
    assert len(b.requests) == 1
    assert any('from="vllm"' in line and 'to="sglang"' in line for line in metrics.splitlines())


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_an_upstream_refuses_is_not_asked_of_another(a: Upstream, b: Upstream, status: int) -> None:
    a.status = status
    with two(a, b) as client:
        answer = client.post(CHAT, json=chat())
    assert (answer.status_code, answer.json()) == (status, {"error": {"message": "no"}})
    assert not b.requests


def test_after_the_first_byte_there_is_no_other_upstream_and_the_client_is_told(a: Upstream, b: Upstream) -> None:
    a.does = break_in_the_middle
    with two(a, b) as client:
        answer = client.post(CHAT, json=chat(stream=True))
    events = answer.text.strip().split("\n\n")
    assert '"To"' in events[0]
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "upstream_failed"
    assert not b.requests


def test_when_all_fail_the_error_names_them(a: Upstream, b: Upstream) -> None:
    a.status = b.status = 500
    with two(a, b, servers__failures=1) as client:
        failed = client.post(CHAT, json=chat())
        a.health = b.health = 503
        until(lambda: client.post(CHAT, json=chat()).status_code == 503)
        away = client.post(CHAT, json=chat())
    assert failed.status_code == 502
    assert failed.json()["error"]["upstreams"] == ["vllm", "sglang"]
    assert failed.json()["error"]["type"] == "server_error"
    assert "vllm" in away.json()["error"]["message"]
    assert int(away.headers["retry-after"]) > 0


def test_when_all_are_full_the_client_is_told_to_come_back_when_the_first_has_room(a: Upstream, b: Upstream) -> None:
    _status(429, retry_after="40")(a)
    _status(429, retry_after="20")(b)
    with two(a, b) as client:
        answer = client.post(CHAT, json=chat())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "20")
    error = answer.json()["error"]
    assert (error["code"], error["upstreams"]) == ("overloaded", ["vllm", "sglang"])


def test_one_full_upstream_and_one_that_fails_are_a_failure(a: Upstream, b: Upstream) -> None:
    _status(429, retry_after="40")(a)
    _status(500)(b)
    with two(a, b) as client:
        answer = client.post(CHAT, json=chat())
    assert answer.status_code == 502


def test_an_upstream_that_was_away_is_used_again(a: Upstream, b: Upstream) -> None:
    with two(a, b, servers__failures=1, servers__rest_seconds=0.05, servers__health_seconds=0.05) as client:
        a.refuse()
        assert client.post(CHAT, json=chat()).headers["x-docflow-upstream"] == "sglang"
        a.listen()
        until(lambda: client.post(CHAT, json=chat()).headers["x-docflow-upstream"] == "vllm")


def test_an_upstream_whose_health_fails_is_left_out_before_a_request_finds_out(a: Upstream, b: Upstream) -> None:
    health = "vllm=/ready,every=0.05,within=5"
    with two(a, b, gateway__health=health, servers__failures=1) as client:
        assert a.looks[0] == "/ready"
        assert b.looks[0] == "/health"
        a.health = 500
        until(lambda: client.post(CHAT, json=chat()).headers["x-docflow-upstream"] == "sglang")
    assert all(request.json()["model"] == "tiny" for request in b.requests)


def test_a_substitute_with_another_model_is_asked_for_its_own(a: Upstream) -> None:
    with Upstream("other") as b, two(a, b) as client:
        a.status = 500
        answer = client.post(CHAT, json=chat())
    assert answer.status_code == 200
    assert b.requests[0].json()["model"] == "other"


def test_with_none_well_one_that_is_back_is_found_at_once(a: Upstream, b: Upstream) -> None:
    with two(a, b, servers__failures=1, servers__rest_seconds=600) as client:
        a.refuse()
        b.refuse()
        assert client.post(CHAT, json=chat()).status_code == 502
        a.listen()
        until(lambda: client.post(CHAT, json=chat()).status_code == 200)


# --- policies -----------------------------------------------------------------------------------------------------


def _policy(strategy: str, **weights: int) -> str:
    targets = [{"name": name, "weight": weight} for name, weight in weights.items()]
    return json.dumps({"chat": {"strategy": strategy, "targets": targets}})


def test_weighted_targets_share_the_requests_by_their_weights(a: Upstream, b: Upstream) -> None:
    with two(a, b, gateway__route_policies=_policy("weighted", vllm=90, sglang=10), gateway__seed=7) as client:
        for _ in range(400):
            client.post(CHAT, json=chat())
        assert len(a.requests) + len(b.requests) == 400
        assert 340 <= len(a.requests) <= 380
        a.refuse()
        for _ in range(20):
            assert client.post(CHAT, json=chat()).status_code == 200  # only those that are well are drawn


def test_priority_takes_the_first_that_is_well(a: Upstream, b: Upstream) -> None:
    policy = _policy("priority", sglang=1, vllm=1)
    with two(a, b, gateway__route_policies=policy, gateway__fallbacks="") as client:
        assert client.post(CHAT, json=chat()).headers["x-docflow-upstream"] == "sglang"
        b.refuse()
        assert client.post(CHAT, json=chat()).headers["x-docflow-upstream"] == "vllm"


def test_the_least_busy_gets_the_next_request(a: Upstream, b: Upstream) -> None:
    a.go.clear()
    b.go.clear()
    with two(a, b, gateway__route_policies=_policy("least-busy", vllm=1, sglang=1)) as client:
        with client.stream("POST", CHAT, json=chat(stream=True)) as first:
            next(first.iter_bytes())
            with client.stream("POST", CHAT, json=chat(stream=True)) as second:
                next(second.iter_bytes())
                names = {first.headers["x-docflow-upstream"], second.headers["x-docflow-upstream"]}
        assert names == {"vllm", "sglang"}


def test_requests_about_an_image_stay_with_the_upstream_that_has_read_it(a: Upstream, b: Upstream) -> None:
    def about(number: int) -> dict[str, Any]:
        image = {"type": "image_url", "image_url": {"url": PIXEL[:-8] + f"{number:04d}AAAA"}}
        parts = [image, {"type": "text", "text": "read"}]
        return {"model": "tiny", "messages": [{"role": "user", "content": parts}]}

    with two(a, b, gateway__route_policies=_policy("cache-aware", vllm=1, sglang=1)) as client:
        homes = Counter[str]()
        for number in range(12):
            names = {client.post(CHAT, json=about(number)).headers["x-docflow-upstream"] for _ in range(3)}
            assert len(names) == 1
            homes[names.pop()] += 1
    assert homes["vllm"] == homes["sglang"] == 6


def test_the_engines_are_the_upstreams_where_none_is_named(a: Upstream, b: Upstream) -> None:
    with serving(engine=f"sglang={a.url}", fallbacks=f"vllm={b.url}") as client:
        assert client.post(CHAT, json=chat()).headers["x-docflow-upstream"] == "sglang"
        a.status = 500
        assert client.post(CHAT, json=chat()).headers["x-docflow-upstream"] == "vllm"


# --- how much -----------------------------------------------------------------------------------------------------


def test_more_than_may_wait_are_told_to_come_back(a: Upstream, b: Upstream) -> None:
    a.go.clear()
    with two(a, b, serve__requests=1, serve__waiting=0) as client:
        with client.stream("POST", CHAT, json=chat(stream=True)) as running:
            pieces = running.iter_bytes()
            next(pieces)
            refused = client.post(CHAT, json=chat())
            a.go.set()
            b"".join(pieces)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert client.post(CHAT, json=chat()).status_code == 200


def test_a_request_that_waits_gets_its_turn(a: Upstream, b: Upstream) -> None:
    a.go.clear()
    answers: list[int] = []
    with two(a, b, servers__requests=1) as client:
        with client.stream("POST", CHAT, json=chat(stream=True)) as running:
            pieces = running.iter_bytes()
            next(pieces)
            threads = [
                threading.Thread(target=lambda: answers.append(client.post(CHAT, json=chat()).status_code))
                for _ in range(5)
            ]
            for thread in threads:
                thread.start()
            a.go.set()
            b"".join(pieces)
        for thread in threads:
            thread.join(20)
    assert answers == [200] * 5
    assert not b.requests


def test_a_key_has_its_share_a_minute(a: Upstream, b: Upstream) -> None:
    with two(a, b, gateway__key_requests_minute=2) as client:
        assert [client.post(CHAT, json=chat()).status_code for _ in range(3)] == [200, 200, 429]
        refused = client.post(CHAT, json=chat())
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        other = {"authorization": "Bearer 0123456789abcdef-ops"}
        assert client.post(CHAT, json=chat(), headers=other).status_code == 200


def test_the_tokens_of_a_key_are_counted_in_streams_too(a: Upstream, b: Upstream) -> None:
    with two(a, b, gateway__key_tokens_minute=15) as client:
        body = chat(stream=True)
        assert [client.post(CHAT, json=body).status_code for _ in range(3)] == [200, 200, 429]


# --- what is refused before an upstream sees it -------------------------------------------------------------------


def _image(url: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url} | more]}]}


DEEP: Any = {}
for _ in range(100):
    DEEP = {"a": DEEP}
FORMAT = {"type": "json_schema"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"messages": [], "messages": [1]}',
        b'{"messages":[{"role":"user","content":"a"}],"model":"a","model":"b"}',
        b"[" * 100_000,
        {},
        {"messages": []},
        {"messages": "a"},
        {"messages": ["a"]},
        {"messages": [{"content": "a"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "http://x"}}]}]},
        {"messages": [{"role": "user", "content": [{"image_url": "http://x"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "image_url": "http://x"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": ""}}]}]},
        _image("http://169.254.169.254/latest"),
        _image({"url": "http://127.0.0.1/"}),
        _image({"url": "file:///etc/passwd"}),
        _image({"url": "/etc/passwd"}),
        _image({"url": "data:text/html;base64,AAAA"}),
        _image({"url": "data:image/png;base64,AAAAAAAAAAAA"}),
        _image({"url": "data:image/png,AAAA"}),
        _image({"url": PIXEL}, image="/etc/passwd"),
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}] * 40}]},
        chat(model=3),
        chat(stream="yes"),
        chat(stream_options=3),
        chat(n=1_000),
        chat(n=True),
        chat(max_tokens=10**9),
        chat(max_completion_tokens=-1),
        chat(stop=["a"] * 100),
        chat(custom_logit_processor="gASV"),
        chat(chat_template="{{ x }}"),
        chat(bootstrap_host="10.0.0.1"),
        chat(lora_path="/etc"),
        chat(made_up=DEEP),
        chat(response_format="json"),
        chat(response_format=FORMAT | {"json_schema": {"schema": {"$ref": "http://x/schema.json"}}}),
        chat(response_format=FORMAT | {"json_schema": {"schema": {"properties": {"a": {"pattern": "a" * 5_000}}}}}),
        chat(response_format=FORMAT | {"json_schema": {"schema": {"enum": ["a" * 200_000]}}}),
        chat(response_format=FORMAT | {"json_schema": {"schema": DEEP}}),
        chat(guided_json='{"$ref": "file:///etc/passwd"}'),
        chat(structured_outputs={"json": {"$ref": "http://x"}}),
        chat(structured_outputs={"regex": "(a+)+" * 500}),
        chat(regex="a" * 5_000),
        chat(tools=[{"type": "function", "function": {"name": "a", "parameters": {"$ref": "http://x"}}}]),
        chat(tools="a"),
    ],
)
def test_what_is_out_of_bounds_is_refused_before_an_upstream_sees_it(
    refusing: tuple[httpx.Client, Upstream], body: bytes | dict[str, Any]
) -> None:
    client, upstream = refusing
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(CHAT, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert not upstream.requests


@pytest.fixture(scope="module")
def refusing() -> Iterator[tuple[httpx.Client, Upstream]]:
    with Upstream() as upstream, serving(gateway__upstreams=f"vllm={upstream.url}") as client:
        yield client, upstream


def test_other_requests_out_of_bounds_are_refused(refusing: tuple[httpx.Client, Upstream]) -> None:
    client, upstream = refusing
    assert client.post("/v1/completions", json={"prompt": {"a": 1}}).status_code == 400
    assert client.post("/v1/completions", json={"prompt": "a", "prompt_embeds": "gASV"}).status_code == 400
    assert client.post("/v1/embeddings", json={"input": None}).status_code == 400
    assert client.post("/v1/embeddings", json={"input": ["a"] * 3_000}).status_code == 400
    assert client.get(CHAT).status_code == 405
    assert client.post("/v1/nothing", json={}).status_code == 404
    assert client.post(CHAT, json=chat(), headers={"authorization": "Bearer wrong"}).status_code == 401
    assert not upstream.requests


def test_a_body_that_is_too_large_is_cut_off_whatever_its_header_says(a: Upstream) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    limits = {"serve__request_bytes": 1_000_000, "serve__upload_bytes": 1_000_000}
    with serving(gateway__upstreams=f"vllm={a.url}", **limits) as client:
        assert client.post(CHAT, content=b" " * 2_000_000).status_code == 413
        assert client.post(CHAT, content=pieces()).status_code == 413
    assert not a.requests


def test_without_any_upstream_the_service_says_so() -> None:
    with serving() as client:
        answer = client.post(CHAT, json=chat())
        assert answer.status_code == 503
        assert "GATEWAY_UPSTREAMS" in answer.json()["error"]["message"]
        assert client.get("/v1/models").json()["data"] == []
