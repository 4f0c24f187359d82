"""Memory that there is for models, and which backends can be used here."""

from __future__ import annotations

import pytest

from docflow.engines.local import backends
from docflow.engines.local.model import ModelConfig
from docflow.errors import ConfigError, NotEnoughMemory
from docflow.machine import Gpu
from docflow.models import memory
from docflow.models.memory import KEPT_BYTES, Memory, place_of
from docflow.sizes import GIB


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "main_memory", lambda: (50 * GIB, 64 * GIB))


def test_what_is_loaded_counts_even_where_it_was_not_read_yet(machine: None) -> None:
    config = ModelConfig("x")
    Memory().check("it", 40 * GIB, "cpu", config, [("other", 20 * GIB)])
    with pytest.raises(NotEnoughMemory, match=r"it needs 99\.0 GiB") as refused:
        Memory().check("it", 99 * GIB, "cpu", config, [("other", 20 * GIB)])
    assert refused.value.hint.startswith("Take a smaller")
    with pytest.raises(NotEnoughMemory, match=r"it needs 40\.0 GiB of memory, and 34\.0 GiB are free"):
        Memory().check("it", 40 * GIB, "cpu", config, [("other", 20 * GIB), ("more", 10 * GIB)])
    with pytest.raises(NotEnoughMemory, match=r"models\.memory_mb") as refused:
        Memory(30 * GIB).check("it", 15 * GIB, "cpu", config, [("other", 20 * GIB)])
    assert refused.value.hint == "docflow models unload other gives back 20.0 GiB."


def test_something_of_what_is_free_is_left_for_the_rest_of_the_process(machine: None) -> None:
    assert Memory().main() == (50 * GIB - KEPT_BYTES, 64 * GIB)


def test_more_gpus_than_there_are_is_refused_before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (Gpu(0, "a", "A100", 80 * GIB, 70 * GIB), Gpu(1, "b", "A100", 80 * GIB, 50 * GIB))
    monkeypatch.setattr(memory, "gpus", lambda: found)
    assert Memory().gpu(1) == (70 * GIB, 80 * GIB)
    assert Memory().gpu(2) == (100 * GIB, 160 * GIB)  # spread evenly, the fuller one bounds both
    with pytest.raises(NotEnoughMemory, match="over 4 GPUs, and there are 2"):
        Memory().check("it", 1, "cuda", ModelConfig("x", tensor_parallel_size=4), [])
    with pytest.raises(NotEnoughMemory, match="GPU memory"):
        Memory().check("it", 71 * GIB, "cuda", ModelConfig("x"), [])


def test_a_model_is_on_the_gpu_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "has_gpu", lambda: False)
    assert place_of("vllm", ModelConfig("x")) == "cpu"
    monkeypatch.setattr(memory, "has_gpu", lambda: True)
    assert place_of("vllm", ModelConfig("x")) == "cuda"
    assert place_of("transformers", ModelConfig("x", device="cpu")) == "cpu"
    assert place_of("llama_cpp", ModelConfig("x", gpu_layers=0)) == "cpu"


# --- backends ---------------------------------------------------------------------------------------------------------


def test_the_flags_tell_what_can_be_used_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, flag in (("llama_cpp", "LLAMA_CPP"), ("transformers", "TRANSFORMERS"), ("vllm", "VLLM")):
        assert getattr(backends, f"{flag}_AVAILABLE") is (name in backends.available())
        assert (backends.why_not(name) == "") is (name in backends.available())
    with pytest.raises(AttributeError):
        _ = backends.OTHER_AVAILABLE
    assert backends.canonical("llama-cpp") == "llama_cpp"
    with pytest.raises(ConfigError, match="no backend 'x'"):
        backends.canonical("x")


def test_vllm_without_a_gpu_is_no_backend_unless_it_was_built_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        def missing(self) -> str:
            return ""

    monkeypatch.setattr(backends, "backend", lambda name: Installed())
    monkeypatch.setattr(backends, "has_gpu", lambda: False)
    monkeypatch.setattr(backends, "_vllm_runs_on_the_cpu", lambda: False)
    assert "there is no GPU here" in backends.why_not("vllm")
    assert backends.available() == ("transformers", "llama_cpp")
    monkeypatch.setattr(backends, "_vllm_runs_on_the_cpu", lambda: True)
    assert backends.available()[0] == "vllm"
    monkeypatch.setattr(backends, "_vllm_runs_on_the_cpu", lambda: False)
    monkeypatch.setattr(backends, "has_gpu", lambda: True)
    assert backends.why_not("vllm") == ""
    monkeypatch.undo()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not backends.has_gpu()
