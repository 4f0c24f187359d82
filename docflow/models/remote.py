"""The models of a docflow service that runs elsewhere: listed, loaded and unloaded over HTTP."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlsplit

from docflow.engines.transport import Address
from docflow.errors import (
    DocflowError,
    EngineTimeout,
    EngineUnavailable,
    ModelBusy,
    ModelNotFound,
    NotEnoughMemory,
    UsageError,
)

LOAD_SECONDS = 3600.0
"""A large model is read from a slow disk for many minutes."""
_MOST_BYTES = 16 << 20
_ERRORS: dict[int, type[DocflowError]] = {
    404: ModelNotFound,
    409: ModelBusy,
    422: UsageError,
    507: NotEnoughMemory,
}


class RemoteModels:
    """A service's models. ``key`` is one of its keys; loading and unloading want an admin's."""

    def __init__(self, url: str, key: str = "") -> None:
        """Raises ConfigError for a URL that is none."""
        self._address = Address.parse(url, key)

    def list(self) -> dict[str, Any]:
        """What ``GET /models`` answers. Raises EngineUnavailable where nobody answers or it runs no models."""
        return self._ask("GET", "/models", None, 60.0)

    def load(self, name: str, backend: str = "", options: dict[str, Any] | None = None) -> dict[str, Any]:
        """Load a model; its state. Raises ModelNotFound, ModelBusy, NotEnoughMemory, UsageError, EngineUnavailable."""
        body = {**({"backend": backend} if backend else {}), **({"config": options} if options else {})}
        return self._ask("POST", f"/models/{quote(name)}/load", body, LOAD_SECONDS)

    def unload(self, name: str) -> bool:
        """Unload a model; whether it was loaded. Raises as ``load``."""
        return bool(self._ask("POST", f"/models/{quote(name)}/unload", None, LOAD_SECONDS)["unloaded"])

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> dict[str, Any]:
        parts = urlsplit(self._address.base)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        headers = {"Content-Type": "application/json"}
        if self._address.authorization:
            headers["Authorization"] = self._address.authorization
        connection = kind(parts.hostname or "", parts.port, timeout=seconds)
        shown = self._address.shown
        try:
            connection.request(method, parts.path + path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            status, content = answer.status, answer.read(_MOST_BYTES)
        except TimeoutError as error:
            raise EngineTimeout(f"{shown} did not answer within {seconds:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise EngineUnavailable(
                f"{shown} cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}",
                hint="Start it with docflow serve --models, or give its address with --url.",
            ) from error
        finally:
            connection.close()
        try:
            said = json.loads(content)
        except (ValueError, RecursionError):
            said = None
        if status == 200 and isinstance(said, dict):
            return said
        raise self._refused(status, said)

    def _refused(self, status: int, said: Any) -> DocflowError:
        shown = self._address.shown
        detail = said.get("detail") if isinstance(said, dict) else None
        if not isinstance(detail, str):
            return EngineUnavailable(
                f"{shown} answered {status}, and not as docflow does", hint="See that the address is a docflow service."
            )
        if status in (401, 403):
            return EngineUnavailable(
                f"{shown} answered {status}: {detail[:500]}",
                hint="Give an admin's key of the service as DOCFLOW_API_KEY.",
                retryable=False,
            )
        message, hint = detail[:1000], ""
        if ". " in message:
            message, _, hint = message.partition(". ")
        return _ERRORS.get(status, EngineUnavailable)(message, hint=hint)
