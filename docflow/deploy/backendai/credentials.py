"""Where the manager is and who asks: from the environment alone, never from a command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from docflow.errors import ConfigError, CredentialsError

DEFAULT_ENDPOINT = "http://localhost:8081"
VARIABLES = {
    "endpoint": ("BACKEND_AI_ENDPOINT", "BACKEND_ENDPOINT"),
    "access_key": ("BACKEND_AI_ACCESS_KEY", "BACKEND_ACCESS_KEY"),
    "secret_key": ("BACKEND_AI_SECRET_KEY", "BACKEND_SECRET_KEY"),
}
"""Each value's variable, and the one that Backend.AI's own client reads for it."""
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""The Hub's token: today's name and the older one."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The manager's address and a key pair."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Credentials:
        """Raises CredentialsError that names what is missing, ConfigError for an address that is none."""
        found = {name: _first(environment, variables) for name, variables in VARIABLES.items()}
        missing = [VARIABLES[name][0] for name in ("access_key", "secret_key") if not found[name]]
        if missing:
            raise CredentialsError(
                f"Backend.AI credentials are required: {' and '.join(missing)} not set",
                hint="export BACKEND_AI_ACCESS_KEY=... BACKEND_AI_SECRET_KEY=... with the web console's key pair "
                f"(and BACKEND_AI_ENDPOINT where the manager is not {DEFAULT_ENDPOINT}).",
            )
        return cls(_endpoint(found["endpoint"]), found["access_key"], found["secret_key"])


def hub_token(environment: Mapping[str, str] = os.environ) -> str:
    """The Hub's token from the environment, empty where there is none."""
    return _first(environment, TOKENS)


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environment.get(name, "").strip())), "")


def _endpoint(text: str) -> str:
    text = (text or DEFAULT_ENDPOINT).rstrip("/")
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.username or parts.query or parts.fragment:
        raise ConfigError(
            "BACKEND_AI_ENDPOINT is no address of a manager", hint=f"Write it as {DEFAULT_ENDPOINT}, without keys."
        )
    return text
