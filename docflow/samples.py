"""The sample documents that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from docflow.errors import StorageError

FOLDERS = ("documents", "truth")


def write(folder: Path) -> list[Path]:
    """Write the sample documents to ``folder/documents`` and what they say to ``folder/truth``.

    The documents' paths come back. Files of the same names are overwritten. Raises StorageError when the folder
    cannot be written.
    """
    written: dict[str, list[Path]] = {name: [] for name in FOLDERS}
    try:
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
            sample_files = resources.files("docflow.sample_files") / name
            for file in sorted(sample_files.iterdir(), key=lambda entry: entry.name):
                path = folder / name / file.name
                path.write_bytes(file.read_bytes())
                written[name].append(path)
    except OSError as error:
        raise StorageError(
            f"the samples cannot be written to {folder}: {error.strerror or error}",
            hint="Choose a folder that you may write to.",
        ) from error
    return written["documents"]
