"""Why an engine did not start, by what stands in its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from docflow.deploy.local.failing import reason_of
from docflow.deploy.local.model_facts import Model
from docflow.errors import BrokenModel, ConfigError, DocflowError, EngineUnavailable, ModelNotFound, NotEnoughMemory

MODEL = Model("org/name", None, "org/name")


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.02 GiB",
            NotEnoughMemory,
            "ran out of memory",
        ),
        ("ValueError: No available memory for the cache blocks.", NotEnoughMemory, "ran out of memory"),
        ("RuntimeError: Not enough memory. Please try to increase --mem-fraction-static", NotEnoughMemory, "memory"),
        ("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.", ModelNotFound, "has no model"),
        ("huggingface_hub.errors.GatedRepoError: 403 Client Error.", ModelNotFound, "licence"),
        ("OSError: We couldn't connect to 'https://huggingface.co' to load the files", ModelNotFound, "reached"),
        ("ValueError: Model architectures ['Foo'] are not supported for now.", BrokenModel, "Foo"),
        ("safetensors_rust.SafetensorError: Error while deserializing header", BrokenModel, "damaged"),
        ("api_server.py: error: unrecognized arguments: --no-such-flag", ConfigError, "--no-such-flag"),
        ("OSError: [Errno 98] error while attempting to bind: address already in use", EngineUnavailable, "port"),
        ("OSError: [Errno 28] No space left on device", EngineUnavailable, "disk is full"),
        ("ModuleNotFoundError: No module named 'vllm'", EngineUnavailable, "environment of vllm is broken"),
    ],
)
def test_a_reason_is_recognised(line: str, kind: type[DocflowError], said: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"INFO loading\nTraceback (most recent call last):\n  File x\n{line}\nINFO shutting down\n")
    error = reason_of("vllm", MODEL, log, 1)
    assert type(error) is kind
    assert said in error.message
    assert error.hint


def test_what_is_not_recognised_is_shown_with_the_place_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("INFO 11-21 to avoid running out of memory, ...\n" + "\n".join(f"line {n}" for n in range(100)))
    error = reason_of("vllm", MODEL, log, 7)
    assert "ended with 7" in error.message
    assert "line 99" in error.message
    assert "line 80" not in error.message
    assert str(log) in error.hint


def test_an_engine_that_ended_without_a_word_is_said_to_have_written_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    assert reason_of("vllm", MODEL, log, 0).message == "vllm ended with 0 before it was ready, and wrote nothing"


def test_what_the_system_killed_had_too_little_memory(tmp_path: Path) -> None:
    assert isinstance(reason_of("vllm", MODEL, tmp_path / "none", -9), NotEnoughMemory)


def test_a_warning_in_the_log_of_one_that_is_slow_is_no_reason(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("WARNING ImportError: optional thing\n")
    assert "not ready in time" in reason_of("vllm", MODEL, log, None).message
