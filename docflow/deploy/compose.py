"""Writing the compose files out: those of the service and of the overlays that are wanted, with keys of their own."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, get_args

from docflow.errors import StorageError, UsageError

Overlay = Literal["vllm", "sglang", "vlm", "monitoring"]
OVERLAYS: tuple[Overlay, ...] = get_args(Overlay)

_BASE = ("Dockerfile", "dockerignore", "docker-compose.yml", "env.example", "wheels/")
_GPU = ("scripts/gpu.sh", "scripts/download_model.py")
_FILES: dict[Overlay, tuple[str, ...]] = {
    "vllm": ("docker-compose.vllm.yml", "scripts/run_vllm.sh", "scripts/start_vllm.sh", "scripts/waiting.sh", *_GPU),
    "sglang": ("docker-compose.sglang.yml", "scripts/run_sglang.sh", "scripts/waiting.sh", *_GPU),
    "vlm": ("docker-compose.vlm.yml", "Dockerfile.vlm", "scripts/start_vlm.sh", *_GPU),
    "monitoring": ("docker-compose.monitoring.yml", "prometheus/", "grafana/"),
}
_DOTTED = {"dockerignore": ".dockerignore", "env.example": ".env.example"}
"""Files whose names begin with a dot, which packages do not carry."""
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and the command that starts it (from within the folder)."""

    files: tuple[Path, ...]
    command: str
    keys_made: bool


def write_compose(folder: Path, overlays: Iterable[str], *, wheel: Path | None = None, force: bool = False) -> Written:
    """Write the compose files into a folder. ``wheel`` is a build of docflow to install instead of a released one.

    ``.env``, which holds the keys, is written once and then left alone. Raises UsageError for overlays that there are
    not or that do not go together, and when another file of the folder would be changed and ``force`` is not set;
    StorageError when the folder cannot be written.
    """
    overlays = set(overlays)
    if unknown := sorted(overlays.difference(OVERLAYS)):
        raise UsageError(f"there is no overlay {unknown[0]!r}", hint=f"There are {', '.join(OVERLAYS)}.")
    if "vlm" in overlays and overlays - {"vlm", "monitoring"}:
        raise UsageError(
            "the overlay vlm is a service of its own, with vLLM in it", hint="Only monitoring can stand beside it."
        )
    wanted = [overlay for overlay in OVERLAYS if overlay in overlays]
    release = metadata.version("docflow")
    files = dict(_chosen(wanted))
    values = {
        "RELEASE": release,
        "ADMIN_KEY": secrets.token_urlsafe(32),
        "METRICS_KEY": secrets.token_urlsafe(32),
        "GRAFANA_PASSWORD": secrets.token_urlsafe(18),
    }
    example = files[".env.example"].decode()
    environment = re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], example)
    files[".env.example"] = re.sub(
        r"@([A-Z_]+)@", lambda match: release if match[1] == "RELEASE" else "", example
    ).encode()
    files["constraints.txt"] = "".join(f"{line}\n" for line in constraints()).encode()
    try:
        changed = [name for name, content in files.items() if _differs(folder / name, content)]
        if changed and not force:
            raise UsageError(
                f"{folder / changed[0]} is there and differs from what would be written",
                hint="--force overwrites it; .env stays as it is in any case.",
            )
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if path.match("scripts/run_*.sh"):
                path.chmod(0o755)
        if wheel is not None:
            shutil.copy(wheel, folder / "wheels")
        if "vlm" in wanted:
            for name in ("models", "logs"):
                (folder / name).mkdir(exist_ok=True)
        keys_made = _write_new(folder / ".env", environment)
    except OSError as error:
        raise StorageError(f"the files cannot be written to {folder}: {error.strerror or error}") from error
    return Written(tuple(folder / name for name in files), command_of(wanted), keys_made)


def command_of(overlays: Iterable[str]) -> str:
    """The command that starts the service with these overlays."""
    overlays = list(overlays)
    names = [] if "vlm" in overlays else ["docker-compose.yml"]  # the one container is a service of its own
    names += [f"docker-compose.{overlay}.yml" for overlay in overlays]
    return f"docker compose {' '.join(f'-f {name}' for name in names)} up --build --detach"


def constraints() -> list[str]:
    """The releases of everything that docflow needs, as they are installed here: ``name==version``, sorted."""
    found: dict[str, str] = {}
    waiting = ["docflow"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another platform, or an extra that is not here
            continue
        found[name] = distribution.version
        for requirement in distribution.requires or ():
            if "extra ==" not in requirement and (match := _NAME.match(requirement)):
                waiting.append(match[0])
    del found["docflow"]
    return [f"{name}=={version}" for name, version in sorted(found.items()) if "+" not in version]


def _chosen(overlays: Iterable[Overlay]) -> Iterator[tuple[str, bytes]]:
    """The files to write, by their path in the folder."""
    wanted = (*_BASE, *(name for overlay in overlays for name in _FILES[overlay]))
    for name, file in _walk(resources.files("docflow.deploy") / "files"):
        if any(name == one or (one.endswith("/") and name.startswith(one)) for one in wanted):
            yield _DOTTED.get(name, name), file.read_bytes()


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() != content


def _write_new(path: Path, text: str) -> bool:
    """Write a file that only its owner may read, unless it is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return True
