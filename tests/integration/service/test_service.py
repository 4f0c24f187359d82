"""The service as a whole: health, status, its limits, its settings from a file, and the page that shows its API."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from docflow.engines.environment import OWN, engine_environment, take_out_own
from docflow.engines.figures import figures_of
from docflow.errors import BadAnswer, ConfigError
from docflow.server.service.app import service_app
from docflow.server.service.env_file import read_env_file
from docflow.settings import ALIASES, load_settings
from tests.engines.instant import InstantServer
from tests.engines.loopback import Received, response
from tests.integration.service.conftest import Serve, ready

VLLM_METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 4.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 2.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
# TYPE vllm:prefix_cache_queries counter
vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 400.0
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 300.0
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{engine="0",model_name="tiny"} 77.0
"""


class Measured(InstantServer):
    """A vLLM that has metrics."""

    async def handle(self, request: Received, writer: Any) -> None:
        if request.path == "/metrics":
            writer.write(response(200, VLLM_METRICS.encode(), {"content-type": "text/plain"}))
        else:
            await super().handle(request, writer)


# --- health ---------------------------------------------------------------------------------------------------------


def test_health_has_the_fields_of_both_contracts(client: TestClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["engine_loaded"], body["model_loaded"]) == ("healthy", True, True)
    assert (body["model_name"], body["engine_type"]) == ("tiny", "vLLM")
    assert body["vllm_stats"] == {"engine_status": "running", "pending_requests": 0, "running_requests": 0}
    assert body["active_conversations"] == 0
    assert body["uptime"] > 0
    assert {"gpu_memory_used", "gpu_memory_total"} <= body.keys()


def test_health_is_503_until_an_engine_answers_and_again_once_it_is_away(serve: Serve) -> None:
    with InstantServer("vllm") as server:
        server.refuse()
        fast = {"servers.health_seconds": 0.05, "servers.rest_seconds": 0.05, "servers.wait_seconds": 0.2}
        client = serve({"engine": f"vllm={server.url}", "servers.failures": 1, **fast}, wait=False)
        answer = client.get("/health")
        assert answer.status_code == 503
        body = answer.json()
        assert (body["status"], body["engine_loaded"], body["model_loaded"]) == ("loading", False, False)
        assert body["vllm_stats"]["engine_status"] == "loading"
        assert client.get("/health/live").status_code == 200, "the process is well, its engine is not"
        server.listen()
        ready(client)
        server.refuse()
        assert client.post("/generate", json={"prompt": "a"}).status_code == 503
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
        server.listen()
        ready(client)
        assert client.post("/generate", json={"prompt": "a"}).status_code == 200


def test_the_embedded_engine_is_ready_though_it_does_not_converse(serve: Serve) -> None:
    body = serve().get("/health").json()
    assert (body["status"], body["engine_type"]) == ("healthy", "embedded")


def test_health_needs_no_key_and_tells_nobodys_business(serve: Serve) -> None:
    client = serve({"serve.keys": "ops:admin=0123456789abcdef-ops"})
    assert client.get("/health").status_code == 200
    assert client.get("/status/detailed").status_code == 401


# --- status ---------------------------------------------------------------------------------------------------------


def test_status_tells_limits_engines_figures_and_versions(serve: Serve) -> None:
    with Measured("vllm") as server:
        client = serve({"engine": f"vllm={server.url}", "serve.context": 4096})
        client.post("/generate", json={"message": "Hello"})
        body = client.get("/status/detailed").json()
    assert body["settings"] == {
        "llm_model": "",
        "vllm_max_model_len": 4096,
        "vllm_max_num_seqs": 256,
        "vllm_block_size": 16,
        "vllm_gpu_memory_utilization": 0.9,
        "vllm_tensor_parallel_size": 1,
        "max_tokens_cap": 512,
        "max_upload_bytes": 10_485_760,
        "max_image_side": 1280,
    }
    (engine,) = body["engines"]
    assert (engine["model_name"], engine["state"], engine["answered"]) == ("tiny", "closed", 1)
    assert (engine["running_requests"], engine["waiting_requests"]) == (4, 2)
    assert (engine["kv_cache_use"], engine["prefix_cache_hit_rate"], engine["output_tokens"]) == (0.25, 0.75, 77)
    assert body["batch"] == {"running": 0, "pending": 0, "most_running": 256, "most_pending": 512}
    performance = body["performance"]
    assert (performance["answered"], performance["failed"], performance["tokens_generated"]) == (1, 0, 9)
    assert performance["latency_mean_ms"] == performance["latency_p95_ms"] > 0
    assert performance["tokens_per_second_mean"] > 0
    assert body["versions"]["docflow"]
    assert body["uptime"] > 0
    assert isinstance(body["gpus"], list)


def test_status_of_servers_without_metrics_leaves_their_own_figures_out(client: TestClient) -> None:
    (engine,) = client.get("/status/detailed").json()["engines"]
    assert engine["kv_cache_use"] is None
    assert engine["state"] == "closed"


def test_figures_of_sglang_are_read_too() -> None:
    figures = figures_of(
        "sglang:num_running_reqs 3\nsglang:num_queue_reqs 1\nsglang:token_usage 0.5\n"
        "sglang:prompt_tokens_total 200\nsglang:cached_tokens_total 50\n"
    )
    assert (figures.running, figures.waiting, figures.kv_cache_use) == (3, 1, 0.5)
    assert figures.prefix_cache_hit_rate == 0.25


def test_figures_that_are_none_are_no_figures() -> None:
    assert figures_of("vllm:kv_cache_usage_perc NaN\n").kv_cache_use is None
    with pytest.raises(BadAnswer):
        figures_of("<html>\n<body class='a'>no metrics</body>")


# --- limits and settings --------------------------------------------------------------------------------------------


def test_limits_that_do_not_fit_together_are_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="nothing is left to ask with"):
        service_app(load_settings({"serve.context": 512, "serve.max_tokens": 512}))
    with pytest.raises(ConfigError, match="1280 x 1280") as refused:
        service_app(load_settings({"serve.context": 2048}))
    assert "MAX_IMAGE_SIDE" in refused.value.hint
    service_app(load_settings({"serve.context": 2048, "serve.image_side": 840}))


VARIABLES = {
    "LLM_HOST": ("host", "localhost"),
    "LLM_PORT": ("port", 8001),
    "LLM_MODEL": ("model", "Qwen/Qwen2.5-VL-32B-Instruct"),
    "VLLM_MAX_MODEL_LEN": ("context", 2048),
    "VLLM_MAX_NUM_SEQS": ("requests", 16),
    "VLLM_BLOCK_SIZE": ("block_size", 32),
    "VLLM_GPU_MEMORY_UTILIZATION": ("gpu_memory_utilization", 0.8),
    "VLLM_TENSOR_PARALLEL_SIZE": ("tensor_parallel_size", 2),
    "MAX_TOKENS_CAP": ("max_tokens", 256),
    "MAX_UPLOAD_BYTES": ("upload_bytes", 1_000),
    "MAX_IMAGE_SIDE": ("image_side", 640),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_of_the_contract_sets_its_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key, value = VARIABLES[name]
    monkeypatch.setenv(name, str(value))
    assert getattr(load_settings().serve, key) == value


def test_the_model_is_asked_of_engines_that_name_none(serve: Serve, instant: InstantServer) -> None:
    client = serve({"engine": f"vllm={instant.url}", "serve.model": "another"}, wait=False)
    assert client.get("/health").status_code == 503
    instant.model = "another"
    ready(client)
    assert client.post("/generate", json={"message": "a"}).json()["model_info"]["model_name"] == "another"


def test_an_engine_that_docflow_starts_does_not_see_docflows_variables() -> None:
    environment = {"VLLM_BLOCK_SIZE": "16", "VLLM_MAX_MODEL_LEN": "2048", "VLLM_LOGGING_LEVEL": "INFO", "PATH": "/bin"}
    assert engine_environment(environment) == {"VLLM_LOGGING_LEVEL": "INFO", "PATH": "/bin"}
    take_out_own(environment)
    assert environment == {"VLLM_LOGGING_LEVEL": "INFO", "PATH": "/bin"}
    assert all(any(name in names for names in ALIASES.values()) for name in OWN)


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test puts into the environment is gone after it."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


@pytest.mark.usefixtures("own_environment")
def test_a_file_of_variables_is_read_and_the_real_environment_wins(in_tmp: Path) -> None:
    (in_tmp / ".env").write_text(
        "# limits\nMAX_TOKENS_CAP=256\nexport LLM_PORT='8005'\nMAX_IMAGE_SIDE=${HOME}\nOTHER_APPS_SECRET=x\n"
        "DOCFLOW_SERVE_KEYS=a=0123456789abcdef\n",
        encoding="utf-8",
    )
    os.environ["MAX_IMAGE_SIDE"] = "640"
    assert read_env_file() == ["MAX_TOKENS_CAP", "LLM_PORT", "DOCFLOW_SERVE_KEYS"]
    assert "OTHER_APPS_SECRET" not in os.environ
    serve = load_settings().serve
    assert (serve.max_tokens, serve.port, serve.image_side) == (256, 8005, 640)
    assert serve.keys is not None
    assert "0123456789abcdef" not in repr(serve)


@pytest.mark.usefixtures("own_environment")
def test_nothing_in_a_file_of_variables_is_replaced(in_tmp: Path) -> None:
    os.environ["SECRET"] = "do not take me"
    (in_tmp / ".env").write_text("LLM_MODEL=${SECRET}\n", encoding="utf-8")
    read_env_file()
    assert os.environ["LLM_MODEL"] == "${SECRET}"


@pytest.mark.usefixtures("own_environment")
def test_a_file_of_variables_that_is_no_text_is_refused(in_tmp: Path) -> None:
    assert read_env_file() == []
    (in_tmp / ".env").write_bytes(b"LLM_MODEL=\xff\xfe")
    with pytest.raises(ConfigError):
        read_env_file()


@pytest.mark.usefixtures("own_environment")
def test_the_example_of_a_file_of_variables_is_valid_and_names_every_one(in_tmp: Path) -> None:
    example = Path(__file__).parents[3] / ".env.example"
    text = example.read_text(encoding="utf-8")
    lines = [line.lstrip("# ") for line in text.splitlines()]
    (in_tmp / ".env").write_text("\n".join(line for line in lines if "=" in line.partition(" ")[0]), encoding="utf-8")
    taken = read_env_file()
    assert VARIABLES.keys() <= set(taken)
    service_app(load_settings())


# --- the page that shows the API ------------------------------------------------------------------------------------


def test_the_page_of_the_api_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "http" not in page.text.replace("http-equiv", "")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    for name, kind in (
        ("swagger-ui.css", "text/css"),
        ("swagger-ui-bundle.js", "text/javascript"),
        ("begin.js", "text/javascript"),
    ):
        asset = client.get(f"/static/api/{name}")
        assert asset.status_code == 200
        assert asset.headers["content-type"].startswith(kind)
        assert f"/static/api/{name}" in page.text
    assert client.get("/static/api/..%2fmain.py").status_code == 404
    assert client.get("/static/api/main.py").status_code == 404


def test_the_schema_names_every_path_and_field_of_the_contracts(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    for path, methods in {
        "/generate": {"post"},
        "/vision": {"post"},
        "/multimodal": {"post"},
        "/conversations": {"get"},
        "/conversations/{conversation_id}": {"get", "delete"},
        "/health": {"get"},
        "/status/detailed": {"get"},
        "/metrics": {"get"},
    }.items():
        assert schema["paths"][path].keys() == methods
    body = schema["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert len(body["oneOf"]) == 2
    vision = schema["paths"]["/vision"]["post"]["requestBody"]["content"]
    assert vision.keys() == {"multipart/form-data", "application/json"}
    answer = schema["components"]["schemas"]["GenerationResponse"]
    assert set(answer["required"]) == {
        "response",
        "conversation_id",
        "generation_time",
        "model_info",
        "response_json",
        "response_is_json",
    }


# --- clients that leave ---------------------------------------------------------------------------------------------


def test_a_client_that_leaves_ends_the_engines_work() -> None:
    """Asked over ASGI: the client's going is told to the application as a server tells it."""
    arrived, ended = threading.Event(), threading.Event()

    class Held(InstantServer):
        async def handle(self, request: Received, writer: Any) -> None:
            if request.path != "/v1/chat/completions":
                await super().handle(request, writer)
                return
            arrived.set()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
            try:
                while not writer.is_closing():  # which it is once nobody takes what is written
                    writer.write(b" ")
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

    with Held("vllm") as server:
        app = service_app(load_settings({"engine": f"vllm={server.url}", "telemetry.log": "off"}))
        with TestClient(app) as client:
            ready(client)
            portal = client.portal
            assert portal is not None
            sent: list[Any] = []

            async def ask() -> None:
                body = b'{"message": "a"}'
                messages = [{"type": "http.request", "body": body, "more_body": False}]

                async def receive() -> Any:
                    if messages:
                        return messages.pop()
                    while not arrived.is_set():
                        await asyncio.sleep(0.01)
                    return {"type": "http.disconnect"}

                async def send(message: Any) -> None:
                    sent.append(message)

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
                await app(scope, receive, send)

            portal.call(ask)
            assert ended.wait(60), "the connection to the engine is closed: it stops writing"
            assert client.get("/conversations").json()["total"] == 0
            assert client.get("/status/detailed").json()["batch"]["running"] == 0
