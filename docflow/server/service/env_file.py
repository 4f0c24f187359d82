"""Settings from a file of variables, ``.env``, in the working directory: for ``docflow serve`` alone."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv import dotenv_values

from docflow.errors import ConfigError
from docflow.settings import ALIASES, ENV_PREFIX

NAME = ".env"


def read_env_file(folder: Path | None = None) -> list[str]:
    """Take the variables that name settings of docflow from ``folder``'s .env into the environment; their names.

    A variable that is set already stays as it is; others than docflow's are left alone, and nothing in a value is
    replaced. Raises ConfigError when the file cannot be read: its message quotes nothing of it.
    """
    path = (folder or Path.cwd()) / NAME
    if not path.is_file():
        return []
    known = {name for names in ALIASES.values() for name in names}
    try:
        found = dotenv_values(path, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: it is no text file, or not yours to read") from error
    taken = []
    for name, value in found.items():
        if (name.startswith(ENV_PREFIX) or name in known) and value is not None and name not in os.environ:
            os.environ[name] = value
            taken.append(name)
    return taken
