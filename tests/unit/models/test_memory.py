"""Memory that there is for models, and which backends can be used here."""

from __future__ import annotations

from pathlib import Path

import pytest

from docflow.engines.local import backends
from docflow.engines.local.model import ModelConfig
from docflow.errors import ConfigError, NotEnoughMemory
from docflow.models import memory
from docflow.models.memory import KEPT_BYTES, MIB, Memory, gib, place_of
from docflow.telemetry.gpu import Gpu, Gpus

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group inside another, each with limits to be written."""
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    monkeypatch.setattr(memory, "_of_the_machine", lambda: (50 * GIB, 64 * GIB))
    monkeypatch.setattr(memory, "_limits", lambda: memory._up(tmp_path, "/outer/inner", *V2))
    return tmp_path


V2 = ("memory.max", "memory.current", "inactive_file")


def limit(folder: Path, most: str, used: int, idle: int = 0) -> None:
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {idle}\nfile 9\n")


def test_the_narrowest_container_around_this_process_counts(machine: Path) -> None:
    assert Memory().main() == (50 * GIB - KEPT_BYTES, 64 * GIB)
    limit(machine / "outer", str(8 * GIB), 3 * GIB, GIB)  # of which 1 GiB are pages that nobody reads
    limit(machine / "outer" / "inner", "max", 2 * GIB)
    assert Memory().main() == (6 * GIB - KEPT_BYTES, 8 * GIB)
    limit(machine / "outer" / "inner", str(4 * GIB), 4 * GIB)
    assert Memory().main() == (0, 4 * GIB)


def test_what_is_loaded_counts_even_where_it_was_not_read_yet(machine: Path) -> None:
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


def test_this_machine_tells_what_is_free() -> None:
    free, total = Memory().main()
    assert 0 <= free < total


def test_more_gpus_than_there_are_is_refused_before_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Gpus, "read", lambda self: [Gpu("0", 10 * GIB, 80 * GIB, 0.1), Gpu("1", 30 * GIB, 80 * GIB, 0.0)]
    )
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


def test_sizes_are_never_shown_as_less_than_they_are() -> None:
    assert [gib(size) for size in (1, MIB, MIB + 1, 3 * GIB // 2)] == ["1 MiB", "1 MiB", "2 MiB", "1.5 GiB"]


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
