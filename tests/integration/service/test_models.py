"""Models by name on the service: OpenAI's routes under /api/v1 and /v1, loading, unloading and listing."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from docflow.engines.local import backends
from docflow.engines.local.model import Backend
from docflow.errors import EngineUnavailable
from docflow.server.service.app import service_app
from docflow.server.service.images import Images, Shown
from docflow.server.service.serving import serve_service
from docflow.settings import load_settings
from docflow.sizes import MIB
from tests.engines.instant import InstantServer
from tests.integration.service.conftest import Serve
from tests.integration.service.gateways import PIXEL
from tests.integration.serving import serving
from tests.unit.models.words import Words, make_model

PATIENCE = 30.0
KEYS = "team=0123456789abcdef-team;ops:admin=0123456789abcdef-ops"


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Words:
    """The only backend there is."""
    made = Words()

    def found(name: str) -> Backend:
        return made

    monkeypatch.setattr(backends, "backend", found)
    monkeypatch.setattr(backends, "TABLE", {"llama_cpp": "unused"})
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_model(tmp_path, "small.gguf")
    make_model(tmp_path, "team/other.gguf")
    return tmp_path


def models(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "serve.models": True,
        "models.folder": folder,
        "models.default": "small.gguf",
        "cache_dir": folder / "cache",
        **more,
    }


@pytest.fixture
def client(words: Words, folder: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A service that runs models, and has no upstream."""
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    return serve(models(folder))


def chat(text: str = "say this again", **more: Any) -> dict[str, Any]:
    return {"model": "small.gguf", "messages": [{"role": "user", "content": text}], **more}


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- answering --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["/api/v1", "/v1"])
def test_a_chat_is_answered_by_the_model_that_it_names(client: TestClient, prefix: str) -> None:
    answer = client.post(f"{prefix}/chat/completions", json=chat(max_tokens=500, temperature=0.1, top_k=5, stop="x"))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "say this again", "refusal": None}
    assert (body["model"], body["usage"]["completion_tokens"]) == ("small.gguf", 3)


def test_the_default_answers_where_no_model_is_named(client: TestClient) -> None:
    body = chat()
    del body["model"]
    for prefix in ("/api/v1", "/v1"):
        assert client.post(f"{prefix}/chat/completions", json=body).json()["model"] == "small.gguf"
    answer = client.post("/api/v1/completions", json={"prompt": "a b c", "max_tokens": 2})
    assert (answer.json()["choices"][0]["text"], answer.json()["object"]) == ("a b", "text_completion")


@pytest.mark.parametrize("default", ["nobody.gguf", "llama3-8b"])
@pytest.mark.parametrize("more", [{}, {"stream": True}])
def test_a_default_that_is_not_here_is_said_to_be_the_default(
    words: Words, folder: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, default: str, more: dict[str, Any]
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "hub"))
    client = serve(models(folder, **{"models.default": default}))
    body = chat(**more)
    named = client.post("/api/v1/chat/completions", json=body | {"model": default})
    assert "models.default" not in named.text
    del body["model"]
    for path, sent in (
        ("/api/v1/chat/completions", body),
        ("/v1/completions", {"prompt": "a", **more}),
        ("/v1/embeddings", {"input": "a"}),
    ):
        answer = client.post(path, json=sent)
        assert answer.status_code == 404
        assert f"{default} is the default (models.default)" in answer.json()["error"]["message"]


def test_the_services_own_routes_are_answered_by_the_models_of_this_process(client: TestClient, words: Words) -> None:
    answer = client.post("/generate", json={"message": "say this again", "model": "small.gguf"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["response"] == "say this again"
    assert (body["model_info"]["model_name"], body["model_info"]["engine"]) == ("small.gguf", "llama_cpp")
    assert body["model_info"]["timings"]["tokens_generated"] == 3
    again = client.post("/generate", json={"message": "and on", "conversation_id": body["conversation_id"]}).json()
    assert (again["response"], again["conversation_id"]) == ("and on", body["conversation_id"])  # models.default
    told = client.post("/generate", json={"prompt": "a b c", "max_tokens": 2, "model": "small"}).json()
    assert told == {"generated_text": "a b", "num_tokens": 2, "finish_reason": "length"}
    form = {"message": "what is this", "model": "team/other.gguf"}
    image = io.BytesIO()
    Image.new("RGB", (64, 32), "white").save(image, "PNG")
    encoded = base64.b64encode(image.getvalue()).decode()
    seen = client.post("/vision", files={"file": image.getvalue()}, data=form)
    assert (seen.status_code, seen.json()["model_info"]["model_name"]) == (200, "team/other.gguf"), seen.text
    several = client.post(
        "/multimodal", json={"message": "and these", "images": [encoded, encoded], "model": "small.gguf"}
    )
    assert several.json()["response"] == "and these"
    assert len(words.loads) == 2
    for path, sent in (("/generate", {"message": "x"}), ("/vision", {"image": encoded})):
        refused = client.post(path, json={**sent, "model": "nobody.gguf"})
        assert (refused.status_code, "GET /models lists" in refused.json()["detail"]) == (404, True)


@pytest.mark.parametrize(
    "name", ["n" * 300, f"{'n' * 290}.gguf", "~nobody-at-all/small.gguf", "a/../small.gguf", "\x00"]
)
def test_a_name_that_no_file_can_have_is_a_model_that_is_not_here(client: TestClient, name: str) -> None:
    for path, body in (
        ("/generate", {"message": "x"}),
        ("/api/v1/chat/completions", chat()),
        ("/v1/chat/completions", chat()),
    ):
        answer = client.post(path, json=body | {"model": name})
        assert (answer.status_code, "there is no model" in answer.text) == (404, True)
    assert client.post(f"/models/{'n' * 300}/load").status_code == 404


def test_a_keys_share_counts_on_the_services_own_routes_too(words: Words, folder: Path, serve: Serve) -> None:
    asked = {"message": "say this again", "model": "small.gguf"}
    client = serve(models(folder, **{"gateway.key_requests_minute": 1}))
    assert client.post("/generate", json=asked).status_code == 200
    for path, body in (("/generate", asked), ("/api/v1/chat/completions", chat())):
        late = client.post(path, json=body)
        assert (late.status_code, int(late.headers["retry-after"]) > 0) == (429, True)
    client = serve(models(folder, **{"gateway.key_tokens_minute": 1}))
    assert client.post("/generate", json=asked).status_code == 200
    assert client.post("/generate", json=asked).status_code == 429


def test_images_for_a_model_of_this_process_stand_in_a_line_that_ends(
    words: Words, folder: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()

    def held(self: Images, images: Sequence[bytes]) -> list[Shown]:
        begun.set()
        assert go.wait(PATIENCE)
        return []

    monkeypatch.setattr(Images, "open", held)
    client = serve(models(folder, **{"serve.requests": 1, "serve.waiting": 0}))
    body = {"message": "what is this", "image": PIXEL, "model": "small.gguf"}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/vision", json=body)
        assert begun.wait(PATIENCE)
        second = client.post("/vision", json=body)
        told = client.post("/generate", json={"message": "no image", "model": "small.gguf"})
        go.set()
        assert first.result().status_code == 200
    assert (second.status_code, second.json()["code"]) == (503, "queue_full")
    assert told.status_code == 200


def test_a_model_that_an_engine_may_have_is_not_unknown_before_the_engine_was_seen(
    words: Words, folder: Path, serve: Serve
) -> None:
    with InstantServer("vllm") as gone:
        pass
    client = serve(models(folder, engine=f"vllm={gone.url}"), wait=False)
    theirs = client.post("/generate", json={"message": "x", "model": "tiny"})
    assert (theirs.status_code, theirs.json()["detail"]) == (503, "Engine not initialized")
    assert client.post("/generate", json={"message": "x", "model": "small.gguf"}).status_code == 200


def test_a_stream_has_openais_events(client: TestClient) -> None:
    body = chat(stream=True, stream_options={"include_usage": True})
    with client.stream("POST", "/api/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in events[:-1]) == "say this again"
    assert events[-1]["usage"]["completion_tokens"] == 3
    with client.stream(
        "POST", "/v1/completions", json={"model": "small.gguf", "prompt": "a b", "stream": True}
    ) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert not any("usage" in line for line in lines)


def test_images_and_a_schema_are_taken(client: TestClient) -> None:
    content = [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    schema = {"type": "object", "properties": {"seen": {"type": "string"}}, "required": ["seen"]}
    body = chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    body["messages"] = [{"role": "user", "content": content}]
    answer = client.post("/api/v1/chat/completions", json=body)
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"seen": "1 images"}


def test_embeddings_come_or_501(client: TestClient, folder: Path) -> None:
    answer = client.post("/api/v1/embeddings", json={"input": ["abc", "d"], "model": "small.gguf"})
    assert [one["embedding"][0] for one in answer.json()["data"]] == [3.0, 1.0]
    make_model(folder, "chat.gguf")
    until(lambda: client.post("/v1/embeddings", json={"input": "x", "model": "chat.gguf"}).status_code == 501)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/v1/chat/completions", chat(model="nobody.gguf"), 404),
        ("/v1/chat/completions", chat(model="nobody.gguf"), 404),
        ("/api/v1/chat/completions", {"model": "small.gguf"}, 422),
        ("/v1/chat/completions", {"model": "small.gguf"}, 400),
        ("/api/v1/chat/completions", chat(temperature=9), 422),
        ("/api/v1/chat/completions", chat(max_tokens=0), 422),
        ("/api/v1/chat/completions", chat("word " * 200), 422),
        ("/api/v1/chat/completions", chat(model="/etc/passwd"), 404),
        ("/api/v1/chat/completions", chat(model="../small.gguf"), 404),
        ("/api/v1/completions", {"model": "small.gguf"}, 422),
        ("/api/v1/completions", {"model": "small.gguf", "prompt": ["a", "b"]}, 422),
        ("/api/v1/embeddings", {"model": "small.gguf"}, 422),
    ],
)
def test_what_cannot_be_answered_has_its_status_and_openais_shape(
    client: TestClient, path: str, body: dict[str, Any], status: int
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_a_body_that_is_no_json_is_422(client: TestClient) -> None:
    assert client.post("/api/v1/chat/completions", content=b"{oops").status_code == 422


def test_requests_are_not_serialised(client: TestClient, words: Words) -> None:
    client.post("/models/small.gguf/load")
    words.write.clear()
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(client.post, "/api/v1/chat/completions", json=chat()) for _ in range(5)]
        for _ in asked:
            assert words.writing.acquire(timeout=PATIENCE)
        words.write.set()
        assert [one.result().status_code for one in asked] == [200] * 5
    assert words.most_at_once == 5


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/v1/chat/completions", chat("word " * 90)), ("/generate", {"message": "word " * 90, "model": "small.gguf"})],
)
def test_a_client_that_goes_away_ends_the_writing(words: Words, folder: Path, path: str, body: dict[str, Any]) -> None:
    words.write.clear()
    given = {key.replace(".", "__"): value for key, value in models(folder).items()}
    with serving(folder / "data", **given) as address:
        asked = threading.Thread(target=_given_up, args=(address + path, body))
        asked.start()
        assert words.writing.acquire(timeout=PATIENCE)
        asked.join(PATIENCE)
        until(lambda: httpx.get(f"{address}/models").json()["models"])
        words.write.set()
        until(lambda: all(one["in_use"] == 0 for one in httpx.get(f"{address}/models").json()["models"]))


def _given_up(url: str, body: dict[str, Any]) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, json=body, timeout=httpx.Timeout(PATIENCE, read=0.3))


# --- managing ---------------------------------------------------------------------------------------------------------


def test_a_service_with_models_and_no_upstream_is_healthy_and_lists_them(client: TestClient) -> None:
    assert client.get("/health").status_code == 200
    listed = client.get("/models").json()
    assert (listed["active_backend"], listed["default"]) == ("llama_cpp", "small.gguf")
    found = {one["id"]: one for one in listed["models"]}
    assert (found["small.gguf"]["backend"], found["small.gguf"]["loaded"], found["small.gguf"]["fits"]) == (
        "llama_cpp",
        False,
        True,
    )
    assert (found["llama3-8b"]["alias"], found["llama3-8b"]["present"]) == (
        "meta-llama/Meta-Llama-3-8B-Instruct",
        False,
    )
    assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["small.gguf", "team/other.gguf"]
    assert client.get("/v1/models/small.gguf").status_code == 200


def test_a_model_is_loaded_and_unloaded_by_its_name_slashes_and_all(client: TestClient, words: Words) -> None:
    answer = client.post("/models/team/other.gguf/load", json={"config": {"max_model_len": 64}, "backend": "llama-cpp"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["loaded"], answer.json()["context"], answer.json()["settings"]["context"]) == (True, 64, 64)
    assert client.post("/models/team%2Fother.gguf/load").status_code == 200
    assert len(words.loads) == 1
    assert client.post("/models/team/other.gguf/load", json={"config": {"context": 65}}).status_code == 409
    assert client.post("/models/team/other.gguf/unload").json() == {"id": "team/other.gguf", "unloaded": True}
    assert client.post("/models/team/other.gguf/unload").json()["unloaded"] is False
    assert words.open == []


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("nobody", None, 404),
        ("/etc/passwd", None, 404),
        ("llama3-8b", None, 404),
        ("small.gguf", {"backend": "vllm"}, 503),
        ("small.gguf", {"backend": "none"}, 422),
        ("small.gguf", {"config": {"nothing": 1}}, 422),
        ("small.gguf", {"config": {"quantization": "squeezellm"}}, 422),
        ("small.gguf", {"config": {"trust_remote_code": True}}, 422),
        ("small.gguf", {"config": {"projector": "/etc/passwd"}}, 422),
        ("huge.gguf", None, 507),
        ("bad.gguf", None, 500),
    ],
)
def test_what_cannot_be_loaded_has_its_status(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: Any, status: int
) -> None:
    monkeypatch.setattr(backends, "why_not", lambda name: "" if name == "llama_cpp" else "it is not installed")
    monkeypatch.setattr(backends, "TABLE", dict.fromkeys(("vllm", "transformers", "llama_cpp"), "unused"))
    make_model(folder, "huge.gguf", 1 << 43)
    (folder / "bad.gguf").write_bytes(b"broken")
    answer = client.post(f"/models/{name}/load", json=body)
    assert answer.status_code == status, answer.text
    assert str(folder) not in answer.text


@pytest.mark.parametrize(
    ("body", "sent_as", "said"),
    [
        (b"{oops", "application/json", "the body is not valid JSON"),
        (b'"small"', "application/json", "the body is no JSON object"),
        (b"[1]", "application/json", "the body is no JSON object"),
        (b'{"config": {}}', "application/x-www-form-urlencoded", "Content-Type: application/json"),  # as curl -d sends
        (b'{"context": 64}', "application/json", "context: there is no such field"),
        (b'{"config": {"context": "long"}}', "application/json", "config.context: "),
        (b'{"config": 64}', "application/json", "config: "),
    ],
)
def test_a_load_whose_body_cannot_be_says_what_is_wrong_with_it(
    client: TestClient, words: Words, body: bytes, sent_as: str, said: str
) -> None:
    answer = client.post("/models/small.gguf/load", content=body, headers={"content-type": sent_as})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert words.loads == []


def test_another_load_meanwhile_is_409_and_the_same_one_is_shared(client: TestClient, words: Words) -> None:
    words.go.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(client.post, "/models/small.gguf/load")
        until(lambda: words.loads)
        same = pool.submit(client.post, "/models/small.gguf/load")
        other = client.post("/models/team/other.gguf/load")
        assert (other.status_code, other.json()["code"]) == (409, "ModelBusy")
        words.go.set()
        assert (first.result().status_code, same.result().status_code) == (200, 200)
    assert len(words.loads) == 1


def test_too_little_memory_beside_what_is_loaded_is_507(words: Words, folder: Path, serve: Serve) -> None:
    make_model(folder, "a.gguf", 60 * MIB)
    make_model(folder, "b.gguf", 60 * MIB)
    client = serve(models(folder, **{"models.memory_mb": 100}))
    assert client.post("/models/a.gguf/load").status_code == 200
    refused = client.post("/models/b.gguf/load")
    assert (refused.status_code, "docflow models unload a.gguf" in refused.json()["detail"]) == (507, True)
    assert client.post("/v1/completions", json={"model": "b.gguf", "prompt": "x"}).status_code == 507


def test_keys_guard_the_models_and_only_an_admin_loads(words: Words, folder: Path, serve: Serve) -> None:
    client = serve(models(folder, **{"serve.keys": KEYS}))
    team, ops = ({"authorization": f"Bearer 0123456789abcdef-{name}"} for name in ("team", "ops"))
    assert client.get("/models").status_code == 401
    assert client.post("/api/v1/chat/completions", json=chat()).status_code == 401
    assert client.post("/models/small.gguf/load", headers=team).status_code == 403
    assert client.post("/models/small.gguf/load", headers=ops).status_code == 200
    assert client.post("/api/v1/chat/completions", json=chat(), headers=team).status_code == 200
    assert client.post("/models/small.gguf/unload", headers=team).status_code == 403


def test_upstreams_answer_for_all_models_but_the_managed_ones(words: Words, folder: Path, serve: Serve) -> None:
    with InstantServer("vllm") as upstream:
        client = serve(models(folder, engine=f"vllm={upstream.url}"))
        assert client.post("/v1/chat/completions", json=chat()).json()["model"] == "small.gguf"
        theirs = client.post("/v1/chat/completions", json=chat(model="tiny"))
        assert theirs.headers["x-docflow-upstream"] == "vllm"
        named_none = chat()
        del named_none["model"]
        assert client.post("/v1/chat/completions", json=named_none).headers["x-docflow-upstream"] == "vllm"
        assert client.post("/api/v1/chat/completions", json=named_none).json()["model"] == "small.gguf"
        assert {"tiny", "small.gguf"} <= {one["id"] for one in client.get("/v1/models").json()["data"]}


def test_without_models_the_routes_say_how_to_turn_them_on(serve: Serve) -> None:
    client = serve({})
    for answer in (client.get("/models"), client.post("/api/v1/chat/completions", json=chat())):
        assert (answer.status_code, "docflow serve --models" in answer.text) == (501, True)


def test_a_service_without_any_backend_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backends, "TABLE", {})
    with pytest.raises(EngineUnavailable, match="no backend for models"):
        serve_service(load_settings(models(tmp_path, **{"serve.port": 0})), lambda url: None)
    assert "startup failed" not in caplog.text  # the error says it, and says it once


def test_closing_the_service_gives_the_models_back(words: Words, folder: Path) -> None:
    with TestClient(service_app(load_settings(models(folder)))) as client:
        client.post("/models/small.gguf/load")
        assert len(words.open) == 1
    assert words.open == []


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCFLOW_TELEMETRY__LOG", "off")
