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

    ``current`` says that this version of docflow would use it; ``user`` names what runs in it, "" for nobody.
    """

    path: Path
    size: int
    shared: int
    current: bool
    user: str


def environments(root: Path) -> list[Environment]:
    """The environments below a folder, those that an interrupted build left half made among them."""
    try:
        folders = sorted(path for path in root.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())
    except FileNotFoundError:
        return []
    return [_looked_at(root, folder) for folder in folders]


def remove(environment: Environment) -> bool:
    """Remove an environment; whether it is gone. One that is in use, or just being made, stays. Raises OSError."""
    folder = environment.path
    name = folder.name.rpartition("-")[0]
    with _free(folder.parent / f"{name}.lock") as free:
        if not free or user_of(folder):
            return False
        folder.with_name(f"{folder.name}.ready").unlink(missing_ok=True)  # what is left of it now counts for nothing
        shutil.rmtree(folder)
        return True


def user_of(folder: Path) -> str:
    """What runs in an environment: an engine by its name, or a process by its number; "" for nobody."""
    for one in Register().all():
        if one.alive and Path(one.python).is_relative_to(folder):
            return one.name
    inside = f"{folder}/"
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != str(os.getpid()):
            with contextlib.suppress(OSError):  # it has ended, or is another user's, who has no part in this folder
                started_as = (process / "cmdline").read_bytes().decode(errors="replace")
                if started_as.startswith(inside) or inside in (process / "maps").read_text(errors="replace"):
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
    return Environment(folder, size, shared, folder == ours and is_whole(folder), user_of(folder))


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
