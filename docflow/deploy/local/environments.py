"""An engine's own environment: made once, reused as long as what it is made of stays the same.

Never docflow's own: the engines pin hundreds of packages. A marker beside the folder says that it is whole, so that
what an interrupted build left is made again; a lock lets one build at a time go on.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from docflow.errors import EngineUnavailable
from docflow.sizes import GIB, shown_size

FILES = Path(__file__).parent / "files"
UV = "uv==0.13.8"
_TAIL_LINES = 12
_BUILD_SECONDS = 3600.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an environment is made of.

    ``complete`` says that the requirements name every package, so that none is looked for beyond them; ``patches`` are
    modules that are added, ``disk`` the bytes that all of it takes.
    """

    kind: str
    device: str
    requirements: Path
    complete: bool
    patches: tuple[Path, ...]
    disk: int

    @property
    def made_of(self) -> tuple[Path, ...]:
        return (self.requirements, *self.patches)


# On CPU the packages' own metadata would ask for CUDA builds: hence the complete lists. The common torchvision wheel is
# such a build too, whose C part cannot load; SGLang's CPU kernels are in no registry.
_PATCHES = (FILES / "sgl_kernel.py", FILES / "torchvision_operators.py")
_RECIPES = (
    Recipe("sglang", "cpu", FILES / "sglang-cpu.txt", True, _PATCHES, 3 * GIB),
    Recipe("vllm", "cpu", FILES / "vllm-cpu.txt", True, _PATCHES, 3 * GIB),
    Recipe("sglang", "cuda", FILES / "sglang-cuda.txt", False, (), 16 * GIB),
    Recipe("vllm", "cuda", FILES / "vllm-cuda.txt", False, (), 16 * GIB),
)


class BuildFailed(EngineUnavailable):
    """An environment could not be made."""

    retryable = False


def recipe(kind: str, device: str) -> Recipe:
    """What the environment of an engine on ``cpu`` or ``cuda`` is made of."""
    return next(one for one in _RECIPES if (one.kind, one.device) == (kind, device))


def digest_of(made_of: Sequence[Path]) -> str:
    """A name for what a thing is made of."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in made_of)).hexdigest()[:12]


def place_of(root: Path, name: str, made_of: Sequence[Path]) -> Path:
    """Where ``built`` keeps a thing."""
    return root / f"{name}-{digest_of(made_of)}"


def is_whole(folder: Path) -> bool:
    """Whether the build of a folder came to its end."""
    return folder.with_name(f"{folder.name}.ready").exists() and folder.is_dir()


def built(
    root: Path, name: str, made_of: Sequence[Path], build: Callable[[Path], None], tell: Tell | None = None
) -> Path:
    """The folder of something that ``build`` makes, made when it is not there or only half there."""
    folder = place_of(root, name, made_of)
    root.mkdir(parents=True, exist_ok=True)
    with locked(root / f"{name}.lock", tell and (lambda: tell("another process makes it; waiting for that"))):
        if not is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            folder.with_name(f"{folder.name}.ready").touch()
    return folder


@contextmanager
def locked(path: Path, when_waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock on a file; it goes with the process, however that ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if when_waiting is not None:
                when_waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def environment(root: Path, wanted: Recipe, *, tell: Tell | None = None) -> Path:
    """The Python of an engine's environment below ``root``, which is made when it is not there.

    Raises BuildFailed with the last lines of what was printed and where all of it is, and where the disk is too full.
    """
    name = f"{wanted.kind}-{wanted.device}"
    log = root / f"{name}.log"

    def build(folder: Path) -> None:
        _check_disk(root, wanted)
        if tell is not None:
            tell(f"making the environment of {wanted.kind} for {wanted.device}, once (log: {log})")
        make_environment(wanted, folder, uv=find_uv(root, log), log=log)

    try:
        folder = built(root, name, wanted.made_of, build, tell)
    except OSError as error:
        raise BuildFailed(
            f"the environment of {wanted.kind} cannot be made in {root}: {error.strerror or error}",
            hint="DOCFLOW_CACHE_DIR may name a folder elsewhere.",
        ) from error
    return folder / "bin" / "python"


def make_environment(wanted: Recipe, folder: Path, *, uv: str, log: Path) -> None:
    """Make an environment in ``folder``. Raises BuildFailed."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    call([uv, "venv", "--quiet", "--python", version, str(folder)], log)
    command = [uv, "pip", "install", "--python", str(folder / "bin" / "python")]
    if wanted.complete:
        command.append("--no-deps")
    told = pip_settings()
    places = told.get("find-links", "").split()
    for place in places:
        command += ["--find-links", place]
    if wanted.device == "cpu" and not places and "extra-index-url" not in told:
        command += ["--torch-backend", "cpu"]  # torch's builds for CPUs are in an index of their own, which uv knows
    call([*command, "-r", str(wanted.requirements)], log)
    if wanted.patches:
        _patch(folder, wanted)


def _patch(folder: Path, wanted: Recipe) -> None:
    [packages] = folder.glob("lib/python3.*/site-packages")
    for patch in wanted.patches:
        if patch.name != "sgl_kernel.py" or wanted.kind == "sglang":
            shutil.copy(patch, packages)
    # torchvision's Python part, which is all that images need, imports once the operators exist that it describes.
    _prepend(packages / "torchvision" / "__init__.py", "import torchvision_operators\n")


def _prepend(path: Path, line: str) -> None:
    text = path.read_text(encoding="utf-8")
    path.unlink()  # uv links installed files to its cache: writing in place would change every other environment
    path.write_text(line + text, encoding="utf-8")


def find_uv(root: Path, log: Path) -> str:
    """uv from the PATH, or one of our own below ``root``. Raises BuildFailed."""
    if found := shutil.which("uv"):
        return found
    folder = root / "uv"
    with locked(root / "uv.lock"):
        if not (folder / "bin" / "uv").exists():
            call([sys.executable, "-m", "venv", str(folder)], log)
            call([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", UV], log)
    return str(folder / "bin" / "uv")


def _check_disk(root: Path, wanted: Recipe) -> None:
    free = shutil.disk_usage(root).free
    if free < wanted.disk:
        raise BuildFailed(
            f"the environment of {wanted.kind} takes about {shown_size(wanted.disk)}, and {root} has room for "
            f"{shown_size(free)}",
            hint="Make room, or let DOCFLOW_CACHE_DIR name a folder on another disk.",
        )


@lru_cache
def pip_settings() -> dict[str, str]:
    """What pip was told on this machine, by file or variable; uv does not read it by itself."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    settings = {}
    for line in listed.stdout.splitlines():  # global.find-links='/wheels', then :env:.find-links='/wheels'
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"")
    return settings


_PIP_TO_UV = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}


def call(command: Sequence[str], log: Path, *, cwd: Path | None = None) -> None:
    """Run a command of a build, its output in ``log``. Raises BuildFailed with the last lines of it."""
    told = pip_settings()
    environment = {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # all indexes count alike, as for pip
    environment |= {theirs: told[ours] for ours, theirs in _PIP_TO_UV.items() if ours in told}
    environment |= {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a+", encoding="utf-8", errors="replace") as file:
        start = file.seek(0, os.SEEK_END)
        try:
            done = subprocess.run(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=_BUILD_SECONDS,
                check=False,
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = 124
        if code == 0:
            return
        file.seek(start)
        said = [line.rstrip() for line in file.read().splitlines() if line.strip()][-_TAIL_LINES:]
    raise BuildFailed(
        f"{Path(command[0]).name} ended with {code}: " + "\n".join(said or ["it printed nothing"]),
        hint=_hint("\n".join(said), log),
    )


def _hint(said: str, log: Path) -> str:
    where = f"All of it is in {log}."
    low = said.lower()
    if "no space left" in low:
        return f"The disk is full: make room, or let DOCFLOW_CACHE_DIR name a folder elsewhere. {where}"
    if any(word in low for word in ("dns error", "connect", "timed out", "network", "resolve host")):
        return f"The package registry may be out of reach: pip's settings say where it is. {where}"
    if "torch" in low:
        return f"torch's build for CPUs was not found: PIP_FIND_LINKS may name a folder that has it. {where}"
    return where
