"""Processes of an engine: a session of their own, which is ended as a whole, with what they leave in shared memory.

Linux only, as the engines are: what is asked here stands in /proc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SHARED = Path("/dev/shm")  # noqa: S108 (shared memory, no place for files of ours)
_TICK = 0.05
_MOMENT = 3.0


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that leads a session of its own: it outlives whoever started it, and no Ctrl-C reaches it.

    What it prints goes to ``log``, which only its owner may read. Raises OSError where it cannot be started.
    """
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
        )
    finally:
        os.close(handle)


def members(leader: int) -> list[int]:
    """The processes of the session, or of the group, that ``leader`` leads or led. Zombies do not count.

    The system gives a number to nobody else while a session or a group of this number has members.
    """
    found = []
    for pid, fields in _all_stats():
        if leader in (int(fields[2]), int(fields[3])) and fields[0] not in ("Z", "X"):
            found.append(pid)
    return found


def _all_stats() -> Iterator[tuple[int, list[str]]]:
    """Every process, with what /proc says of it after its name: state, parent, group, session ..."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "stat").read_text().rpartition(")")[2].split()


def end(leader: int, seconds: float = 20.0) -> bool:
    """End a session: SIGTERM to its leader, and after ``seconds`` SIGKILL to whoever is left (at once where it is 0).

    Others have a moment more than their leader, to clean up behind it. The files in shared memory go that its processes
    alone held: a killed server leaves them. Gives whether all are gone.
    """
    shared = noted(shared_memory(leader))
    gone = False
    if seconds:
        kill(leader, signal.SIGCONT)  # a frozen one could not heed what follows
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader, signal.SIGTERM)
        _wait(lambda: leader in members(leader), seconds)
        gone = _wait(lambda: members(leader), min(seconds, _MOMENT))
    if not gone:
        kill(leader)
        gone = _wait(lambda: members(leader), 30.0)  # SIGKILL takes a moment on processes of several GiB
    remove_noted(shared)
    return gone


def kill(leader: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to every process of a session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)  # all at once
    for pid in members(leader):
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL or os.getpgid(pid) != leader:  # those of the group have it already
                os.kill(pid, number)


def _wait(there: Callable[[], object], seconds: float) -> bool:
    """Wait until something is gone; whether it is."""
    deadline = time.monotonic() + seconds
    while there():
        if time.monotonic() > deadline:
            return False
        time.sleep(_TICK)
    return True


def shared_memory(leader: int) -> set[Path]:
    """The files of shared memory that a session's processes hold."""
    held = set()
    for pid in members(leader):
        with contextlib.suppress(OSError):
            held |= _held_by(pid)
    if not held:
        return set()
    found = set()
    for path in SHARED.iterdir():
        with contextlib.suppress(OSError):
            if path.stat(follow_symlinks=False).st_ino in held:
                found.add(path)
    return found


def noted(paths: Iterable[Path]) -> tuple[str, ...]:
    """Files of shared memory as they can be told again later: each by its name and inode."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            found.append(f"{path.name}:{path.stat(follow_symlinks=False).st_ino}")
    return tuple(sorted(found))


def remove_noted(notes: Iterable[str]) -> None:
    """Remove files of shared memory that were noted, are the same still, and that no process holds any more."""
    kept = tuple(notes)
    held = _held_by_anybody() if kept else set()
    for note in kept:
        name, _, inode = note.rpartition(":")
        path = SHARED / Path(name).name
        with contextlib.suppress(OSError):
            found = path.stat(follow_symlinks=False).st_ino
            if str(found) == inode and found not in held:
                path.unlink()


def _held_by_anybody() -> set[int]:
    held = set()
    for pid, _ in _all_stats():
        with contextlib.suppress(OSError):  # another user's, who cannot hold what only its owner may open
            held |= _held_by(pid)
    return held


def _held_by(pid: int) -> set[int]:
    """The inodes of the files in shared memory that a process holds. Raises OSError."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    # by inode: a semaphore is mapped under the name of a file that was renamed
    return {int(line.split()[4]) for line in maps.splitlines() if f" {SHARED}/" in line}


@dataclass(frozen=True, slots=True)
class Use:
    """What a session uses: memory in bytes, pages that are shared counted once (PSS), and CPU time in seconds."""

    memory: int
    cpu_seconds: float
    processes: int


def use_of(leader: int) -> Use:
    """What the processes of a session use now."""
    memory = ticks = 0
    found = members(leader)
    for pid in found:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            memory += sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return Use(memory, ticks / os.sysconf("SC_CLK_TCK"), len(found))


# --- ports --------------------------------------------------------------------------------------------------------


def is_free(port: int) -> bool:
    """Whether a server could listen on a port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(first: int = 0) -> int:
    """A port of 127.0.0.1 that is free: ``first`` or one soon after it; any where ``first`` is 0."""
    if first:
        for port in range(first, min(first + 100, 65_536)):
            if is_free(port):
                return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def holder_of(port: int) -> str:
    """Who listens on a port, in words: ``python (process 123)``, ``a process of user alice``; "" where unknown."""
    sockets: dict[str, int] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: it listens
                    sockets[fields[9]] = int(fields[7])
    for pid, _ in _all_stats() if sockets else ():
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                if os.readlink(entry).removeprefix("socket:[").removesuffix("]") in sockets:
                    name = Path(f"/proc/{pid}/comm").read_text().strip()
                    return f"{name} (process {pid})"
    for uid in sockets.values():
        return f"a process of {_user(uid)}"
    return ""


def _user(uid: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user number {uid}"
