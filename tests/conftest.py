"""Fixtures for all tests: nothing of a test touches the user's cache, configuration or Prefect."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine is no failure. (Where CI is set, Hypothesis's own profile has no deadline either.)
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCFLOW_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    servers = ("DOCFLOW_ENGINE", "DOCFLOW_ENGINES", "DOCFLOW_FALLBACKS", "DOCFLOW_API_KEY")
    gateway = ("GATEWAY_UPSTREAMS", "GATEWAY_FALLBACKS", "GATEWAY_ROUTE_POLICIES", "GATEWAY_HEALTH")
    for name in ("PREFECT_API_URL", "PREFECT_HOME", *servers, *gateway):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
