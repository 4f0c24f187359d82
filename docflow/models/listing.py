"""What models there are: each with who would run it, what it needs, and what stands in its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from docflow.engines.local.model import ModelConfig
from docflow.errors import DocflowError, EngineError, ModelNotFound
from docflow.models.managers import BackendManager, Room
from docflow.models.memory import place_of
from docflow.models.routing import Route, Router, error_by_name


class Listing:
    """Describes models as they are now. ``managers`` tells which are loaded."""

    def __init__(self, router: Router, managers: Mapping[str, BackendManager], room: Room) -> None:
        self._router, self._managers, self._room = router, managers, room
        self._sizes: dict[tuple[str, ModelConfig], tuple[int, int]] = {}

    def names(self) -> list[str]:
        """Every name that can be given: aliases, what is on the disk, what is loaded."""
        catalogue = self._router.catalogue
        found: dict[str, None] = dict.fromkeys(self._router.configs.aliases)
        found |= dict.fromkeys(catalogue.files())
        found |= dict.fromkeys(catalogue.folders())
        found |= dict.fromkeys(catalogue.hub())
        for manager in self._managers.values():
            found |= dict.fromkeys(manager.models)
        return list(found)

    def described(self, name: str) -> dict[str, Any]:
        """One model, with the fields that ``UnifiedModelManager.list_models`` names. Raises UsageError."""
        wanted = self._router.configs.wanted(name)
        key = self._router.key_of(name)
        # Taken at once: the event loop may unload it while this thread describes it.
        running = next(((one, found) for one in self._managers.values() if (found := one.models.get(key))), None)
        said: dict[str, Any] = {
            "id": name,
            "alias": wanted.config.model_id if wanted.alias else None,
            "backend": None,
            "loaded": running is not None,
            "loading": any(key in manager.loading for manager in self._managers.values()),
            "in_use": 0,
            "present": True,
            "memory_bytes": None,
            "fits": None,
            "problem": None,
            "settings": {},
        }
        if running is not None:
            manager, one = running
            return said | {
                "backend": manager.backend.name,
                "in_use": one.users,
                "memory_bytes": one.needed,
                "fits": True,
                "context": one.model.context,
                "settings": _shown(one.config, wanted.config.model_id),
            }
        try:
            route = self._router.route(name)
        except DocflowError as error:
            present = not isinstance(error, ModelNotFound)
            return said | {"present": present, "problem": error.message, "settings": _shown(wanted.config, "")}
        said |= {"backend": route.backend, "settings": _shown(route.config, route.model_id)}
        try:
            needed = self._needed(route)
        except OSError:
            return said | {"present": False, "problem": "its files have gone"}
        except DocflowError as error:
            named = error_by_name(error, route.config, name) if isinstance(error, EngineError) else error
            return said | {"problem": named.message}
        place = place_of(route.backend, route.config)
        fits = self._room.memory.fits(needed, place, route.config, self._room.held(place))
        return said | {"memory_bytes": needed, "fits": fits}

    def _needed(self, route: Route) -> int:
        """Bytes that a model needs; its files are read again only where they changed. Raises EngineError."""
        changed = Path(route.config.model_id).stat().st_mtime_ns
        known = self._sizes.get((route.backend, route.config))
        if known is None or known[0] != changed:
            needed = self._managers[route.backend].backend.memory_needed(route.config)
            known = self._sizes[route.backend, route.config] = (changed, needed)
        return known[1]


def _shown(config: ModelConfig, model_id: str) -> dict[str, Any]:
    """Settings as they are shown: the model by its name, and no path of this machine."""
    said = asdict(config)
    if said["projector"]:
        said["projector"] = said["projector"].rpartition("/")[2]
    said["model_id"] = model_id or config.model_id
    return said
