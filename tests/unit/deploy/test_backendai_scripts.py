"""The two shell scripts and their guide: written out, judged by shellcheck, and tried with a double of docflow."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from docflow.deploy.backendai.scripts import write_scripts
from docflow.errors import UsageError
from tests.unit.deploy.test_backendai_sessions import run
from tests.unit.deploy.test_files import tool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The scripts, and a docflow before all others in PATH that notes how it was called."""
    write_scripts(tmp_path / "backend.ai")
    (tmp_path / "bin").mkdir()
    double = tmp_path / "bin" / "docflow"
    double.write_text(f'#!/bin/sh\necho "docflow $*" | tee -a {tmp_path}/calls\nexit "${{CODE:-0}}"\n')
    double.chmod(0o755)
    return tmp_path / "backend.ai"


def called(folder: Path) -> list[str]:
    calls = folder.parent / "calls"
    return calls.read_text().splitlines() if calls.exists() else []


def script(folder: Path, name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{folder.parent / 'bin'}:/usr/bin:/bin", **variables}
    return subprocess.run(
        [str(folder / name), *arguments],
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_shellcheck_finds_nothing(folder: Path) -> None:
    scripts = sorted(folder.glob("*.sh"))
    assert [path.name for path in scripts] == ["deploy-vllm-model.sh", "vllm-examples.sh"]
    ran = subprocess.run([tool("shellcheck"), *scripts], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_deploying_passes_everything_on_with_its_exit_code(folder: Path) -> None:
    ran = script(folder, "deploy-vllm-model.sh", "-g", "2", "--wait", "org/model name", CODE="4")
    assert ran.returncode == 4
    assert called(folder) == ["docflow deploy backendai -g 2 --wait org/model name"]


def test_without_a_model_deploying_shows_the_usage_and_ends_with_2(folder: Path) -> None:
    ran = script(folder, "deploy-vllm-model.sh")
    assert ran.returncode == 2
    assert "docflow deploy backendai --help" in ran.stderr


@pytest.mark.parametrize("name", ["deploy-vllm-model.sh", "vllm-examples.sh"])
def test_without_docflow_the_scripts_say_how_to_get_it(name: str, folder: Path) -> None:
    (folder.parent / "bin" / "docflow").unlink()
    ran = script(folder, name, "list")
    assert ran.returncode == 1
    assert "pip install docflow" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["list"], "docflow deploy sessions list"),
        (["kill", "one"], "docflow deploy sessions kill one"),
        (["logs", "one"], "docflow deploy sessions logs one"),
        (["test", "http://localhost:8000"], "docflow deploy sessions test http://localhost:8000"),
        (["monitor", "--once"], "docflow deploy sessions monitor --once"),
        (["kill-idle", "--idle", "1h"], "docflow deploy sessions kill-idle --idle 1h"),
        (["connect", "one"], "docflow deploy sessions connect one"),
        (["deploy", "gpt2"], "docflow deploy backendai gpt2"),
    ],
)
def test_each_command_is_docflows(arguments: list[str], call: str, folder: Path) -> None:
    ran = script(folder, "vllm-examples.sh", *arguments)
    assert ran.returncode == 0, ran.stderr
    assert called(folder) == [call]


@pytest.mark.parametrize("arguments", [[], ["dance"]])
def test_without_a_terminal_or_with_an_unknown_command_the_usage_is_printed(arguments: list[str], folder: Path) -> None:
    ran = script(folder, "vllm-examples.sh", *arguments)
    assert ran.returncode == 2
    assert "usage: vllm-examples.sh" in ran.stderr
    assert called(folder) == []


def test_on_a_terminal_there_is_a_menu(folder: Path) -> None:
    leader, follower = pty.openpty()
    environment = {"PATH": f"{folder.parent / 'bin'}:/usr/bin:/bin", "TERM": "dumb"}
    process = subprocess.Popen(
        [str(folder / "vllm-examples.sh")],
        env=environment,
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.write(leader, b"1\n2\nmy-session\n4\nhttp://localhost:8000\n8\n42\nq\n")
    out = process.communicate(timeout=60)[0]
    os.close(leader)
    os.close(follower)
    assert process.returncode == 0, out
    assert called(folder) == [
        "docflow deploy sessions list",
        "docflow deploy sessions kill my-session",
        "docflow deploy sessions test http://localhost:8000",
        "docflow deploy backendai microsoft/DialoGPT-medium",
    ]
    assert "There is no entry 42" in out


def test_files_that_were_changed_are_not_overwritten_unasked(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(write_scripts(folder)) == 3, "the same content once more is no change"
    (folder / "vllm-examples.sh").write_text("mine\n")
    with pytest.raises(UsageError, match=r"vllm-examples\.sh"):
        write_scripts(folder)
    monkeypatch.chdir(folder.parent)
    code, out, _ = run(capsys, "scripts", "--force")
    assert code == 0
    assert "backend.ai/vllm-examples.sh" in out
    assert (folder / "vllm-examples.sh").read_text() != "mine\n"
    assert os.access(folder / "vllm-examples.sh", os.X_OK)


def test_every_deployment_in_the_guide_is_a_good_dry_run(
    folder: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (folder / "VLLM_DEPLOYMENT_GUIDE.md").read_text()
    examples = re.findall(r"`(?:HF_TOKEN=\S+ )?\./deploy-vllm-model\.sh ([^`]+)`", guide)
    assert len(examples) == 10
    for example in examples:
        code, _, err = run(capsys, "backendai", *example.split(), *([] if "--dry-run" in example else ["--dry-run"]))
        assert code == 0, f"{example}: {err}"
    for link in ("https://docs.backend.ai/", "https://docs.vllm.ai/", "https://huggingface.co/docs/transformers"):
        assert link in guide


# --- the page --------------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[3] / "docs" / "backendai.md"


def test_every_requirement_is_answered_once() -> None:
    found: list[int] = []
    for cell in re.findall(r"^\| (D-\d\d(?:(?:, | to )D-\d\d)?) \|", PAGE.read_text("utf-8"), re.MULTILINE):
        numbers = [int(number) for number in re.findall(r"\d\d", cell)]
        found += range(numbers[0], numbers[-1] + 1)
    assert found == list(range(1, 64))


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8")))
    there = {
        name
        for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text("utf-8"), re.MULTILINE)
    }
    assert len(named) > 40
    assert named <= there, sorted(named - there)
