"""Sessions of processes, and ports. Real processes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from docflow.deploy.local import process

CHILDREN = """
import signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
                          "time.sleep(600)"], start_new_session="apart" in sys.argv)
print("up", flush=True)
time.sleep(600)
"""


def started(tmp_path: Path, *how: str) -> int:
    log = tmp_path / "log"
    running = process.start([sys.executable, "-c", CHILDREN, *how], dict(os.environ), log)
    deadline = time.monotonic() + 60
    while "up" not in log.read_text() or len(process.members(running.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return running.pid


def test_children_that_ignore_the_end_are_ended_as_well(tmp_path: Path) -> None:
    leader = started(tmp_path)
    assert process.use_of(leader).processes == 2
    assert process.end(leader, 1)
    assert process.members(leader) == []


def test_one_that_does_not_heed_the_end_is_killed(tmp_path: Path) -> None:
    leader = started(tmp_path, "deaf")
    assert process.end(leader, 0.3)
    assert process.members(leader) == []


def test_one_that_was_frozen_is_ended(tmp_path: Path) -> None:
    leader = started(tmp_path)
    process.kill(leader, signal.SIGSTOP)
    assert process.end(leader, 1)
    assert process.members(leader) == []


def test_children_are_found_when_the_first_process_is_gone(tmp_path: Path) -> None:
    leader = started(tmp_path)
    os.kill(leader, signal.SIGKILL)
    os.waitpid(leader, 0)
    assert len(process.members(leader)) == 1
    assert process.end(leader, 0)
    assert process.members(leader) == []


def test_a_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    process.end(started(tmp_path), 1)
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_who_holds_a_port_is_named() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not process.is_free(port)
        assert str(os.getpid()) in process.holder_of(port)
        assert process.free_port(port) != port
    assert process.holder_of(port) == ""
