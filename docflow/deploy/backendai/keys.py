"""The API keys of servers that were deployed: one file for each session, which only its owner may read."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from docflow.errors import StorageError
from docflow.settings import load_settings

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def new_key() -> str:
    """VLLM_API_KEY, or a new key: a server in a session wants one from everybody who asks it something."""
    return os.environ.get("VLLM_API_KEY", "").strip() or secrets.token_urlsafe(32)


def folder() -> Path:
    """Where the keys are."""
    return load_settings().cache_dir / "deploy" / "backendai"


def keep(session: str, key: str) -> Path:
    """Write a session's key; the file. Raises StorageError."""
    path = _path(session)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(key)
    except OSError as error:
        raise StorageError(f"the server's key cannot be written to {path}: {error.strerror or error}") from error
    return path


def kept(session: str) -> str:
    """A session's key: the one from here, else VLLM_API_KEY, else empty."""
    try:
        return _path(session).read_text("utf-8")
    except OSError:
        return os.environ.get("VLLM_API_KEY", "").strip()


def forget(session: str) -> None:
    """Take away the key of a session that has ended."""
    _path(session).unlink(missing_ok=True)


def _path(session: str) -> Path:
    if not _ID.fullmatch(session):  # it comes from the manager, and becomes a file's name
        raise StorageError(f"the manager calls a session {session[:80]!r}, which is no id")
    return folder() / f"{session}.key"
