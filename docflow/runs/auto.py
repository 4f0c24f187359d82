"""The engine that is called ``auto``, in the options of a run: by the names of those that run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from docflow.runs.model import RunOptions


def with_engines_named(options: RunOptions) -> tuple[RunOptions, str]:
    """The options with the engines by name that ``auto`` stands for, and a sentence that says which; "" without it.

    Raises ConfigError.
    """
    given = options.engine or options.settings.engine
    if not isinstance(given, str | Sequence):
        return options, ""
    from docflow.engines.started import choose, is_auto

    if not is_auto(given):
        return options, ""
    chosen = choose(given, options.settings.fallbacks if options.fallback is None else options.fallback)
    settings = options.settings.model_copy(update={"fallbacks": ";".join(chosen.fallbacks)})
    return replace(options, engine=list(chosen.engines), fallback=None, settings=settings), chosen.note
