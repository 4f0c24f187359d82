"""A GPU that is asked for and that is not there is said to be missing, before vLLM is so much as imported."""

from __future__ import annotations

import sys

import pytest

from docflow.engines.local import vllm
from docflow.engines.local.model import ModelConfig
from docflow.errors import EngineUnavailable


def test_vllm_that_is_to_run_on_a_gpu_is_refused_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm.VllmBackend, "missing", lambda self: "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # none may be used, whatever the machine has
    with pytest.raises(EngineUnavailable, match="there is none that this process may use") as refused:
        vllm.BACKEND.load(ModelConfig("some/model", device="cuda"))
    assert "Without device=cuda" in refused.value.hint
    assert not refused.value.retryable
    assert "vllm" not in sys.modules
