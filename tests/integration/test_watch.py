"""Watching a folder: real files that come, grow, change and fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from docflow.documents.sources import SourceItem
from docflow.errors import NothingToDo
from docflow.runs.watching import Watch, is_being_written
from tests.integration.prefect_server import wait_for
from tests.integration.test_runs import rows


def image(path: Path, shade: int = 0) -> Path:
    Image.new("L", (24 + shade, 24), shade).save(path)
    return path


def names(items: list[SourceItem]) -> list[str]:
    return [item.source for item in items]


def test_a_file_is_given_once_it_looked_the_same_twice_and_again_only_when_it_changed(tmp_path: Path) -> None:
    watching = Watch(tmp_path, settle_seconds=0)
    file = image(tmp_path / "a.png")
    assert watching.look() == []
    assert watching.waiting == 1
    ready = watching.look()
    assert names(ready) == ["a.png"]
    watching.take(ready)
    assert (watching.look(), watching.look(), watching.waiting) == ([], [], 0)
    image(file, 9)
    assert watching.look() == []
    assert names(watching.look()) == ["a.png"]


def test_a_file_that_was_not_taken_is_given_again(tmp_path: Path) -> None:
    watching = Watch(tmp_path, settle_seconds=0)
    image(tmp_path / "a.png")
    watching.look()
    assert names(watching.look()) == names(watching.look()) == ["a.png"]


def test_a_file_that_grows_between_looks_is_left_alone(tmp_path: Path) -> None:
    watching = Watch(tmp_path, settle_seconds=0)
    whole = image(tmp_path / "whole.png").read_bytes()
    (tmp_path / "whole.png").unlink()
    for length in range(10, len(whole), 20):
        (tmp_path / "grows.png").write_bytes(whole[:length])
        assert watching.look() == []
    (tmp_path / "grows.png").write_bytes(whole)
    assert watching.look() == []
    assert names(watching.look()) == ["grows.png"]


def test_a_file_must_have_stayed_the_same_for_a_while(tmp_path: Path) -> None:
    watching = Watch(tmp_path, settle_seconds=0.3)
    image(tmp_path / "a.png")
    watching.look()
    assert watching.look() == []
    time.sleep(0.35)
    assert names(watching.look()) == ["a.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open for writing")
def test_a_file_that_someone_writes_to_is_left_until_it_is_closed(tmp_path: Path) -> None:
    watching = Watch(tmp_path, settle_seconds=0)
    file = image(tmp_path / "a.png")
    with file.open("ab"):
        assert is_being_written(file)
        watching.look()
        assert watching.look() == []
    assert not is_being_written(file)
    assert names(watching.look()) == ["a.png"]


def test_what_browsers_and_copying_programs_write_is_left_until_it_has_its_name(tmp_path: Path) -> None:
    watching = Watch(tmp_path, settle_seconds=0)
    image(tmp_path / "a.png").rename(tmp_path / "a.png.part")
    watching.look()
    assert watching.look() == []
    (tmp_path / "a.png.part").rename(tmp_path / "a.png")
    watching.look()
    assert names(watching.look()) == ["a.png"]


def test_a_folder_that_is_gone_is_an_error_and_one_that_comes_back_is_seen(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    watching = Watch(inbox, settle_seconds=0)
    with pytest.raises(NothingToDo):
        watching.look()
    inbox.mkdir()
    assert watching.look() == []


# --- the command ----------------------------------------------------------------------------------------------------


class Watcher:
    """``docflow watch`` as a process."""

    def __init__(self, folder: Path, environment: dict[str, str], *more: str) -> None:
        command = [*(sys.executable, "-m", "docflow", "watch", "inbox", "--out", "out", "--every", "1s"), *more]
        command += ["--program", "receipt"]
        self.log = folder / "said.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self.said, f"{text!r} in {self.said!r}", 60)

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    replies = tmp_path / "replies.jsonl"
    replies.write_text(json.dumps({"company": "ACME", "total": "12.50"}))
    return {**os.environ, "DOCFLOW_ENGINE": f"scripted={replies}", "DOCFLOW_EXTRACTION__GROUNDING": "off"}


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def test_what_comes_in_is_extracted_once_whatever_happens_to_the_watcher(
    inbox: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    image(inbox / "a.png", 1)
    (inbox / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    before = {path.name: path.stat().st_mtime_ns for path in inbox.iterdir()}
    first = Watcher(tmp_path, environment)
    first.wait_for("2 files: 1 valid, 1 failed; broken.png")
    image(inbox / "b.png", 2)
    first.wait_for("1 file: 1 valid")
    time.sleep(3)
    assert first.end() == 0
    assert len(first.said.splitlines()) == 2  # a document that failed was not tried again

    second = Watcher(tmp_path, environment)
    second.wait_for("3 files: 2 done before, 1 failed before")
    image(inbox / "broken.png", 3)
    second.wait_for("1 file: 1 valid")
    assert second.end(signal.SIGTERM) == 0
    counted = [(row["source"], row["status"]) for row in rows(tmp_path / "out").values()]
    assert sorted(counted) == [("a.png", "valid"), ("b.png", "valid"), ("broken.png", "valid")]
    assert {path.name for path in inbox.iterdir()} == {"a.png", "b.png", "broken.png"}
    assert (inbox / "a.png").stat().st_mtime_ns == before["a.png"]


def test_an_engine_that_is_away_is_waited_for(inbox: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    image(inbox / "a.png", 1)
    replies = tmp_path / "replies.jsonl"
    watcher = Watcher(tmp_path, environment | {"DOCFLOW_ENGINE": "sglang=http://127.0.0.1:9"})
    watcher.wait_for("waiting: ")
    time.sleep(2)
    assert watcher.process.poll() is None
    assert watcher.end() == 0
    assert watcher.said.count("waiting: ") == 1
    assert "Traceback" not in watcher.said
    assert replies.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "--out", "out"), "no folder that can be watched"),
        (("inbox", "--out", "inbox/out"), "lies in the folder that is watched"),
        (("inbox", "--every", "often"), "is no time"),
        (("inbox", "--program", "receit"), "there is no program"),
    ],
)
def test_what_cannot_be_watched_is_refused_with_code_2(
    inbox: Path, tmp_path: Path, environment: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "docflow", "watch", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2, refused.stderr
    assert said in refused.stderr


def test_a_batch_that_reaches_a_budget_ends_the_watch(inbox: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    for n in range(3):
        image(inbox / f"{n}.png", n)
    watcher = Watcher(tmp_path, environment | {"DOCFLOW_BUDGET__DOCUMENTS": "2"})
    assert watcher.process.wait(60) == 4, watcher.said
    assert "3 files: 2 valid (the budget of" in watcher.said
    assert len(rows(tmp_path / "out")) == 2
