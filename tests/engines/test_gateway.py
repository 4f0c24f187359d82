"""The gateway before the real servers: what SGLang and vLLM answer goes through it, in their own words."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engines.kit.servers import MODEL_NAME, Server
from tests.integration.service.gateways import HEADERS, serving, until

CHAT = "/v1/chat/completions"
SAMPLE = Path(__file__).parents[2] / "samples" / "starter" / "documents" / "receipt-001.jpg"
SCHEMA = {"type": "object", "properties": {"total": {"type": "string", "maxLength": 8}}, "required": ["total"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "record", "schema": SCHEMA}}


def ask(name: str, text: str = "Read this.", **more: Any) -> dict[str, Any]:
    """A chat for one upstream, by its name."""
    message = {"role": "user", "content": text}
    return {"model": name, "messages": [message], "max_tokens": 16, "temperature": 0, **more}


@pytest.fixture(scope="module")
def client(sglang_url: str, vllm_url: str) -> Iterator[httpx.Client]:
    upstreams = f"sglang={sglang_url};vllm={vllm_url}"
    with serving(
        gateway__upstreams=upstreams,
        gateway__fallbacks="sglang=vllm",
        gateway__answer_seconds=120,
        gateway__health_timeout_seconds=20,
    ) as client:
        client.timeout = httpx.Timeout(180)
        yield client


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_an_answer_is_the_servers_own(client: httpx.Client, name: str, request: pytest.FixtureRequest) -> None:
    relayed = client.post(CHAT, json=ask(name))
    assert relayed.status_code == 200
    assert relayed.headers["x-docflow-upstream"] == name
    direct = httpx.post(
        request.getfixturevalue(f"{name}_url") + CHAT, json=ask(name) | {"model": MODEL_NAME}, timeout=180
    ).json()
    answer = relayed.json()
    assert answer["choices"][0]["message"] == direct["choices"][0]["message"]
    assert answer.keys() == direct.keys()


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_a_stream_has_the_same_text_and_no_usage_that_was_not_asked_for(client: httpx.Client, name: str) -> None:
    whole = client.post(CHAT, json=ask(name)).json()["choices"][0]["message"]["content"]
    streamed = client.post(CHAT, json=ask(name, stream=True))
    events = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    data = [json.loads(event) for event in events]
    assert all(event["choices"] for event in data)
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in data) == whole
    counted = client.post(CHAT, json=ask(name, stream=True, stream_options={"include_usage": True}))
    assert '"completion_tokens":' in counted.text
    metrics = client.get("/metrics").text
    assert any("output_tokens" in line and f'"{name}"' in line for line in metrics.splitlines())


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_an_image_and_a_schema_go_through(client: httpx.Client, name: str) -> None:
    image = "data:image/jpeg;base64," + base64.b64encode(SAMPLE.read_bytes()).decode()
    parts = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": "Give the total as JSON."}]
    body = ask(name, response_format=FORMAT, max_tokens=200) | {"messages": [{"role": "user", "content": parts}]}
    answer = client.post(CHAT, json=body)
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.json()["choices"][0]["message"]["content"]).keys() == {"total"}


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_what_a_server_refuses_is_told_as_it_says_it(client: httpx.Client, name: str) -> None:
    answer = client.post(CHAT, json=ask(name, temperature=-3))
    assert 400 <= answer.status_code < 500
    assert answer.headers["x-docflow-upstream"] == name


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_a_model_that_writes_embeds_nothing(client: httpx.Client, name: str) -> None:
    answer = client.post("/v1/embeddings", json={"model": name, "input": "a"})
    assert answer.status_code == 501


def test_completions_and_models_of_both(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json={"model": "vllm", "prompt": "Total", "max_tokens": 4})
    assert answer.status_code == 200
    assert MODEL_NAME in [model["id"] for model in client.get("/v1/models").json()["data"]]


def test_a_client_that_leaves_ends_the_servers_work(client: httpx.Client, vllm_url: str) -> None:
    body = ask("vllm", "Count.", max_tokens=1500, ignore_eos=True, stream=True)
    with client.stream("POST", CHAT, json=body) as answer:
        assert answer.headers["x-docflow-upstream"] == "vllm"
        next(answer.iter_bytes())

    def runs() -> bool:
        lines = httpx.get(f"{vllm_url}/metrics", timeout=60).text.splitlines()
        (line,) = (line for line in lines if line.startswith("vllm:num_requests_running"))
        return float(line.rpartition(" ")[2]) > 0

    until(lambda: not runs())


def test_one_takes_over_when_the_other_is_killed(server_factory: Callable[..., Server], vllm_url: str) -> None:
    server = server_factory("sglang")
    upstreams = f"sglang={server.url};vllm={vllm_url}"
    with serving(
        gateway__upstreams=upstreams,
        gateway__fallbacks="sglang=vllm",
        gateway__answer_seconds=120,
        gateway__health_timeout_seconds=20,
    ) as client:
        client.timeout = httpx.Timeout(180)
        first = client.post(CHAT, json=ask("", model=MODEL_NAME), headers=HEADERS)
        assert first.headers["x-docflow-upstream"] == "sglang"
        server.kill()
        second = client.post(CHAT, json=ask("", model=MODEL_NAME))
        assert (second.status_code, second.headers["x-docflow-upstream"]) == (200, "vllm")
        assert second.headers["x-docflow-fallback-from"] == "sglang"
