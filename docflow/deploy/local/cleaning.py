"""Engines' environments on this machine: which are of earlier versions, who uses them, and their removal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from docflow.deploy.local.environments import is_whole, place_of, recipe
from docflow.engines.started import Register

_NAME = re.compile(r"(sglang|vllm)-(cpu|cuda)-[0-9a-f]{12}")
_BLOCK = 512
"""Bytes of what the system calls a block of a file."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment and its size on the disk in bytes; ``shared`` of them stay when it goes, as uv's cache has them.

    ``current`` says that this version of docflow would use it; ``user`` names what runs in it, or a build of one of its
    kind, "" for nobody.
    """

    path: Path
    size: int
    shared: int
    current: bool
    user: str


def environments(root: Path) -> list[Environment]:
    """The environments below a folder, those that an interrupted build left half made among them.

    A link that somebody put in the place of one is none: what it leads to is not docflow's to remove.
    """
    try:
        found = (path for path in root.iterdir() if _NAME.fullmatch(path.name))
        folders = sorted(path for path in found if path.is_dir() and not path.is_symlink())
    except FileNotFoundError:
        return []
    return [_looked_at(root, folder) for folder in folders]


def remove(environment: Environment) -> bool:
    """Remove an environment; whether it is gone. One that is in use, or just being made, stays. Raises OSError."""
    folder = environment.path
    with _free(_lock_of(folder)) as free:
        if not free or user_of(folder):
            return False
        folder.with_name(f"{folder.name}.ready").unlink(missing_ok=True)  # what is left of it now counts for nothing
        shutil.rmtree(folder)
        return True


def user_of(folder: Path) -> str:
    """What runs in an environment: an engine by its name, or a process by its number; "" for nobody."""
    real = folder.resolve()  # as the system names what is mapped: the cache may lie behind a link
    for one in Register().all():
        if one.alive and Path(one.python).parent.resolve().is_relative_to(real):
            return one.name
    inside = (f"{folder}/", f"{real}/")
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended, or is another user's, who has no part in this folder
                started_as = (process / "cmdline").read_bytes().decode(errors="replace")
                if started_as.startswith(inside) or inside[1] in (process / "maps").read_text(errors="replace"):
                    return f"process {process.name}"
    return ""


def _looked_at(root: Path, folder: Path) -> Environment:
    kind, device, _ = folder.name.split("-")
    ours = place_of(root, f"{kind}-{device}", recipe(kind, device).made_of)
    size = shared = 0
    seen: set[int] = set()
    for parent, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(OSError):  # it may go meanwhile
                found = os.lstat(os.path.join(parent, file))
                if found.st_ino not in seen:
                    seen.add(found.st_ino)
                    size += found.st_blocks * _BLOCK
                    shared += found.st_blocks * _BLOCK if found.st_nlink > 1 else 0
    return Environment(folder, size, shared, folder == ours and is_whole(folder), user_of(folder) or _build_of(folder))


def _lock_of(folder: Path) -> Path:
    """What builds of its kind hold."""
    return folder.with_name(f"{folder.name.rpartition('-')[0]}.lock")


def _build_of(folder: Path) -> str:
    try:
        with _lock_of(folder).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return "a build"
    except OSError:  # nobody has built anything yet
        return ""
    return ""


@contextmanager
def _free(lock: Path) -> Iterator[bool]:
    """Hold the lock that builds hold, where nobody has it; whether that is so."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
