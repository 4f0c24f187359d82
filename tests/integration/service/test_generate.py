"""``/generate``, ``/vision`` and ``/multimodal``: the fields that clients rely on, limits, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.engines.instant import InstantServer
from tests.engines.loopback import Received, response
from tests.integration.service.conftest import Serve

RECEIPT = Path(__file__).parents[3] / "samples" / "starter" / "documents" / "receipt-001.jpg"


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(file, "PNG")
    return file.getvalue()


class Saying(InstantServer):
    """Answers with a text of one's own."""

    said = "This is a document."

    def _text(self, body: Any) -> str:
        return self.said


def asked(server: InstantServer) -> dict[str, Any]:
    body: dict[str, Any] = server.requests[-1].json()
    return body


# --- the body with a message ----------------------------------------------------------------------------------------


def test_a_message_is_answered_with_every_field_of_the_contract(client: TestClient, instant: InstantServer) -> None:
    answer = client.post("/generate", json={"message": "Hello", "max_tokens": 512, "temperature": 0.7})
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == [
        "response",
        "conversation_id",
        "generation_time",
        "model_info",
        "response_json",
        "response_is_json",
    ]
    assert body["response"] == "This is a document."
    assert body["generation_time"] > 0
    info = body["model_info"]
    assert list(info) == ["engine", "model_name", "max_tokens", "temperature", "timings"]
    assert (info["engine"], info["model_name"], info["max_tokens"], info["temperature"]) == ("vLLM", "tiny", 512, 0.7)
    timings = info["timings"]
    assert list(timings) == [
        "generation_ms",
        "total_ms",
        "tokens_generated",
        "tokens_per_second",
        "endpoint_total_ms",
        "json_parse_ms",
    ]
    assert timings["tokens_generated"] == 9
    assert 0 < timings["generation_ms"] <= timings["total_ms"] <= timings["endpoint_total_ms"]
    assert timings["json_parse_ms"] >= 0
    assert timings["tokens_per_second"] == pytest.approx(9 / body["generation_time"], rel=0.01)
    assert asked(instant)["messages"] == [{"role": "user", "content": "Hello"}]


def test_a_message_alone_has_the_contracts_defaults(client: TestClient, instant: InstantServer) -> None:
    info = client.post("/generate", json={"message": "Hello"}).json()["model_info"]
    assert (info["max_tokens"], info["temperature"]) == (512, 0.7)
    assert (asked(instant)["max_tokens"], asked(instant)["temperature"]) == (512, 0.7)


def test_a_limit_above_the_services_is_lowered_and_shown(serve: Serve, instant: InstantServer) -> None:
    client = serve({"engine": f"vllm={instant.url}", "serve.max_tokens": 64})
    body = client.post("/generate", json={"message": "Hello", "max_tokens": 5000}).json()
    assert body["model_info"]["max_tokens"] == 64
    assert asked(instant)["max_tokens"] == 64
    client.post("/generate", json={"prompt": "Hello"})
    assert asked(instant)["max_tokens"] == 64


def test_an_answer_of_sglang_names_sglang(serve: Serve) -> None:
    with InstantServer("sglang") as server:
        client = serve({"engine": f"sglang={server.url}"})
        body = client.post("/generate", json={"message": "Hello"}).json()
    assert body["model_info"]["engine"] == "SGLang"


@pytest.mark.parametrize(
    ("said", "is_json", "found"),
    [
        ('{"total": "12.40"}', True, {"total": "12.40"}),
        ('Here it is:\n```json\n{"total": 1}\n```\n', True, {"total": 1}),
        (' {"a": {"b": null}} \n', True, {"a": {"b": None}}),
        ("[1, 2]", True, None),
        ("42", True, None),
        ("It is 42.", False, None),
        ('{"total": NaN}', False, None),
        ('{"total": 1e999}', False, None),
        ('{"total": "\\ud800"}', False, None),
        ('{"total": ', False, None),
        ("[" * 150 + "]" * 150, False, None),
        ("```json\n{}\n```\nor\n```json\n{}\n```", False, None),
    ],
)
def test_an_answer_that_is_json_is_given_as_json_too(
    serve: Serve, said: str, is_json: bool, found: dict[str, Any] | None
) -> None:
    with Saying("vllm") as server:
        server.said = said
        body = serve({"engine": f"vllm={server.url}"}).post("/generate", json={"message": "JSON, please"}).json()
    assert (body["response_is_json"], body["response_json"]) == (is_json, found)
    assert body["response"] == said


# --- the body with a prompt -----------------------------------------------------------------------------------------


def test_a_prompt_is_answered_with_text_count_and_reason(client: TestClient, instant: InstantServer) -> None:
    answer = client.post("/generate", json={"prompt": "Hello"})
    assert answer.status_code == 200
    assert answer.json() == {"generated_text": "This is a document.", "num_tokens": 9, "finish_reason": "stop"}
    sent = asked(instant)
    assert (sent["max_tokens"], sent["temperature"], sent["top_p"]) == (512, 0.7, 0.9)
    assert answer.headers["x-request-id"]
    assert client.get("/conversations").json()["total"] == 0


def test_an_answer_that_is_cut_off_says_so(client: TestClient) -> None:
    body = client.post("/generate", json={"prompt": "Hello", "max_tokens": 1}).json()
    assert (body["generated_text"], body["finish_reason"]) == ("This", "length")


@pytest.mark.parametrize("marked", ["data:image/png;base64,", ""])
def test_a_prompt_may_come_with_an_image(client: TestClient, instant: InstantServer, marked: str) -> None:
    image = marked + base64.b64encode(png(300, 200)).decode()
    assert client.post("/generate", json={"prompt": "What is it?", "image": image}).status_code == 200
    (message,) = asked(instant)["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    assert message["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("image", ["http://127.0.0.1/x.png", "file:///etc/passwd", "data:image/png,abc", "%%%", "abc"])
def test_an_image_that_is_not_in_the_request_is_refused(client: TestClient, instant: InstantServer, image: str) -> None:
    assert client.post("/generate", json={"prompt": "What is it?", "image": image}).status_code in (400, 415)
    assert instant.requests == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "a", "prompt": "b"},
        {"message": ""},
        {"message": None},
        {"message": "a", "max_tokens": 0},
        {"message": "a", "temperature": 2.1},
        {"message": "a", "temperature": -0.1},
        {"prompt": ""},
        {"prompt": "a", "top_p": 0},
        {"prompt": "a", "top_p": 1.1},
        {"prompt": "a", "temperature": -1},
        {"prompt": "a", "max_tokens": 0},
        [],
        "message",
        None,
    ],
)
def test_a_body_outside_the_contract_is_422(client: TestClient, instant: InstantServer, body: Any) -> None:
    answer = client.post("/generate", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]
    assert instant.requests == []


@pytest.mark.parametrize(
    "raw",
    [
        b'{"message": "half of a pair: \\ud800"}',
        b'{"message": "a", "conversation_id": "\\ud800"}',
        b'{"prompt": "a", "temperature": Infinity}',
        b'{"prompt": "a", "temperature": 1e999}',
        b'{"prompt": "a", "max_tokens": 1e999}',
        b'{"message": "a"',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_proper_json_is_refused(client: TestClient, instant: InstantServer, raw: bytes) -> None:
    for path in ("/generate", "/vision", "/multimodal"):
        answer = client.post(path, content=raw, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), (path, answer.json())
    assert instant.requests == []


# --- images ---------------------------------------------------------------------------------------------------------


def test_vision_answers_about_an_uploaded_image(client: TestClient, instant: InstantServer) -> None:
    answer = client.post(
        "/vision",
        files={"file": ("receipt.jpg", RECEIPT.read_bytes(), "image/jpeg")},
        data={"message": "What is the total?", "max_tokens": "100", "temperature": "0"},
    )
    assert answer.status_code == 200
    body = answer.json()
    assert body["response"] == "This is a document."
    assert (body["model_info"]["max_tokens"], body["model_info"]["temperature"]) == (100, 0)
    (message,) = asked(instant)["messages"]
    assert message["content"][1] == {"type": "text", "text": "What is the total?"}
    goes_on = {"message": "And the date?", "conversation_id": body["conversation_id"]}
    assert client.post("/generate", json=goes_on).status_code == 200
    first, *_ = asked(instant)["messages"]
    assert first == message, "the image goes on in the conversation, as the same bytes"


def test_vision_needs_nothing_but_the_image(client: TestClient) -> None:
    assert client.post("/vision", files={"file": ("a.png", png(64, 64))}).status_code == 200
    empty = {"message": "", "conversation_id": "", "max_tokens": "", "temperature": ""}
    assert client.post("/vision", files={"file": ("a.png", png(64, 64))}, data=empty).status_code == 200
    assert client.post("/vision", json={"image": base64.b64encode(png(64, 64)).decode()}).status_code == 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_kinds_of_image_that_are_taken(client: TestClient, kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (80, 60), "white").save(file, kind)
    assert client.post("/vision", files={"file": ("image", file.getvalue())}).status_code == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"%PDF-1.7 not taken here", 415),
        (b"GIF89a........", 415),
        (b"just text", 415),
        (b"", 400),
        (png(64, 64)[:60], 400),
        (b"\xff\xd8\xff\xe0" + b"\0" * 200, 400),
    ],
)
def test_what_is_no_image_is_refused(client: TestClient, instant: InstantServer, data: bytes, status: int) -> None:
    answer = client.post("/vision", files={"file": ("image.png", data, "image/png")})
    assert answer.status_code == status, answer.json()
    assert instant.requests == []


def test_an_upload_above_the_limit_is_413(serve: Serve, instant: InstantServer) -> None:
    client = serve({"engine": f"vllm={instant.url}", "serve.upload_bytes": 5_000})
    large = RECEIPT.read_bytes()
    assert len(large) > 5_000
    assert client.post("/vision", files={"file": ("a.jpg", large)}).status_code == 413
    two = [("files", ("a.png", png(64, 64) + b"\0" * 3_000))] * 2
    assert client.post("/multimodal", files=two, data={"message": "?"}).status_code == 413
    assert instant.requests == []


def test_a_large_image_is_made_smaller_and_keeps_its_shape(serve: Serve, instant: InstantServer) -> None:
    client = serve({"engine": f"vllm={instant.url}", "serve.image_side": 560})
    assert client.post("/vision", files={"file": ("a.png", png(2000, 1000))}).status_code == 200
    url = asked(instant)["messages"][0]["content"][0]["image_url"]["url"]
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as sent:
        assert max(sent.size) <= 560
        assert sent.width / sent.height == pytest.approx(2, rel=0.1)


def test_multimodal_takes_several_images_in_both_forms(client: TestClient, instant: InstantServer) -> None:
    files = [("files", ("a.png", png(64, 64))), ("files", ("b.png", png(128, 64)))]
    assert client.post("/multimodal", files=files, data={"message": "Compare."}).status_code == 200
    kinds = [part["type"] for part in asked(instant)["messages"][0]["content"]]
    assert kinds == ["image_url", "image_url", "text"]
    images = ["data:image/png;base64," + base64.b64encode(png(64, 64)).decode()] * 3
    answer = client.post("/multimodal", json={"message": "Compare.", "images": images})
    assert answer.status_code == 200
    assert set(answer.json()) >= {"response", "conversation_id", "model_info", "response_json"}
    kinds = [part["type"] for part in asked(instant)["messages"][0]["content"]]
    assert kinds == ["image_url"] * 3 + ["text"]


def test_multimodal_refuses_what_is_not_whole(client: TestClient, instant: InstantServer) -> None:
    image = base64.b64encode(png(32, 32)).decode()
    assert client.post("/multimodal", json={"message": "Compare.", "images": []}).status_code == 422
    assert client.post("/multimodal", json={"images": [image]}).status_code == 422
    assert client.post("/multimodal", json={"message": "Compare.", "images": [image] * 9}).status_code == 422
    assert client.post("/multimodal", data={"message": "Compare."}).status_code == 415
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/multimodal", content=b"--x\r\nbroken", headers=form).status_code in (400, 422)
    assert client.post("/vision", content=b"{", headers={"content-type": "application/json"}).status_code == 422
    assert instant.requests == []


FORM = "multipart/form-data; boundary=x"
PART = b"--x\r\nContent-Disposition: form-data"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=", b"--\r\n"),
        (FORM + "; charset=none", PART + b'; name="message"\r\n\r\na\r\n--x--\r\n'),
        (FORM, PART + b"\r\n\r\nno name\r\n--x--\r\n"),
        (FORM, PART + b'; name="message"\r\n\r\n\xff\xfe\r\n--x--\r\n'),
        (FORM, PART + b"; name=\"file\"; filename*=utf-8''%ff\r\n\r\na\r\n--x--\r\n"),
        (FORM, PART + b"; name=\"file\"; filename*=none''a\r\n\r\na\r\n--x--\r\n"),
        (FORM, b"--x\r\nA: " + b"b" * 70_000 + b"\r\n\r\na\r\n--x--\r\n"),
        (FORM, b""),
        ("application/json", b'{"image": 5}'),
        ("application/json", b'{"images": [null], "message": "a"}'),
        ("application/json", b'{"images": {"a": 1}, "message": "a"}'),
        ("application/json", b'{"image": "data:image/png;base64,=="}'),
        ("application/json", b'{"image": ""}'),
        ("application/json", '{"image": "é"}'.encode()),
        ("application/json", b'{"message": "a", "max_tokens": 1' + b"0" * 5_000 + b"}"),
        ("application/json; charset=none", b'{"image": "aaaa"}'),
        ("text/plain", b"a"),
        ("", b"a"),
    ],
)
def test_bodies_that_are_none_are_refused(client: TestClient, kind: str, body: bytes) -> None:
    for path in ("/generate", "/vision", "/multimodal"):
        answer = client.post(path, content=body, headers={"content-type": kind})
        if path != "/generate" or b'"message": "a"' not in body:
            assert 400 <= answer.status_code < 500, (path, answer.json())
        assert answer.status_code < 500, (path, answer.json())


# --- when there is no answer ----------------------------------------------------------------------------------------


def test_without_a_model_the_endpoints_say_what_to_do(serve: Serve) -> None:
    client = serve()
    for path, body in (
        ("/generate", {"message": "a"}),
        ("/generate", {"prompt": "a"}),
        ("/vision", {"image": "abc"}),
        ("/multimodal", {"message": "a", "images": ["abc"]}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 501
        assert "--engine vllm=URL" in answer.json()["detail"]


def test_before_an_engine_is_there_requests_are_told_to_come_back(serve: Serve) -> None:
    client = serve({"engine": "vllm=http://127.0.0.1:9"}, wait=False)
    answer = client.post("/generate", json={"prompt": "a"})
    assert (answer.status_code, answer.json()["detail"]) == (503, "Engine not initialized")
    assert int(answer.headers["retry-after"]) > 0


def test_an_engine_that_gives_nothing_is_a_failed_generation(serve: Serve) -> None:
    class Silent(InstantServer):
        def chat(self, body: Any) -> bytes:
            choice = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
            return response(200, {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 0}})

    with Silent("vllm") as server:
        client = serve({"engine": f"vllm={server.url}"})
        for body in ({"prompt": "a"}, {"message": "a"}):
            answer = client.post("/generate", json=body)
            assert (answer.status_code, answer.json()["detail"]) == (500, "Generation failed")
        assert client.get("/conversations").json()["total"] == 0


def test_an_engine_that_does_not_answer_in_time_is_504(serve: Serve) -> None:
    with InstantServer("vllm", seconds=30) as server:
        client = serve({"engine": f"vllm={server.url}", "extraction.timeout_seconds": 0.3})
        answer = client.post("/generate", json={"message": "a"})
    assert answer.status_code == 504
    assert answer.json()["code"] == "EngineTimeout"


def test_what_the_engine_refuses_is_400_and_names_no_internals(serve: Serve) -> None:
    with InstantServer("vllm", context=40) as server:
        client = serve({"engine": f"vllm={server.url}"})
        answer = client.post("/generate", json={"message": "long " * 200})
    assert answer.status_code == 400
    assert "long long" not in json.dumps(answer.json())


def test_nobody_waits_for_more_than_the_line_holds(serve: Serve) -> None:
    held, go = threading.Event(), threading.Event()

    class Held(InstantServer):
        async def handle(self, request: Received, writer: Any) -> None:
            if request.path == "/v1/chat/completions":
                held.set()
                while not go.is_set():
                    await asyncio.sleep(0.01)
            await super().handle(request, writer)

    with Held("vllm") as server:
        client = serve({"engine": f"vllm={server.url}", "serve.requests": 1, "serve.waiting": 0})
        found: list[int] = []

        def ask() -> None:
            found.append(client.post("/generate", json={"message": "a"}).status_code)

        first = threading.Thread(target=ask)
        first.start()
        assert held.wait(60)
        answer = client.post("/generate", json={"message": "b"})
        assert (answer.status_code, answer.json()["detail"]) == (503, "the queue is full")
        assert int(answer.headers["retry-after"]) > 0
        go.set()
        first.join(60)
        assert found == [200]
