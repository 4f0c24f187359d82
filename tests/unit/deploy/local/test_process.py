"""Sessions of processes, and ports. Real processes."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from docflow.deploy.local import process

CHILDREN = """
import signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
                  "time.sleep(600)"])
print("up", flush=True)
time.sleep(600)
"""

HOLDING = """
import mmap, sys, time
files = [open(path, "r+b") for path in sys.argv[1:]]
held = [mmap.mmap(file.fileno(), 0) for file in files]
print("up", flush=True)
time.sleep(600)
"""

Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process with a child that heeds no SIGTERM; gives its number once both are there."""
    running: list[Popen[bytes]] = []

    def begin(*how: str) -> int:
        log = tmp_path / "log"
        running.append(process.start([sys.executable, "-c", CHILDREN, *how], dict(os.environ), log))
        leader = running[-1].pid
        deadline = time.monotonic() + 60
        while "up" not in log.read_text() or len(process.members(leader)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return leader

    yield begin
    for one in running:
        process.end(one.pid, 0)
        one.wait()


def test_children_that_ignore_the_end_are_ended_as_well(start: Start) -> None:
    leader = start()
    assert process.use_of(leader).processes == 2
    assert process.end(leader, 1)
    assert process.members(leader) == []


def test_one_that_does_not_heed_the_end_is_killed(start: Start) -> None:
    leader = start("deaf")
    assert process.end(leader, 0.3)
    assert process.members(leader) == []


def test_one_that_was_frozen_is_ended(start: Start) -> None:
    leader = start()
    process.kill(leader, signal.SIGSTOP)
    assert process.end(leader, 1)
    assert process.members(leader) == []


def test_children_are_found_when_the_first_process_is_gone(start: Start) -> None:
    leader = start()
    os.kill(leader, signal.SIGKILL)
    os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
    assert len(process.members(leader)) == 1
    assert process.end(leader, 0)
    assert process.members(leader) == []


def test_a_log_is_for_its_owner_alone(start: Start, tmp_path: Path) -> None:
    start()
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_a_file_in_shared_memory_that_others_hold_too_stays(tmp_path: Path) -> None:
    ours, both = (process.SHARED / f"docflow-test-{name}-{os.getpid()}" for name in ("ours", "both"))
    for path in (ours, both):
        path.write_bytes(b"0" * mmap.PAGESIZE)
    log = tmp_path / "log"
    running = process.start([sys.executable, "-c", HOLDING, str(ours), str(both)], dict(os.environ), log)
    try:
        with both.open("r+b") as file, mmap.mmap(file.fileno(), 0):
            deadline = time.monotonic() + 60
            while "up" not in log.read_text():
                assert time.monotonic() < deadline
                assert running.poll() is None
                time.sleep(0.02)
            assert process.end(running.pid, 0)
            assert not ours.exists()
            assert both.exists()
    finally:
        process.end(running.pid, 0)
        running.wait()
        for path in (ours, both):
            path.unlink(missing_ok=True)


def test_who_holds_a_port_is_named() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not process.is_free(port)
        assert str(os.getpid()) in process.holder_of(port)
        assert process.free_port(port) != port
    assert process.holder_of(port) == ""


def test_a_file_in_shared_memory_that_was_noted_goes_only_while_it_is_the_same_and_nobody_holds_it() -> None:
    path = process.SHARED / f"docflow-test-{os.getpid()}"
    path.write_bytes(b"0" * mmap.PAGESIZE)
    try:
        notes = process.noted([path, process.SHARED / "docflow-is-not-there"])
        assert notes == (f"{path.name}:{path.stat().st_ino}",)
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
            process.remove_noted(notes)
            assert path.exists()
        process.remove_noted([f"{path.name}:1", f"../shm/{path.name}:1", "no note", ""])
        assert path.exists()
        process.remove_noted(notes)
        assert not path.exists()
        process.remove_noted(notes)
    finally:
        path.unlink(missing_ok=True)
