"""vLLM's own log lines go where docflow's go, and to no terminal."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Iterator

import pytest

from docflow.engines.local import vllm, vllm_logs
from docflow.engines.local.vllm_logs import CONFIG, log_file


def log_as_vllm_does() -> None:
    """What vLLM does with the file that it is told of, and then logs."""
    vllm_logs.set_up()
    logging.getLogger("vllm.engine").info("weights were loaded")
    logging.getLogger("vllm.engine").warning("the cache is small")


def in_a_process_of_its_own() -> None:
    process = multiprocessing.get_context("spawn").Process(target=log_as_vllm_does)
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    yield
    logger = logging.getLogger("vllm")
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture(autouse=True)
def _no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCFLOW_DEBUG", raising=False)


def test_in_docflows_process_it_is_docflows_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    log_as_vllm_does()
    assert caplog.messages == ["the cache is small"]
    assert capfd.readouterr() == ("", "")


def test_in_a_process_of_vllms_it_is_a_file_that_its_owner_alone_reads(capfd: pytest.CaptureFixture[str]) -> None:
    in_a_process_of_its_own()
    assert capfd.readouterr() == ("", "")
    assert "WARNING vllm.engine: the cache is small" in log_file().read_text()
    assert "weights" not in log_file().read_text()
    assert log_file().stat().st_mode & 0o077 == 0


def test_a_file_that_has_grown_large_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    log_file().parent.mkdir(parents=True, exist_ok=True)
    log_file().write_bytes(b"x" * (vllm_logs._LARGEST + 1))
    in_a_process_of_its_own()
    assert log_file().stat().st_size < 1000


def test_debugging_shows_all_of_it(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DOCFLOW_DEBUG", "1")
    in_a_process_of_its_own()
    shown = capfd.readouterr().err
    assert "weights were loaded" in shown
    assert "the cache is small" in shown


def test_vllm_is_told_of_it_unless_the_user_has_set_it_up_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_LOGGING_CONFIG_PATH", "VLLM_LOGGING_LEVEL", "VLLM_CONFIGURE_LOGGING", "VLLM_LOGGING_STREAM"):
        monkeypatch.delenv(name, raising=False)
    for name in (*vllm._ENVIRONMENT, "VLLM_LOGGING_LEVEL"):
        monkeypatch.setenv(name, "as the user says")
    vllm._set_up()
    assert "VLLM_LOGGING_CONFIG_PATH" not in os.environ
    monkeypatch.delenv("VLLM_LOGGING_LEVEL")
    monkeypatch.setenv("VLLM_LOGGING_CONFIG_PATH", "")
    monkeypatch.delenv("VLLM_LOGGING_CONFIG_PATH")
    vllm._set_up()
    assert os.environ["VLLM_LOGGING_CONFIG_PATH"] == str(CONFIG)
    assert os.environ["VLLM_NO_USAGE_STATS"] == "as the user says"
    monkeypatch.undo()
