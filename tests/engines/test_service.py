"""The service in front of the real servers: messages, prompts, images, what it says of them, and clients that leave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from docflow.documents import Page
from docflow.errors import BadAnswer
from docflow.server.service.app import service_app
from docflow.settings import load_settings
from docs.examples.document_extraction import SYSTEM, document_extraction, extract
from tests.engines.conftest import SAMPLES
from tests.engines.kit.environments import KINDS

RECEIPT = SAMPLES / "receipt-001.jpg"
NAMES = {"sglang": "SGLang", "vllm": "vLLM"}
LIMITS = {"serve.context": 4096, "serve.image_side": 840, "telemetry.log": "off"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(kind: str, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    url = request.getfixturevalue(f"{kind}_url")
    with TestClient(service_app(load_settings({"engine": f"{kind}={url}", **LIMITS}))) as client:
        end = time.monotonic() + 120
        while client.get("/health").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        yield client


def test_a_conversation_with_the_real_server(client: TestClient, kind: str) -> None:
    first = client.post("/generate", json={"message": "What is an invoice?", "max_tokens": 12, "temperature": 0})
    assert first.status_code == 200, first.json()
    body = first.json()
    assert body["model_info"]["engine"] == NAMES[kind]
    assert body["model_info"]["model_name"] == "tiny"
    assert 1 <= body["model_info"]["timings"]["tokens_generated"] <= 12
    assert body["model_info"]["timings"]["tokens_per_second"] > 0
    again = {"message": "And a receipt?", "max_tokens": 4, "conversation_id": body["conversation_id"]}
    assert client.post("/generate", json=again).status_code == 200
    messages = client.get(f"/conversations/{body['conversation_id']}").json()["messages"]
    assert [one["role"] for one in messages] == ["user", "assistant"] * 2
    assert messages[1]["content"] == body["response"]


def test_a_prompt_with_and_without_an_image(client: TestClient) -> None:
    answer = client.post("/generate", json={"prompt": "Read.", "max_tokens": 5, "temperature": 0.7, "top_p": 0.9})
    assert answer.status_code == 200, answer.json()
    assert answer.json()["num_tokens"] <= 5
    assert answer.json()["finish_reason"] in ("stop", "length")
    image = "data:image/jpeg;base64," + base64.b64encode(RECEIPT.read_bytes()).decode()
    seen = client.post("/generate", json={"prompt": "Read.", "image": image, "max_tokens": 5})
    assert seen.status_code == 200, seen.json()


def test_vision_and_multimodal_show_the_model_their_images(client: TestClient) -> None:
    data = {"message": "What is the total?", "max_tokens": "5"}
    before = client.get("/status/detailed").json()["performance"]["prompt_tokens"]
    one = client.post("/vision", files={"file": ("a.jpg", RECEIPT.read_bytes())}, data=data)
    assert one.status_code == 200, one.json()
    single = client.get("/status/detailed").json()["performance"]["prompt_tokens"] - before
    assert single > 200, "an image is hundreds of tokens"
    other = SAMPLES / "receipt-002.jpg"
    files = [("files", ("a.jpg", RECEIPT.read_bytes())), ("files", ("b.jpg", other.read_bytes()))]
    both = client.post("/multimodal", files=files, data=data)
    assert both.status_code == 200, both.json()
    assert client.get("/status/detailed").json()["performance"]["prompt_tokens"] - before - single > single


def test_a_long_conversation_is_fitted_into_the_context(client: TestClient) -> None:
    id_ = None
    for number in range(6):
        message = {"message": f"{number} " + "a word or two " * 150, "conversation_id": id_, "max_tokens": 3}
        answer = client.post("/generate", json=message)
        assert answer.status_code == 200, answer.json()
        id_ = answer.json()["conversation_id"]


def test_a_message_that_is_too_long_for_the_server_is_its_senders_fault(client: TestClient) -> None:
    answer = client.post("/generate", json={"message": "a word or two " * 4000})
    assert answer.status_code == 400
    assert "a word or two a word" not in json.dumps(answer.json())


def test_health_and_status_tell_of_the_real_server(client: TestClient, kind: str) -> None:
    health = client.get("/health").json()
    assert (health["status"], health["engine_type"], health["model_name"]) == ("healthy", NAMES[kind], "tiny")
    client.post("/generate", json={"message": "a", "max_tokens": 3})
    (engine,) = client.get("/status/detailed").json()["engines"]
    assert engine["answered"] == 1
    if kind == "vllm":  # SGLang has metrics with --enable-metrics only
        assert engine["running_requests"] == 0
        assert engine["kv_cache_use"] is not None
        assert 0 <= engine["prefix_cache_hit_rate"] <= 1
        assert engine["output_tokens"] >= 3


def test_a_client_that_leaves_frees_the_real_vllm(vllm_url: str) -> None:
    """Shown by vLLM's own figure of the requests at work."""
    app = service_app(load_settings({"engine": f"vllm={vllm_url}", **LIMITS, "serve.max_tokens": 2000}))
    with TestClient(app) as client:
        end = time.monotonic() + 120
        while client.get("/health").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.1)

        def at_work() -> int:
            (engine,) = client.get("/status/detailed").json()["engines"]
            return int(engine["running_requests"])

        async def ask() -> None:
            body = b'{"message": "Tell me everything.", "max_tokens": 2000}'
            messages = [{"type": "http.request", "body": body, "more_body": False}]
            leave = asyncio.Event()

            async def receive() -> Any:
                if messages:
                    return messages.pop()
                await leave.wait()
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                pass

            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/generate",
                "raw_path": b"/generate",
                "query_string": b"",
                "headers": headers,
                "http_version": "1.1",
                "scheme": "http",
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 2),
                "root_path": "",
            }
            task = asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]
            while await asyncio.to_thread(at_work) < 1 and not task.done():
                await asyncio.sleep(0.01)
            assert not task.done(), "2,000 tokens take seconds"
            leave.set()
            await task

        assert client.portal is not None
        client.portal.call(ask)
        began = time.monotonic()
        while at_work() > 0:
            assert time.monotonic() - began < 60
            time.sleep(0.02)


def test_the_shortest_program_runs_on_the_real_sglang(sglang_url: str, page: Page) -> None:
    import sglang as sgl

    backend = sgl.RuntimeEndpoint(sglang_url, chat_template_name="qwen2-vl")
    prompt = "Give the content of this document as JSON."
    state = document_extraction.run(image_path=page, prompt=prompt, backend=backend, use_thread=False)
    assert isinstance(state["response"], str)
    meta = state.get_meta_info("response")
    assert meta["prompt_tokens"] > 200, "the image is part of what was asked"
    assert state.text().index(SYSTEM) < state.text().index(prompt)
    with contextlib.suppress(BadAnswer):  # random weights seldom write JSON: then that is what is said, and no more
        extract(str(RECEIPT), prompt, sglang_url)
