"""Who may use the service: keys with a name and a scope. Without any key, everybody on this machine may."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from docflow.errors import ConfigError

Scope = Literal["use", "admin"]
SHORTEST = 16
"""Characters of a key at least."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the name of its key. ``admin`` may load and unload models and see what belongs to others."""

    name: str
    admin: bool = False


ANYBODY = Caller("", admin=True)
"""Whoever asks where there are no keys: then the service listens on this machine alone."""
NOBODY = Caller("")
"""Whoever asks without a key for what needs none."""


class Keys:
    """The keys of a service, as hashes: compared in constant time, never shown."""

    def __init__(self, callers: Mapping[bytes, Caller]) -> None:
        self._callers = dict(callers)

    @classmethod
    def parse(cls, text: str) -> Keys:
        """Keys from ``NAME=KEY;NAME:admin=KEY``. Raises ConfigError, which names the entry and never a key."""
        callers: dict[bytes, Caller] = {}
        names: set[str] = set()
        for number, entry in enumerate((one.strip() for one in text.split(";")), start=1):
            if not entry:
                continue
            left, equals, key = entry.partition("=")
            name, colon, scope = (part.strip() for part in left.partition(":"))
            if not equals or not name or (colon and scope not in ("use", "admin")):
                raise ConfigError(
                    f"entry {number} of serve.keys is not well formed", hint="Write NAME=KEY or NAME:admin=KEY."
                )
            if len(key) < SHORTEST:
                raise ConfigError(
                    f"the key of {name!r} is shorter than {SHORTEST} characters",
                    hint="python -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one.",
                )
            if name in names:
                raise ConfigError(f"serve.keys names {name!r} twice")
            names.add(name)
            callers[_digest(key)] = Caller(name, admin=scope == "admin")
        return cls(callers)

    def __bool__(self) -> bool:
        return bool(self._callers)

    def caller(self, authorization: str, api_key: str = "") -> Caller | None:
        """Who sent these headers (``Authorization: Bearer KEY``, or ``x-api-key: KEY``); None for nobody."""
        if not self._callers:
            return ANYBODY
        scheme, _, key = authorization.partition(" ")
        given = key.strip() if scheme.lower() == "bearer" else api_key
        digest = _digest(given)
        found = None
        for known, caller in self._callers.items():  # all of them, whichever fits: the time tells nothing
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
