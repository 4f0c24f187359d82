"""Engines by name: one table says where each lives and what must be installed for it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from docflow.engines.base import Engine
from docflow.errors import ConfigError, EngineUnavailable


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine as the user names it: ``embedded``, or ``NAME=TARGET`` where the target is a URL or a file."""

    name: str
    target: str = ""

    @classmethod
    def parse(cls, text: str) -> EngineSpec:
        """Raises ConfigError for a name that is not in the table, or a target that is missing or not wanted."""
        name, _, target = text.strip().partition("=")
        if name not in _TABLE:
            raise ConfigError(f"there is no engine {name!r}", hint=f"Engines are {', '.join(sorted(_TABLE))}.")
        if bool(target) != _TABLE[name].takes_target:
            wanted = f"{name}={_TABLE[name].target_example}" if _TABLE[name].takes_target else name
            raise ConfigError(f"engine {text!r} is not well formed", hint=f"Write --engine {wanted}.")
        return cls(name, target)


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    extra: str = ""
    target_example: str = ""

    @property
    def takes_target(self) -> bool:
        return bool(self.target_example)


_TABLE = {
    "embedded": _Entry("docflow.engines.embedded.engine:EmbeddedEngine"),
    "scripted": _Entry("docflow.engines.scripted:ScriptedEngine.from_file", target_example="replies.jsonl"),
}


def create(spec: str | EngineSpec) -> Engine:
    """Make the engine that a spec names.

    Raises ConfigError for a bad spec, EngineUnavailable when a package is missing.
    """
    if isinstance(spec, str):
        spec = EngineSpec.parse(spec)
    entry = _TABLE[spec.name]
    module_name, _, attribute = entry.path.partition(":")
    try:
        made = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not entry.extra or (error.name or "").startswith("docflow"):
            raise
        raise EngineUnavailable(
            f"engine {spec.name} needs the package {error.name}",
            hint=f'pip install "docflow[{entry.extra}]"',
            retryable=False,
        ) from error
    for part in attribute.split("."):
        made = getattr(made, part)
    engine: Engine = made(spec.target) if entry.takes_target else made()  # type: ignore[operator]
    return engine
