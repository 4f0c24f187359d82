"""What a GGUF file says of itself, read and checked before any C code sees it. Nothing of a tensor is loaded.

llama.cpp answers a damaged file with lines on standard error, and some with the end of the process. So a file is gone
through here first: whole, its counts in proportion to its length, its tensors within it.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docflow.errors import BrokenModel, ModelNotFound

Value = str | int | float | bool | tuple[int | float | bool, ...]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_KEPT = 4096
"""Longer lists (the vocabulary's texts and scores) are passed over."""
_LONGEST_NAME = 65_535
_MOST_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32
# Bytes of a block, by the number of a tensor's type, for each number of values that a block may hold.
_BLOCKS: Mapping[int, Mapping[int, int]] = {
    1: {0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2},
    32: {2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 9: 36, 20: 18, 39: 17},
    256: {10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 15: 292, 16: 66, 17: 74, 18: 98, 19: 50, 21: 110, 22: 82}
    | {23: 136, 29: 56, 34: 54, 35: 66},
}
_BLOCK_OF = {kind: (values, taken) for values, kinds in _BLOCKS.items() for kind, taken in kinds.items()}
_SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """The head of one file: its metadata (long lists left out), the names of its tensors, and their bytes together."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: frozenset[str]
    tensor_bytes: int

    @property
    def architecture(self) -> str:
        """``llama``, ``qwen2vl``, ``clip`` for a projector ..."""
        return str(self.metadata.get("general.architecture", ""))

    def number(self, key: str, default: int = 0) -> int:
        """A whole number of the architecture's own, as ``block_count``."""
        found = self.metadata.get(f"{self.architecture}.{key}")
        return found if isinstance(found, int) else default

    def numbers(self, key: str) -> tuple[int, ...]:
        """The same where each layer may have one of its own."""
        found = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(found, tuple):
            return tuple(int(one) for one in found)
        return (found,) if isinstance(found, int) else ()


def read_gguf(path: Path) -> GgufFile:
    """Read and check one file. Raises ModelNotFound, BrokenModel."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < 24:
                raise _broken(path, "it is too short" if size else "it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _Reader(path, data).read()
    except FileNotFoundError as error:
        raise ModelNotFound(f"there is no file {path}", hint="Check the path of the model.") from error
    except OSError as error:
        raise ModelNotFound(
            f"{path} cannot be read: {error.strerror or type(error).__name__}",
            hint="A GGUF model is one file; check the path and its permissions.",
        ) from error


def read_parts(path: Path) -> tuple[GgufFile, ...]:
    """A model's file, and those it goes on in where it was split (``...-00001-of-00003.gguf``), in their order.

    Raises ModelNotFound, BrokenModel.
    """
    first = read_gguf(path)
    named = _SPLIT.fullmatch(path.name)
    count = first.metadata.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return (first,)
    if named is None or int(named[3]) != count:
        raise _broken(path, f"it is one of {count} parts, and its name does not say which")
    if int(named[2]) != 1:
        raise ModelNotFound(f"{path} is not the first part of its model", hint=f"Name {_part(named, 1)}.")
    return (first, *(read_gguf(path.with_name(_part(named, number))) for number in range(2, count + 1)))


def _part(named: re.Match[str], number: int) -> str:
    return f"{named[1]}-{number:05d}-of-{named[3]}.gguf"


def _broken(path: Path, what: str) -> BrokenModel:
    return BrokenModel(f"{path} is no GGUF file that can be used: {what}", hint="Get a new copy of the file.")


class _Reader:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.size, self.at = path, data, len(data), 0

    def read(self) -> GgufFile:
        if self.data[:4] != _MAGIC:
            raise self.broken("it does not begin as one")
        self.at = 4
        [version] = self.take("I")
        if version not in _VERSIONS:
            raise self.broken(f"version {version} of the format is not known")
        tensors, pairs = self.take("QQ")
        # A tensor is told of in 24 bytes at least, a pair in 13: more than fit are a lie.
        if tensors * 24 + pairs * 13 > self.size:
            raise self.broken("it says that it holds more than there is room for")
        metadata: dict[str, Value] = {}
        seen: set[str] = set()
        for _ in range(pairs):
            key = self.text(_LONGEST_NAME)
            if not key or key in seen:
                raise self.broken("a key of its metadata is empty or there twice")
            seen.add(key)
            value = self.value()
            if value is not None:
                metadata[key] = value
        if not isinstance(metadata.get("general.architecture"), str):
            raise self.broken("it does not say what kind of model it is")
        names, taken = self.tensors(tensors, self.alignment(metadata))
        return GgufFile(self.path, metadata, names, taken)

    def alignment(self, metadata: Mapping[str, Value]) -> int:
        found = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(found, int) or found < 1 or found & (found - 1):
            raise self.broken("its alignment is no power of two")
        return found

    def tensors(self, count: int, alignment: int) -> tuple[frozenset[str], int]:
        ends: list[int] = []
        names: set[str] = set()
        for _ in range(count):
            name = self.text(_LONGEST_NAME)
            if name in names:
                raise self.broken(f"the tensor {name[:80]!r} is there twice")
            names.add(name)
            [dimensions] = self.take("I")
            if dimensions > _MOST_DIMENSIONS:
                raise self.broken(f"the tensor {name[:80]!r} has {dimensions} dimensions")
            shape = self.take(f"{dimensions}Q")
            kind, offset = self.take("IQ")
            if offset % alignment:
                raise self.broken(f"the tensor {name[:80]!r} is not where it should be")
            ends.append(offset + self.bytes_of(name, shape, kind))
        start = -(-self.at // alignment) * alignment
        taken = max(ends, default=0)
        if start + taken > self.size:
            missing = start + taken - self.size
            raise self.broken(f"its end is missing: {missing:,} bytes of {start + taken:,}")
        return frozenset(names), taken

    def bytes_of(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        values = 1
        for length in shape:
            values *= length
        if kind not in _BLOCK_OF:
            return 0  # of a kind that came later: llama.cpp says whether it knows it
        block, taken = _BLOCK_OF[kind]
        if shape and shape[0] % block:
            raise self.broken(f"a row of the tensor {name[:80]!r} is no whole number of blocks")
        return values // block * taken

    def value(self) -> Value | None:
        """The next value; None for a list that is not kept."""
        [kind] = self.take("I")
        if kind in _SCALARS:
            found: Value = self.take(_SCALARS[kind])[0]
            return found
        if kind == _STRING:
            return self.text(self.size)
        if kind != _ARRAY:
            raise self.broken(f"a value of its metadata is of the unknown kind {kind}")
        [of, count] = self.take("IQ")
        if of in _SCALARS:
            width = struct.calcsize(_SCALARS[of])
            if count * width > self.size - self.at:
                raise self.broken("a list in its metadata is longer than the file")
            if count <= _LONGEST_KEPT:
                return self.take(f"{count}{_SCALARS[of]}")
            self.at += count * width
            return None
        if of != _STRING:
            raise self.broken(f"a list in its metadata is of the unknown kind {of}")
        if count * 8 > self.size - self.at:
            raise self.broken("a list in its metadata is longer than the file")
        for _ in range(count):
            [length] = self.take("Q")
            self.skip(length)
        return None

    def text(self, longest: int) -> str:
        [length] = self.take("Q")
        start = self.at
        if length > longest:
            raise self.broken("a text in its metadata is too long")
        self.skip(length)
        return self.data[start : self.at].decode("utf-8", "replace")

    def take(self, layout: str) -> tuple[Any, ...]:
        start = self.at
        self.skip(struct.calcsize("<" + layout))
        return struct.unpack_from("<" + layout, self.data, start)

    def skip(self, length: int) -> None:
        if length > self.size - self.at:
            raise self.broken("it ends in the middle of its metadata")
        self.at += length

    def broken(self, what: str) -> BrokenModel:
        return _broken(self.path, what)
