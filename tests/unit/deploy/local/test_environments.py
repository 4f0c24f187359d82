"""Environments are made once, whole, and by one process at a time."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from docflow.deploy.local import environments
from docflow.deploy.local.environments import BuildFailed, Recipe, built, call, is_whole, recipe
from docflow.sizes import GIB


@pytest.fixture
def made_of(tmp_path: Path) -> list[Path]:
    path = tmp_path / "list.txt"
    path.write_text("one==1\n")
    return [path]


def test_what_an_interrupted_build_left_is_made_again(tmp_path: Path, made_of: list[Path]) -> None:
    def interrupted(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(tmp_path, "thing", made_of, interrupted)
    folder = built(tmp_path, "thing", made_of, lambda folder: folder.mkdir())
    assert is_whole(folder)
    assert list(folder.iterdir()) == []


def test_another_list_is_another_environment(tmp_path: Path, made_of: list[Path]) -> None:
    first = built(tmp_path, "thing", made_of, lambda folder: folder.mkdir())
    made_of[0].write_text("one==2\n")
    assert built(tmp_path, "thing", made_of, lambda folder: folder.mkdir()) != first


def test_two_at_once_share_one_build(tmp_path: Path, made_of: list[Path]) -> None:
    builds: list[Path] = []
    waited: list[str] = []
    begun = threading.Event()
    go_on = threading.Event()

    def slow(folder: Path) -> None:
        builds.append(folder)
        begun.set()
        assert go_on.wait(60)
        folder.mkdir()

    def told(text: str) -> None:
        waited.append(text)
        go_on.set()

    first = threading.Thread(target=built, args=(tmp_path, "thing", made_of, slow))
    first.start()
    assert begun.wait(60)
    second = built(tmp_path, "thing", made_of, slow, told)
    first.join()
    assert builds == [second]
    assert waited


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                f"import time\nfrom pathlib import Path\nfrom docflow.deploy.local.environments import locked\n"
                f"with locked(Path({str(lock)!r})):\n    print('held', flush=True)\n    time.sleep(600)"
            ),
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with environments.locked(lock, lambda: pytest.fail("nobody holds it any more")):
        pass


def test_a_command_that_fails_shows_its_last_lines_and_where_all_of_it_is(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    script = "print('\\n'.join(f'line {n}' for n in range(50))); raise SystemExit(3)"
    with pytest.raises(BuildFailed) as caught:
        call([sys.executable, "-c", script], log)
    assert "ended with 3" in caught.value.message
    assert "line 49" in caught.value.message
    assert "line 5\n" not in caught.value.message
    assert str(log) in caught.value.hint
    assert "line 5\n" in log.read_text()


def test_a_disk_that_is_too_full_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=GIB))
    with pytest.raises(BuildFailed, match=r"takes about 16\.0 GiB, and .* has room for 1\.0 GiB"):
        environments.environment(tmp_path, recipe("vllm", "cuda"))
    assert not list(tmp_path.glob("vllm-cuda-*"))


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_version_is_pinned(kind: str, device: str) -> None:
    found: Recipe = recipe(kind, device)
    lines = [line for line in found.requirements.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    assert all("==" in line for line in lines)
    assert all(path.is_file() for path in found.made_of)
