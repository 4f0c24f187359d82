"""Fixtures of the deployments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from docflow.deploy.backendai import life
from tests.unit.deploy import backendai_manager
from tests.unit.deploy.backendai_manager import ACCESS, SECRET

_VARIABLES = (
    *("BACKEND_AI_ENDPOINT", "BACKEND_AI_ACCESS_KEY", "BACKEND_AI_SECRET_KEY", "BACKEND_AI_IMAGE"),
    *("BACKEND_ENDPOINT", "BACKEND_ACCESS_KEY", "BACKEND_SECRET_KEY"),
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "VLLM_API_KEY", "DOCFLOW_API_KEY", "DOCFLOW_DEBUG"),
    *("VLLM_USE_MODELSCOPE", "VLLM_WORKER_MULTIPROC_METHOD"),
)


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, no keys of anybody's, and a Hub that nobody reaches."""
    for name in _VARIABLES:
        monkeypatch.setenv(name, "")  # to be put back, whatever a command sets
        monkeypatch.delenv(name)
    monkeypatch.setenv("DOCFLOW_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def manager(clean: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[backendai_manager.Manager]:
    """A manager, the keys for it in the environment, and no pauses between looks."""
    monkeypatch.setattr(life, "LOOK_SECONDS", 0.01)
    with backendai_manager.running() as running:
        monkeypatch.setenv("BACKEND_AI_ENDPOINT", running.endpoint)
        monkeypatch.setenv("BACKEND_AI_ACCESS_KEY", ACCESS)
        monkeypatch.setenv("BACKEND_AI_SECRET_KEY", SECRET)
        yield running
