"""How upstreams, substitutes, looks and policies are named, and what is refused at the start, by its own words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from docflow.errors import ConfigError
from docflow.server.service.gateway.outside import LitellmUpstream
from docflow.server.service.gateway.stream import Events, data_of
from docflow.server.service.gateway.upstreams import Registry
from docflow.settings import GatewaySettings, load_settings
from tests.integration.service.gateways import Upstream, chat, serving

CHAT = "/v1/chat/completions"
BOTH = "vllm=http://a:1;sglang=http://b:2"


def registry(upstreams: str = BOTH, **more: Any) -> Registry:
    flags = {f"gateway.{name}": value for name, value in more.items()}
    return Registry.of(load_settings({"gateway.upstreams": upstreams, **flags}))


def test_names_are_free_and_kinds_come_from_them() -> None:
    found = registry(
        "vllm=http://vllm:8001;gpu2-sglang=https://b/v1?model=q&weight=3;mine=http://c;gpt=litellm://o/gpt"
    )
    assert [(one.name, one.kind, one.health_path) for one in found.upstreams] == [
        ("vllm", "vllm", "/v1/models"),
        ("gpu2-sglang", "sglang", "/health"),
        ("mine", "openai", "/v1/models"),
        ("gpt", "litellm", ""),
    ]
    assert (found.upstreams[1].target, found.upstreams[1].model, found.upstreams[1].weight) == ("https://b", "q", 3)
    assert found.default is not None
    assert found.default.targets == (("vllm", 1.0),)


def test_each_is_looked_at_in_its_own_way() -> None:
    found = registry(health="sglang=/v1/models,every=2.5,within=1;vllm=/health", health_seconds=7)
    vllm, sglang = found.upstreams
    assert (vllm.health_path, vllm.health_seconds, vllm.health_timeout) == ("/health", 7, 5)
    assert (sglang.health_path, sglang.health_seconds, sglang.health_timeout) == ("/v1/models", 2.5, 1)


def test_substitutes_are_tried_in_their_order() -> None:
    found = registry("a=http://a;b=http://b;c=http://c", fallbacks="a=c,b;c=b")
    assert found.fallbacks == {"a": ("c", "b"), "c": ("b",)}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"upstreams": "vllm"}, "vllm"),
        ({"upstreams": "vllm=http://a;=http://b"}, "=http://b"),
        ({"upstreams": "vllm=ftp://a"}, "ftp"),
        ({"upstreams": "vllm=vllm:8001"}, "vllm=vllm:8001"),
        ({"upstreams": "vllm=http://me:s3cret@a:1;vllm=http://b"}, "'vllm' is taken"),
        ({"upstreams": "vllm=http://"}, "vllm=http://"),
        ({"upstreams": "vllm=http://a:0"}, "vllm=http://a:0"),
        ({"upstreams": "vllm=http://a?color=red"}, "color"),
        ({"upstreams": "gpt=litellm://"}, "gpt=litellm://"),
        ({"upstreams": ";"}, "no upstream"),
        ({"fallbacks": "vllm"}, "vllm"),
        ({"fallbacks": "vllm=nobody"}, "nobody"),
        ({"fallbacks": "nobody=vllm"}, "nobody"),
        ({"fallbacks": "vllm=vllm"}, "vllm=vllm"),
        ({"fallbacks": "vllm=sglang,sglang"}, "vllm=sglang,sglang"),
        ({"fallbacks": "vllm=sglang;sglang=vllm"}, "circle"),
        ({"health": "vllm=health"}, "vllm=health"),
        ({"health": "nobody=/health"}, "nobody"),
        ({"health": "vllm=/health,every=0"}, "every=0"),
        ({"route_policies": "{"}, "JSON"),
        ({"route_policies": "[]"}, "JSON object"),
        ({"route_policies": '{"speech": {}}'}, "speech"),
        ({"route_policies": '{"chat": {"strategy": "random", "targets": [{"name": "vllm"}]}}'}, "random"),
        ({"route_policies": '{"chat": {"targets": [{"name": "vllm"}]}}'}, "None"),
        ({"route_policies": '{"chat": {"strategy": "weighted", "targets": []}}'}, "no targets"),
        ({"route_policies": '{"chat": {"strategy": "weighted", "targets": [{"name": "x"}]}}'}, "'x'"),
        ({"route_policies": '{"chat": {"strategy": "weighted", "targets": [{"name": "vllm", "weight": 0}]}}'}, "vllm"),
        ({"route_policies": '{"chat": {"strategy": "weighted", "targets": [{"name": "vllm", "wait": 1}]}}'}, "target"),
    ],
)
def test_what_is_not_well_formed_is_refused_by_its_name(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        registry(**given)
    assert named in refused.value.message
    assert "s3cret" not in refused.value.message + refused.value.hint


def test_the_service_does_not_start_with_what_is_not_well_formed(tmp_path: Path) -> None:
    named = {"GATEWAY_UPSTREAMS": "vllm=http://me:s3cret@a:1;vllm=http://b", "DOCFLOW_SERVE__PORT": "0"}
    command = [sys.executable, "-m", "docflow", "serve"]
    ended = subprocess.run(command, env=os.environ | named, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert "the name 'vllm' is taken" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "s3cret" not in ended.stderr + ended.stdout


def test_the_gateways_variables_name_engines_too_where_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_UPSTREAMS", "gpt-4o-mini=litellm://gpt-4o-mini")
    assert load_settings().engine == "embedded"
    monkeypatch.setenv("GATEWAY_UPSTREAMS", "mine=http://c;vllm=http://a:1;gpt=litellm://x;sglang=http://b:2")
    monkeypatch.setenv("GATEWAY_FALLBACKS", "mine=vllm;vllm=gpt,sglang")
    settings = load_settings()
    assert (settings.engine, settings.fallbacks) == ("vllm=http://a:1;sglang=http://b:2", "vllm=sglang")
    found = Registry.of(settings)
    assert [one.name for one in found.upstreams] == ["mine", "vllm", "gpt", "sglang"]
    assert found.fallbacks == {"mine": ("vllm",), "vllm": ("gpt", "sglang")}


# --- events -------------------------------------------------------------------------------------------------------

STREAM = (
    b'data: {"choices":[{"delta":{"content":"\\"usage\\":{"}}],"usage":null}\r\n\r\n'
    b": a comment\n\n"
    b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_events_are_whole_wherever_the_stream_is_cut(size: int) -> None:
    for uncounted in (False, True):
        events = Events(uncounted)
        pieces = [events.feed(STREAM[at : at + size]) for at in range(0, len(STREAM), size)]
        sent = b"".join(pieces) + events.finish()
        left_out = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
        assert sent == (STREAM.replace(left_out, b"") if uncounted else STREAM)
        assert all(piece.endswith((b"\n\n", b"\r\n\r\n")) for piece in pieces if piece)
        assert events.usage == {"prompt_tokens": 1, "completion_tokens": 2}
        assert events.model == "m"


def test_an_event_that_is_no_json_is_passed_on() -> None:
    assert data_of(b"data: [DONE]\n\n") is None
    assert Events(True).feed(b'data: {"usage": {broken\n\n') == b'data: {"usage": {broken\n\n'


# --- models of others ---------------------------------------------------------------------------------------------


class Chunk(SimpleNamespace):
    def model_dump_json(self, **_: Any) -> str:
        return json.dumps(vars(self))


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A package that answers as litellm does; ``asked`` is what it was asked."""
    made: Any = ModuleType("litellm")
    made.asked, made.error, made.missing = [], None, []

    async def acompletion(**given: Any) -> Any:
        made.asked.append(given)
        if made.error is not None:
            raise made.error
        if not given.get("stream"):
            return Chunk(model="gpt", choices=[{"message": {"content": "hi"}}], usage={"prompt_tokens": 1})

        async def events() -> AsyncIterator[Chunk]:
            yield Chunk(choices=[{"delta": {"content": "hi"}}])
            yield Chunk(choices=[{"index": 0, "delta": {}}], usage={"prompt_tokens": 1, "completion_tokens": 1})

        return events()

    made.acompletion = made.atext_completion = made.aembedding = acompletion
    made.validate_environment = lambda model: {"keys_in_environment": not made.missing, "missing_keys": made.missing}
    monkeypatch.setitem(sys.modules, "litellm", made)
    return made  # type: ignore[no-any-return]


def test_a_model_of_others_stands_in_and_gets_no_address_from_a_request(litellm: Any) -> None:
    with Upstream() as a:
        upstreams = f"vllm={a.url};gpt=litellm://openai/gpt-4o-mini"
        with serving(gateway__upstreams=upstreams, gateway__fallbacks="vllm=gpt") as client:
            assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["tiny", "gpt"]
            a.status = 500
            body = chat(api_base="http://evil", api_key="k", base_url="http://evil", temperature=0.5)
            answer = client.post(CHAT, json=body)
            assert answer.headers["x-docflow-upstream"] == "gpt"
            stream = client.post(CHAT, json=chat(stream=True))
    given, streamed = litellm.asked
    assert given["model"] == "openai/gpt-4o-mini"
    assert given["temperature"] == 0.5
    assert not {"api_base", "api_key", "base_url"} & given.keys()
    assert streamed["stream_options"] == {"include_usage": True}
    assert stream.text.endswith("data: [DONE]\n\n")
    assert "usage" not in stream.text


def test_what_a_provider_says_of_keys_is_not_passed_on(litellm: Any) -> None:
    class BadRequestError(Exception):
        status_code = 400

    with serving(gateway__upstreams="gpt=litellm://gpt") as client:
        litellm.error = BadRequestError("Incorrect key sk-12***")
        refused = client.post(CHAT, json=chat())
        litellm.error = RuntimeError("sk-12***")
        failed = client.post(CHAT, json=chat())
    assert (refused.status_code, failed.status_code) == (400, 502)
    assert "sk-" not in refused.text + failed.text


def test_without_the_package_or_a_key_the_service_says_what_is_missing(
    litellm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spec,) = registry("gpt=litellm://gpt-4o-mini").upstreams
    litellm.missing.append("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        LitellmUpstream(spec, GatewaySettings())
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ConfigError, match="litellm") as refused:
        LitellmUpstream(spec, GatewaySettings())
    assert "docflow[litellm]" in refused.value.hint
