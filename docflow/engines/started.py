"""The engines that ``docflow engines up`` started on this machine for this user: who they are, whether they still run.

What is kept stands in one small file, which only its owner may read: it holds the engines' keys. It belongs to the user
and the machine, so a ``docflow.toml`` of some folder has no say in where it is; DOCFLOW_CACHE_DIR has.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from docflow.engines.specs import EngineSpec, entries_of
from docflow.errors import ConfigError, StorageError
from docflow.settings import default_cache_dir

AUTO = "auto"
"""The engine's name that stands for those that run here."""
Kind = Literal["sglang", "vllm"]
_FORMAT = 1
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Started:
    """An engine that was started here.

    ``pid`` is that of its first process, which leads a session of its own; ``born`` tells it from a later process of
    the same number. ``served`` is the model's name as requests say it, ``model`` as the user said it. ``ready`` says
    that it has answered a document once. ``at`` is the time of its start, in seconds since 1970. ``scratch`` is its
    folder for temporary files, ``python`` what runs it. ``shared`` are the files in shared memory that it held when it
    was ready, as ``NAME:INODE``: where all its processes are killed, nobody else removes them.
    """

    name: str
    kind: str
    url: str
    pid: int
    born: str
    model: str
    served: str
    device: str
    command: tuple[str, ...]
    log: str
    scratch: str
    at: float
    ready: bool = False
    key: str = field(default="", repr=False)
    shared: tuple[str, ...] = ()

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @property
    def python(self) -> str:
        return self.command[0]

    @property
    def alive(self) -> bool:
        """Whether its first process still runs."""
        return bool(self.born) and born_of(self.pid) == self.born

    @property
    def spec(self) -> str:
        """How ``--engine`` names it."""
        return f"{self.kind}={self.url}"


def born_of(pid: int) -> str:
    """When a process began, as this system counts, together with the system's own start; "" where there is none.

    A process that has ended and that nobody has asked about (a zombie) is none.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else f"{_boot()}-{fields[19]}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return "boot"


def engines_folder() -> Path:
    """Where environments, logs and the list of the engines are that docflow starts."""
    return Path(os.environ.get("DOCFLOW_CACHE_DIR") or default_cache_dir()) / "engines"


class Register:
    """The list of engines, safe against several writers. Dead ones stay in it until somebody removes them."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or engines_folder()
        self._path = self._folder / "started.json"

    def all(self) -> list[Started]:
        """Every engine, in the order of their starts. A file that is damaged counts as empty."""
        try:
            kept = json.loads(self._path.read_bytes())
            if kept["format"] != _FORMAT:
                return []
            return [_started(one) for one in kept["engines"]]
        except (OSError, ValueError, LookupError, TypeError):
            return []

    def find(self, name: str) -> Started | None:
        return next((one for one in self.all() if one.name == name), None)

    @contextmanager
    def changing(self) -> Iterator[list[Started]]:
        """The list to change in place: others wait meanwhile. Nothing is written where the block raises.

        Raises StorageError where the folder cannot be written.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._folder / "started.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            engines = self.all()
            before = list(engines)
            yield engines
            if engines != before:
                self._write(engines)
        finally:
            os.close(lock)

    def put(self, started: Started) -> None:
        """Add an engine, in the place of one of the same name. Raises StorageError."""
        with self.changing() as engines:
            engines[:] = [one for one in engines if one.name != started.name] + [started]

    def mark_ready(self, started: Started, shared: Sequence[str] = ()) -> Started:
        """Note that it has answered a document, and what it holds in shared memory. Raises StorageError."""
        ready = replace(started, ready=True, shared=tuple(shared))
        with self.changing() as engines:
            engines[:] = [ready if (one.name, one.pid) == (started.name, started.pid) else one for one in engines]
        return ready

    def remove(self, started: Started) -> None:
        """Forget this engine, not one that has its name by now. Raises StorageError."""
        with self.changing() as engines:
            engines[:] = [one for one in engines if (one.name, one.pid) != (started.name, started.pid)]

    def _write(self, engines: Sequence[Started]) -> None:
        data = json.dumps({"format": _FORMAT, "engines": [asdict(one) for one in engines]}, indent=1)
        try:
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".started-")  # only its owner may read it
            try:
                with open(handle, "w", encoding="utf-8") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, self._path)
            except BaseException:
                os.unlink(name)
                raise
        except OSError as error:
            raise _unwritable(self._folder, error) from error


def _started(kept: dict[str, object]) -> Started:
    names = Started.__dataclass_fields__
    one = Started(**{name: value for name, value in kept.items() if name in names})  # type: ignore[arg-type]
    return replace(one, command=tuple(one.command), shared=tuple(one.shared))


def _unwritable(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{folder} cannot be written: {error.strerror or error}",
        hint="DOCFLOW_CACHE_DIR may name a folder that you may write to.",
    )


def key_for(target: str) -> str:
    """The key of the engine behind a server's URL, where docflow started it here; "" for all others."""
    try:
        parts = urlsplit(target)
        if parts.hostname not in _LOOPBACK or parts.username is not None:
            return ""
        port = parts.port
    except ValueError:
        return ""
    return next((one.key for one in Register().all() if one.port == port and one.alive), "")


# --- the engine that is called auto -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """What ``auto`` stands for now: the engines, their fallbacks, and a sentence that says so."""

    engines: tuple[str, ...]
    fallbacks: tuple[str, ...]
    note: str


def is_auto(given: str | Sequence[str]) -> bool:
    """Whether a list of engines, as it is typed, has ``auto`` among its entries."""
    return AUTO in entries_of(given)


def choose(engines: str | Sequence[str], fallbacks: str | Sequence[str] = "") -> Chosen:
    """A list of engines with the running ones in the place of ``auto``.

    Where none can be used, the fallbacks answer, and where there are none either, the embedded engine. Each registered
    engine is asked how it is: one that is starting or does not answer is not used, and the note says so. Raises
    ConfigError where ``auto`` is named twice.
    """
    entries, behind = entries_of(engines), tuple(entries_of(fallbacks))
    if entries.count(AUTO) != 1:
        raise ConfigError("the engine auto is named twice", hint="It stands for all engines that run here.")
    place = entries.index(AUTO)
    others = entries[:place] + entries[place + 1 :]
    usable: list[Started] = []
    unused: list[str] = []
    for one in Register().all():
        if one.alive and _answers(one):
            usable.append(one)
        elif one.alive:
            unused.append(f"{_named(one)} {'does not answer' if one.ready else 'is starting'}, not used")
    left_out = "; ".join(unused)
    found = [one for one in usable if one.spec not in others]
    if found:
        there = (*others[:place], *(one.spec for one in found), *others[place:])
        behind = tuple(entry for entry in behind if entry not in there)
        said = "; ".join((", ".join(map(_named, found)), *unused))
        return Chosen(there, behind, f"engine auto: {said}")
    none = f"engine auto: {left_out or 'no engine that docflow started runs here'}"
    if others:
        return Chosen(tuple(others), behind, none)
    stand_ins = tuple(entry for entry in behind if "://" in entry or entry == "embedded")
    if stand_ins:
        return Chosen(stand_ins, (), f"{none}, so the fallback answers")
    advice = (
        "docflow engines list says when one is ready" if unused else "docflow engines up vllm starts one with a model"
    )
    return Chosen(("embedded",), (), f"{none}, so the embedded one answers ({advice})")


def _named(one: Started) -> str:
    return f"{one.kind} at {urlsplit(one.url).netloc} ({one.served})"


def _answers(one: Started) -> bool:
    from docflow.engines import create_one

    engine = create_one(EngineSpec.parse(one.spec))
    try:
        return engine.health().ok
    finally:
        engine.close()


def uptime(one: Started) -> float:
    """Seconds since its start."""
    return max(0.0, time.time() - one.at)
