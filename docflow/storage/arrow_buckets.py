"""Buckets as a file system of Arrow's: as much of one as reading a dataset's parts needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystemHandler, FileType

from docflow.buckets import BucketPath


class Buckets(FileSystemHandler):  # type: ignore[misc]  # Arrow has no types
    """The objects at these paths, which go by their URIs, to be read only."""

    def __init__(self, places: Iterable[BucketPath], opened: Callable[[BucketPath], pa.NativeFile]) -> None:
        self._places = {str(place): place for place in places}
        self._opened = opened

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Buckets) and self._places == other._places

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def get_type_name(self) -> str:
        return "buckets"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[FileInfo]:
        return [
            FileInfo(path, FileType.File, size=-1 if (size := self._places[path].size) is None else size)
            if path in self._places
            else FileInfo(path, FileType.NotFound)
            for path in paths
        ]

    def open_input_file(self, path: str) -> pa.NativeFile:
        return self._opened(self._places[path])

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self._opened(self._places[path])

    def _reads_only(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("parts are read through this, and nothing else is done")

    def get_file_info_selector(self, selector: FileSelector) -> list[FileInfo]:
        self._reads_only()

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _reads_only
    delete_file = move = copy_file = open_output_stream = open_append_stream = _reads_only
