"""Writing out the two scripts and the guide."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from docflow.errors import StorageError, UsageError


def write_scripts(folder: Path, *, force: bool = False) -> list[Path]:
    """Write the scripts and the guide into a folder; the files.

    Raises UsageError where one is there that differs and ``force`` is not set, StorageError where they cannot be
    written.
    """
    source = resources.files("docflow.deploy.files") / "backendai"
    files = {entry.name: entry.read_bytes() for entry in source.iterdir() if entry.name.endswith((".sh", ".md"))}
    written = []
    try:
        for name, content in sorted(files.items()):
            path = folder / name
            if not force and path.exists() and path.read_bytes() != content:
                raise UsageError(
                    f"{path} is there and differs from what would be written", hint="--force overwrites it."
                )
            written.append(path)
        folder.mkdir(parents=True, exist_ok=True)
        for path in written:
            path.write_bytes(files[path.name])
            if path.suffix == ".sh":
                path.chmod(0o755)
    except OSError as error:
        raise StorageError(f"the files cannot be written to {folder}: {error.strerror or error}") from error
    return written
