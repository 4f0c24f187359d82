"""The documents that come with the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docflow.errors import StorageError
from docflow.samples import write


def test_the_sample_documents_are_written_each_with_its_truth(tmp_path: Path) -> None:
    written = write(tmp_path / "new" / "folder")
    assert len(written) >= 6
    for path in written:
        truth = json.loads((tmp_path / "new" / "folder" / "truth" / f"{path.stem}.json").read_text(encoding="utf-8"))
        assert truth["document"] == path.name
        assert path.stat().st_size > 500


def test_the_sample_documents_are_small(tmp_path: Path) -> None:
    assert sum(path.stat().st_size for path in write(tmp_path)) < 400_000


def test_writing_them_twice_gives_the_same_documents(tmp_path: Path) -> None:
    assert write(tmp_path) == write(tmp_path)


def test_a_folder_that_cannot_be_made_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written to") as told:
        write(tmp_path / "file")
    assert told.value.hint
