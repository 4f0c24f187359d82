"""The models that are on this machine: GGUF files in docflow's folder, folders of weights, and the Hub's cache.

Only files are looked at; nothing is downloaded, and no package of the Hub's is needed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from docflow.errors import ModelNotFound

PROJECTOR = "mmproj"
"""GGUF files with this in their names read images for a model; they are none."""
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_PRECISION = re.compile(r"b?f\d+|i?q\d+|fp\d+|[klms0]|xs|xxs")
_MOST_FILES = 10_000
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


def hub_cache() -> Path:
    """Where the Hub's clients keep what they download, by the variables that those go by."""
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if given:
        return Path(given).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "huggingface" / "hub"


def is_hub_id(name: str) -> bool:
    """Whether a name may be one of the Hub's: ``OWNER/NAME``, or ``NAME`` for old ones."""
    return _HUB_ID.fullmatch(name) is not None and ".." not in name and "--" not in name


class Catalogue:
    """What is in the folder of models and in the Hub's cache."""

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        self.folder = folder
        self._cache = cache

    @property
    def cache(self) -> Path:
        return self._cache or hub_cache()

    def files(self) -> dict[str, Path]:
        """The GGUF files in the folder by their names in it, as in ``team/small.gguf``; projectors are none."""
        return {path.relative_to(self.folder).as_posix(): path for path in _ggufs(self.folder)}

    def folders(self) -> dict[str, Path]:
        """The folders of weights in the folder, by their names in it."""
        if not self.folder.is_dir():
            return {}
        found = sorted(path.parent for path in self.folder.glob("*/config.json"))
        return {path.name: path for path in found}

    def hub(self) -> dict[str, Path]:
        """The models in the Hub's cache by their ids; those of which a file is missing that they need are left out.

        A repository of GGUF files gives each of them as ``OWNER/NAME/FILE.gguf``.
        """
        found: dict[str, Path] = {}
        if not self.cache.is_dir():
            return found
        for entry in sorted(self.cache.glob("models--*")):
            name = entry.name.removeprefix("models--").replace("--", "/")
            snapshot = self.snapshot(name)
            if snapshot is None:
                continue
            if (snapshot / "config.json").is_file():
                found[name] = snapshot
            for path in _ggufs(snapshot):
                found[f"{name}/{path.relative_to(snapshot).as_posix()}"] = path
        return found

    def snapshot(self, name: str) -> Path | None:
        """The folder of a Hub's model in the cache: of its main branch, else the one that changed last."""
        if not is_hub_id(name):
            return None
        entry = self.cache / f"models--{name.replace('/', '--')}"
        try:
            revision = (entry / "refs" / "main").read_text(encoding="ascii").strip()
            if re.fullmatch(r"[0-9a-f]{7,64}", revision) and (entry / "snapshots" / revision).is_dir():
                return entry / "snapshots" / revision
            others = [path for path in (entry / "snapshots").iterdir() if path.is_dir()]
        except (OSError, UnicodeDecodeError):
            try:
                others = [path for path in (entry / "snapshots").iterdir() if path.is_dir()]
            except OSError:
                return None
        return max(others, key=lambda path: path.stat().st_mtime, default=None)

    # --- one model by its name ------------------------------------------------------------------------------------

    def gguf(self, name: str) -> Path:
        """The file that a name ending in .gguf means: in docflow's folder, in the Hub's cache, or a path.

        Raises ModelNotFound.
        """
        inside = self.folder / name
        if ".." not in Path(name).parts and _is_file(inside):
            return inside
        owner, _, rest = name.partition("/")
        repository, _, file = rest.partition("/")
        snapshot = self.snapshot(f"{owner}/{repository}") if file and ".." not in Path(file).parts else None
        if snapshot is not None and _is_file(snapshot / file):
            return snapshot / file
        with contextlib.suppress(RuntimeError):  # the home of nobody
            path = Path(name).expanduser()
            if _is_file(path):
                return path.absolute()
        hint = f"Put it into {self.folder}, or give its whole path; docflow models list shows what is there."
        if repository and file and is_hub_id(f"{owner}/{repository}"):
            hint = f"docflow models pull {owner}/{repository} --file {file} downloads it."
        raise ModelNotFound(f"there is no file {name}", hint=hint)

    def named(self, name: str) -> Path | None:
        """A file or folder in docflow's folder by its name, with or without .gguf; None where there is none."""
        if "/" in name or "\\" in name or name in ("", ".", "..") or "\0" in name:
            return None
        for path in (self.folder / f"{name}.gguf", self.folder / name):
            if _is_file(path) or _is_file(path / "config.json"):
                return path
        return None

    def weights(self, name: str) -> Path:
        """The folder, or the one GGUF file, of a Hub's model that is in the cache. Raises ModelNotFound."""
        snapshot = self.snapshot(name)
        if snapshot is None:
            if not is_hub_id(name) or "/" not in name:
                raise ModelNotFound(
                    f"there is no model {name[:200]!r}", hint="docflow models list shows the models that there are."
                )
            raise ModelNotFound(
                f"{name} is not on this machine",
                hint=f"docflow models pull {name} downloads it; docflow models list shows what is there.",
            )
        if (snapshot / "config.json").is_file():
            return snapshot
        ggufs = list(_ggufs(snapshot))
        if len(ggufs) == 1:
            return ggufs[0]
        if ggufs:
            raise ModelNotFound(
                f"{name} holds {len(ggufs)} GGUF files",
                hint=f"Name one of them, as in {name}/{ggufs[0].relative_to(snapshot).as_posix()}.",
            )
        raise ModelNotFound(
            f"{name} is not whole on this machine: it has no config.json",
            hint=f"docflow models pull {name} goes on with the download.",
        )

    def projector(self, model: Path, named: str) -> str:
        """The file that reads images for a GGUF model: the one named, else the one beside it; "" for none.

        Where there are several models in a folder, a projector belongs to the one that it is called after.

        Raises ModelNotFound where the named one is not there.
        """
        if named:
            for path in (model.parent / named, self.folder / named, Path(named).expanduser()):
                if path.is_file():
                    return str(path.absolute())
            raise ModelNotFound(f"there is no projector {named}", hint=f"Put it beside the model, {model.name}.")
        beside = [path for path in model.parent.glob("*.gguf") if PROJECTOR in path.name.lower()]
        alone = sum(1 for path in model.parent.glob("*.gguf") if not _LATER_PART.search(path.name)) == 2
        own = [path for path in beside if alone or _is_of(path, model)]
        return str(own[0].absolute()) if len(own) == 1 else ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # longer than a name of a file may be, as names in requests can be
        return False


def _is_of(projector: Path, model: Path) -> bool:
    """Whether a projector's name says that it is this model's: all of its words but those of its precision."""
    words = _words(projector) - {PROJECTOR}
    return bool(words) and words <= _words(model)


def _words(path: Path) -> set[str]:
    words = re.split(r"[^a-z0-9]+", path.stem.lower())
    return {word for word in words if word and not _PRECISION.fullmatch(word)}


def _ggufs(folder: Path) -> Iterator[Path]:
    """The models among the GGUF files of a folder and those in it; of one in several files, the first."""
    if not folder.is_dir():
        return
    found = 0
    for path in sorted(folder.rglob("*.gguf")):
        if PROJECTOR in path.name.lower() or _LATER_PART.search(path.name) or not path.is_file():
            continue
        found += 1
        if found > _MOST_FILES:
            return
        yield path
