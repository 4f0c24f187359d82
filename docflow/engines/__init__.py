"""Engines by name: one table says where each lives and what must be installed for it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from docflow.engines.base import Engine, ServerOptions
from docflow.engines.members import Places
from docflow.engines.specs import EngineSpec, parse_roles
from docflow.errors import EngineUnavailable
from docflow.settings import ServerSettings

__all__ = ["EngineSpec", "create", "create_one"]


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    extra: str = ""


_TABLE = {
    "embedded": _Entry("docflow.engines.embedded.engine:EmbeddedEngine"),
    "scripted": _Entry("docflow.engines.scripted:ScriptedEngine.from_file"),
    "sglang": _Entry("docflow.engines.sglang:SglangEngine"),
    "vllm": _Entry("docflow.engines.vllm:VllmEngine"),
}


def create(
    engines: str | Sequence[str],
    fallbacks: str | Sequence[str] = "",
    settings: ServerSettings | None = None,
    *,
    places: Places | None = None,
    model: str = "",
) -> Engine:
    """The engine that ``engines`` name, with ``fallbacks`` to stand in for it: a pool, unless it is a single local one.

    Both are lists as ``parse_roles`` takes them; ``places`` are those that a pool shares with other processes,
    ``model`` is what servers that name none are asked for (stand-ins have their own). Raises ConfigError for a bad
    name, EngineUnavailable when a package is missing.
    """
    roles = parse_roles(engines, fallbacks)
    if roles.alone:
        return create_one(roles.engines[0])
    from docflow.engines.pool import Pool

    settings = settings or ServerSettings()
    with ExitStack() as made:
        tiers = []
        for number, specs in enumerate((roles.engines, *roles.fallbacks)):
            tier = []
            for given in specs:
                asked = given.is_server and not given.model and number == 0
                spec = replace(given, model=model) if asked else given
                engine = create_one(spec, settings)
                made.callback(engine.close)
                tier.append((spec, engine))
            tiers.append(tier)
        pool = Pool(tiers, settings, places=places)
        made.pop_all()
    return pool


def create_one(spec: EngineSpec, settings: ServerSettings | None = None) -> Engine:
    """Make the one engine that a spec names. Raises ConfigError, and EngineUnavailable when a package is missing."""
    if spec.is_model:
        from docflow.engines.local.engine import LocalEngine

        return LocalEngine.of(spec)
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
    arguments: list[str | ServerOptions] = [spec.target] if spec.target else []
    if spec.is_server:
        arguments.append(_options(spec, settings or ServerSettings()))
    engine: Engine = made(*arguments)  # type: ignore[operator]
    return engine


def _options(spec: EngineSpec, settings: ServerSettings) -> ServerOptions:
    from docflow.engines.started import key_for

    key = settings.api_key.get_secret_value() if settings.api_key and not spec.credentials else ""
    key = key_for(spec.target) or key
    return ServerOptions(
        model=spec.model,
        api_key=key,
        connect_seconds=settings.connect_seconds,
        connections=settings.requests,
    )
