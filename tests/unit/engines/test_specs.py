"""How engines are named, and who stands in for whom."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow import engines
from docflow.engines.embedded.engine import EmbeddedEngine
from docflow.engines.pool import Pool
from docflow.engines.specs import EngineSpec, Roles, parse_roles
from docflow.errors import ConfigError
from docflow.settings import Settings, explain_settings, load_settings, without_credentials

SECRET = "hunter2"


def tiers(roles: Roles) -> list[list[str]]:
    return [[spec.shown for spec in tier] for tier in (roles.engines, *roles.fallbacks)]


def test_a_server_is_named_by_kind_and_url_with_weight_and_model() -> None:
    spec = EngineSpec.parse("sglang=http://gpu1:30000/v1?weight=2&model=Qwen/Qwen2-VL-7B-Instruct")
    assert (spec.name, spec.target) == ("sglang", "http://gpu1:30000")
    assert (spec.weight, spec.model) == (2.0, "Qwen/Qwen2-VL-7B-Instruct")
    assert spec.label == "sglang at gpu1:30000"


def test_engines_share_the_work_and_fallbacks_follow_in_order() -> None:
    roles = parse_roles("sglang=http://a:1; sglang=http://b:1;", ["vllm=http://c:1", "embedded"])
    assert tiers(roles) == [["sglang=http://a:1", "sglang=http://b:1"], ["vllm=http://c:1"], ["embedded"]]


def test_fallbacks_may_name_who_of_the_engines_stands_in() -> None:
    upstreams = "vllm=http://v:8001;sglang=http://s:8002"
    assert tiers(parse_roles(upstreams, "vllm=sglang")) == [["vllm=http://v:8001"], ["sglang=http://s:8002"]]
    assert tiers(parse_roles(upstreams, "sglang=vllm;embedded")) == [
        ["sglang=http://s:8002"],
        ["vllm=http://v:8001"],
        ["embedded"],
    ]


@pytest.mark.parametrize(
    ("given", "fallbacks", "named"),
    [
        ("sglang", "", "sglang"),
        ("sglang=", "", "sglang="),
        ("embedded=http://a", "", "embedded=http://a"),
        ("mlx=http://a:1", "", "mlx"),
        ("http://a:1", "", "'http://a:1' does not say which kind of server"),
        ("sglang=ftp://a:1", "", "sglang=ftp://a:1"),
        ("sglang=a:30000", "", "sglang=a:30000"),
        ("sglang=http://", "", "sglang=http://"),
        ("sglang=http://a:1#x", "", "sglang=http://a:1#x"),
        ("sglang=http://a:99999", "", "sglang=http://a:99999"),
        ("sglang=http://a:1?weight=0", "", "weight=0"),
        ("sglang=http://a:1?weight=nan", "", "weight=nan"),
        ("sglang=http://a:1?speed=2", "", "speed=2"),
        ("sglang=http://a:1?model=", "", "model="),
        ("sglang=http://a:1;sglang=http://a:1/", "", "sglang=http://a:1"),
        ("sglang=http://a:1", "sglang=http://a:1", "sglang=http://a:1"),
        ("sglang=http://a:1", "sglang=vllm", "sglang=vllm"),
        ("sglang=http://a:1;vllm=http://b:1", "sglang=vllm;vllm=sglang", "sglang=vllm"),
        ("sglang=http://a:1;vllm=http://b:1", "sglang=vllm,vllm", "sglang=vllm,vllm"),
        ("sglang=http://a:1", "sglang=sglang", "sglang=sglang"),
        (" ; ", "", "no engine is named"),
    ],
)
def test_a_bad_entry_is_refused_by_name(given: str, fallbacks: str, named: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_roles(given, fallbacks)
    assert named in raised.value.message


GOOD = [f"http://me:{SECRET}@gpu1:30000", f"http://{SECRET}@gpu1:30000", f"http://me:{SECRET}@x@gpu1:30000"]
BAD = [
    f"http://me:{SECRET}/x@gpu1:30000",
    f"http://me:{SECRET};x@gpu1:30000",
    f"http://me:{SECRET}",
    f"ftp://me:{SECRET}@gpu1",
    f"http://me:{SECRET}@gpu1:30000?speed=1",
    f"http://me:{SECRET} @gpu1:30000",
]


@pytest.mark.parametrize("url", GOOD)
def test_credentials_are_kept_and_not_shown(url: str) -> None:
    spec = EngineSpec.parse(f"sglang={url}")
    assert SECRET in spec.target
    assert SECRET not in f"{spec!r} {spec.shown} {spec.label}"


@pytest.mark.parametrize("given", ["sglang", "vllm", "nobody=x"])
def test_who_names_no_server_is_told_of_those_that_were_started_here(given: str) -> None:
    with pytest.raises(ConfigError) as raised:
        EngineSpec.parse(given)
    assert "auto" in raised.value.hint
    assert "docflow engines up" in raised.value.hint


@pytest.mark.parametrize("url", BAD)
def test_a_refused_url_is_named_without_its_credentials(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_roles(f"sglang={url}")
    assert SECRET not in raised.value.message + raised.value.hint
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("url", GOOD + BAD)
def test_settings_do_not_show_credentials(url: str) -> None:
    assert SECRET not in repr(Settings(engine=f"sglang={url}", fallbacks=f"vllm={url}"))
    shown = {setting.key: setting.value for setting in explain_settings({"engine": f"sglang={url}"})}
    assert shown["engine"].startswith("sglang=")
    assert SECRET not in shown["engine"]


@given(st.text(alphabet="abc:/@;?#[]123 \n="))
def test_any_text_is_a_list_of_engines_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        roles = parse_roles(f"sglang={text}", "vllm=http://last:1")
        assert all("@" not in spec.shown.partition("?")[0] for spec in roles.engines)


def test_a_text_without_credentials_stays_as_it_is() -> None:
    text = "sglang=http://[::1]:30000/path?model=a@b;vllm=https://host;embedded"
    assert without_credentials(text) == text


def test_one_local_engine_needs_no_pool_and_has_no_fallback() -> None:
    engine = engines.create("embedded", "vllm=http://gpu3:8000")
    assert isinstance(engine, EmbeddedEngine)
    engine.close()


def test_one_server_is_a_pool_already() -> None:
    pool = engines.create("sglang=http://gpu1:30000?model=tiny", "vllm=http://gpu3:8000;embedded")
    assert isinstance(pool, Pool)
    assert (pool.name, pool.model) == ("sglang", "tiny")
    assert [(server.kind, server.fallback) for server in pool.status()] == [
        ("sglang", False),
        ("vllm", True),
        ("embedded", True),
    ]
    pool.close()


# --- settings -----------------------------------------------------------------------------------------------------


def test_servers_are_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_UPSTREAMS", "vllm=http://a:1")
    monkeypatch.setenv("GATEWAY_FALLBACKS", "vllm=sglang")
    assert load_settings().engine == "vllm=http://a:1"
    assert load_settings().fallbacks == "vllm=sglang"
    monkeypatch.setenv("DOCFLOW_ENGINES", "sglang=http://a:1;sglang=http://b:1")
    monkeypatch.setenv("DOCFLOW_FALLBACKS", "embedded")
    monkeypatch.setenv("DOCFLOW_API_KEY", SECRET)
    settings = {setting.key: setting for setting in explain_settings()}
    assert settings["engine"].value == "sglang=http://a:1;sglang=http://b:1"
    assert settings["engine"].origin == "DOCFLOW_ENGINES"
    assert settings["fallbacks"].origin == "DOCFLOW_FALLBACKS"
    assert settings["servers.api_key"].origin == "DOCFLOW_API_KEY"
    assert SECRET not in str(settings)
    monkeypatch.setenv("DOCFLOW_ENGINE", "embedded")
    assert load_settings().engine == "embedded"
    assert load_settings({"engine": ["sglang=http://c:1", "sglang=http://d:1"]}).engine.endswith(";sglang=http://d:1")


def test_a_file_may_list_engines(in_tmp: Path) -> None:
    (in_tmp / "docflow.toml").write_text('engine = ["sglang=http://a:1", "sglang=http://b:1"]\n', encoding="utf-8")
    assert load_settings().engine == "sglang=http://a:1;sglang=http://b:1"
