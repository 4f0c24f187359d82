from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from docflow import errors
from docflow.cli import main
from docflow.cli.failures import exit_code_of, report_fault
from docflow.cli.logs import logging_to_file
from docflow.errors import DocflowError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.ConfigError("x"), 2),
        (errors.ProgramError("x"), 2),
        (errors.SchemaError("x"), 2),
        (errors.NothingToDo("x"), 2),
        (errors.StorageError("x"), 2),
        (errors.NoEngine("x"), 3),
        (errors.EngineUnavailable("x"), 3),
        (errors.EngineTimeout("x"), 1),
        (errors.BrokenDocument("x"), 1),
    ],
)
def test_each_error_ends_the_command_with_its_exit_code(error: DocflowError, code: int) -> None:
    assert exit_code_of(error) == code


def test_an_error_is_a_message_and_a_hint_on_stderr(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", str(tmp_path)])
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[0] == f"error: {tmp_path} holds no dataset"
    assert lines[1].startswith("hint: docflow extract")


def test_a_fault_of_docflow_leaves_its_traceback_in_the_cache(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCFLOW_CACHE_DIR", str(tmp_path))
    assert report_fault(_raised()) == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "ZeroDivisionError: division by zero" in shown
    (log,) = (tmp_path / "logs").iterdir()
    assert str(log) in shown
    assert "Traceback" in log.read_text()
    assert "in _raised" in log.read_text()


def test_a_fault_is_told_even_when_settings_and_cache_are_of_no_use(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("DOCFLOW_NO_SUCH_SETTING", "1")
    assert report_fault(_raised()) == 1
    shown = capsys.readouterr().err
    assert "division by zero" in shown
    assert "DOCFLOW_DEBUG=1" in shown


def test_logs_warnings_and_dying_threads_go_to_a_file_and_not_to_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with logging_to_file(tmp_path) as log:
        assert not (tmp_path / "logs").exists()
        logging.getLogger("docflow").warning("slow \udce9")
        assert not log.holds_errors
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        assert log.holds_errors
    text = log.path.read_text()
    assert "slow \\udce9" in text
    assert "ZeroDivisionError" in text
    assert capsys.readouterr().err == ""


def test_debugging_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCFLOW_DEBUG", "1")
    assert report_fault(_raised()) == 1
    assert "Traceback" in capsys.readouterr().err


def _raised() -> Exception:
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        return error
    raise AssertionError
