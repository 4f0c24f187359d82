"""Environments of earlier versions go, and none that is in use or is being made."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from docflow.cli import main
from docflow.deploy.local.cleaning import environments, remove, user_of
from docflow.deploy.local.environments import locked, place_of, recipe
from docflow.engines.started import Register, engines_folder
from docflow.sizes import MIB
from tests.unit.engines.test_started import one

OLD = "vllm-cpu-0123456789ab"


def clean(*arguments: str) -> int:
    """The exit code of ``docflow engines clean``."""
    with pytest.raises(SystemExit) as ended:
        main(["engines", "clean", *arguments])
    return int(ended.value.code or 0)


def make(folder: Path, *, whole: bool = True) -> Path:
    """An environment with a Python that runs, and a file of a MiB."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "big").write_bytes(os.urandom(MIB))
    if whole:
        folder.with_name(f"{folder.name}.ready").touch()
    return folder


@pytest.fixture
def root() -> Path:
    return engines_folder() / "environments"


@pytest.fixture
def current(root: Path) -> Path:
    return make(place_of(root, "vllm-cpu", recipe("vllm", "cpu").made_of))


def test_what_is_of_an_earlier_version_goes_and_what_is_in_use_next_stays(
    root: Path, current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = make(root / OLD)
    half = make(root / "sglang-cuda-0123456789ab", whole=False)
    (root / "uv").mkdir()
    assert clean("--dry-run") == 0
    out = capsys.readouterr().out
    assert f"{OLD}: 1.0 MiB, not of this version, or half made: goes" in out
    assert f"{current.name}: 1.0 MiB, of this version: stays" in out
    assert old.exists()
    assert clean() == 0
    assert "Removed 2, 2.0 MiB are free again." in capsys.readouterr().out
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == sorted(["uv", current.name])
    assert not half.exists()
    assert not (root / f"{OLD}.ready").exists()
    assert clean() == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert clean("--all") == 0
    assert not current.exists()


def test_a_current_environment_that_is_half_made_goes(root: Path) -> None:
    half = make(place_of(root, "vllm-cpu", recipe("vllm", "cpu").made_of), whole=False)
    assert [found.current for found in environments(root)] == [False]
    assert clean() == 0
    assert not half.exists()


def test_one_in_which_something_runs_stays(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = make(root / OLD)
    assert user_of(old) == ""
    program = "print('up', flush=True); input()"
    with subprocess.Popen(
        [old / "bin" / "python", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        [found] = environments(root)
        assert found.user == f"process {running.pid}"
        assert clean("--all") == 0
        assert f"in use by process {running.pid}: stays" in capsys.readouterr().out
        assert not remove(found)
        running.communicate("\n")
    Register().put(one("mine", command=(str(old / "bin" / "python"), "-m", "vllm")))
    assert user_of(old) == "mine"
    Register().put(one("mine", command=(str(old / "bin" / "python"), "-m", "vllm"), born="long ago"))
    assert remove(environments(root)[0])
    assert not old.exists()


def test_one_stays_whose_process_is_seen_by_what_it_has_mapped_alone(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "large disk"
    elsewhere.mkdir()
    root.parent.mkdir(parents=True, exist_ok=True)
    root.symlink_to(elsewhere, target_is_directory=True)
    old = make(root / OLD)
    with (old / "big").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert user_of(old) == f"process {os.getpid()}"
        assert not remove(environments(root)[0])
    assert remove(environments(root)[0])


def test_a_link_in_the_place_of_one_is_none(root: Path, tmp_path: Path) -> None:
    theirs = make(tmp_path / "theirs")
    root.mkdir(parents=True)
    (root / OLD).symlink_to(theirs, target_is_directory=True)
    (root / f"{OLD}.ready").touch()
    assert environments(root) == []
    assert clean("--all") == 0
    assert (root / f"{OLD}.ready").exists()
    assert (theirs / "big").exists()


def test_one_that_is_just_being_made_stays(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = make(root / OLD, whole=False)
    [found] = environments(root)
    with locked(root / "vllm-cpu.lock"):
        assert not remove(found)
        assert clean("--dry-run") == 0
        assert "in use by a build: stays" in capsys.readouterr().out
    assert half.exists()


def test_what_uvs_cache_keeps_is_not_counted_as_free_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = make(root / OLD)
    (root / "in_uvs_cache").hardlink_to(old / "big")
    [found] = environments(root)
    assert found.size >= MIB
    assert found.shared == MIB
    assert clean() == 0
    assert "uv cache prune" in capsys.readouterr().out


def test_without_any_environment_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert clean() == 0
    assert "There is no environment in" in capsys.readouterr().out
