"""Who runs a model, by its name alone where nothing else is said.

1. An alias is replaced by what it stands for.
2. ``NAME.gguf`` is a file: llama.cpp.
3. A folder with a ``config.json``, or a name with ``/`` (the Hub's): vLLM where it can be used, else Transformers.
4. Anything else: what is called so in docflow's folder, else the active backend.

A backend that is named, by the call or by the alias, wins over all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from docflow.engines.local.backends import EXTRAS, unavailable
from docflow.engines.local.model import ModelConfig, Sampling
from docflow.errors import EngineError, EngineUnavailable, UsageError
from docflow.models.catalogue import Catalogue
from docflow.models.configs import Configs, checked, with_options
from docflow.settings import ModelOptions

Kind = Literal["gguf", "folder", "hub", "other"]
_OF_WEIGHTS = ("vllm", "transformers")
"""The backends that load what the Hub holds, the preferred one first."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a name leads. ``key`` is the same for all names of one model that is loaded in one way.

    ``model_id`` is the model as users know it; ``config`` names the file or folder itself.
    """

    name: str
    key: str
    alias: str
    model_id: str
    backend: str
    config: ModelConfig
    sampling: Sampling


def kind_of(model_id: str) -> Kind:
    """What a name is, by how it is written and whether there is such a folder."""
    if model_id.lower().endswith(".gguf"):
        return "gguf"
    if _is_folder(model_id):
        return "folder"
    return "hub" if "/" in model_id else "other"


def _is_folder(model_id: str) -> bool:
    try:
        return (Path(model_id).expanduser() / "config.json").is_file()
    except (OSError, ValueError, RuntimeError):  # no path at all; RuntimeError: the home of nobody
        return False


def backend_for(kind: Kind, available: Sequence[str], active: str) -> str:
    """The backend for a model of a kind, of those that can be used. Raises EngineUnavailable where none of them can.

    ``active`` is the one that is preferred wherever the kind leaves a choice.
    """
    if kind == "gguf":
        if "llama_cpp" in available:
            return "llama_cpp"
        raise unavailable("llama_cpp")
    if kind == "other":
        if active:
            return active
        raise nothing_available()
    able = [name for name in available if name != "llama_cpp"]
    if active in able:
        return active
    for name in (*_OF_WEIGHTS, *able):
        if name in able:
            return name
    raise unavailable("transformers")


def nothing_available() -> EngineUnavailable:
    """The error where no backend can be used at all."""
    installs = ", ".join(f'pip install "docflow[{extra}]"' for extra in EXTRAS.values())
    return EngineUnavailable(
        "no backend for models can be used here: none of their packages is installed",
        hint=f"One of these: {installs}.",
        retryable=False,
    )


def error_by_name(error: EngineError, config: ModelConfig, model_id: str) -> EngineError:
    """An error of a backend's, which knows the file alone, as it is told of the model: by its name."""
    path = Path(config.model_id)
    known = [str(path)] + ([path.name] if path.parent.name == "snapshots" else [])

    def named(text: str) -> str:
        for one in known:
            text = text.replace(one, model_id)
        return text

    said = type(error)(named(error.message), hint=named(error.hint), retryable=error.retryable)
    said.retry_after = error.retry_after
    return said


class Router:
    """Names to routes: aliases, then files, folders and the Hub's cache, then the backend."""

    def __init__(self, configs: Configs, catalogue: Catalogue, available: Sequence[str], active: str) -> None:
        self.configs, self.catalogue = configs, catalogue
        self.available, self.active = tuple(available), active

    def key_of(self, name: str) -> str:
        """Under which key a model of this name is kept, whether it is there or not. Raises UsageError."""
        wanted = self.configs.wanted(name)
        if wanted.own:
            return wanted.alias
        model_id = wanted.config.model_id
        inside = None if kind_of(model_id) == "gguf" else self.catalogue.named(model_id)
        return inside.name if inside is not None else model_id  # NAME is NAME.gguf, where that is in the folder

    def route(
        self,
        name: str,
        config: ModelConfig | ModelOptions | None = None,
        backend: str = "",
    ) -> Route:
        """Where a name leads, with the settings that are given on top of its own.

        Raises ModelNotFound where nothing is there, EngineUnavailable where nobody can run it, UsageError for
        settings that cannot be.
        """
        if not name or len(name) > 1024 or not name.isprintable():
            raise UsageError("a model's name is missing, or is none")
        wanted = self.configs.wanted(name)
        model_id = wanted.config.model_id
        given = wanted.config
        if isinstance(config, ModelConfig):
            given = checked(replace(config, model_id=model_id))
        elif config is not None:
            given = with_options(given, config)
        backend = backend or wanted.backend
        kind = kind_of(model_id)
        if backend:
            if backend not in self.available:
                raise unavailable(backend)
            path = self._path(model_id, kind)
        elif kind == "gguf" and "llama_cpp" not in self.available:
            raise unavailable("llama_cpp")  # whether the file is there or not: first things first
        else:
            path = self._path(model_id, kind)
            backend = backend_for(self._found(path, kind), self.available, self.active)
        if path.suffix.lower() == ".gguf" and backend == "llama_cpp":
            given = replace(given, projector=self.catalogue.projector(path, given.projector))
        return Route(
            name=name,
            key=self.key_of(name),
            alias=wanted.alias,
            model_id=model_id,
            backend=backend,
            config=replace(given, model_id=str(path)),
            sampling=wanted.sampling,
        )

    def _path(self, model_id: str, kind: Kind) -> Path:
        if kind == "gguf":
            return self.catalogue.gguf(model_id)
        if kind == "folder":
            return Path(model_id).expanduser().absolute()
        return self.catalogue.named(model_id) or self.catalogue.weights(model_id)

    def _found(self, path: Path, kind: Kind) -> Kind:
        """The kind of what a name led to."""
        if path.suffix.lower() == ".gguf":
            return "gguf"
        return "folder" if kind == "other" and (path / "config.json").is_file() else kind
