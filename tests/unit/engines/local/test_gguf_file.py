"""The heads of GGUF files: read without loading, and whatever is wrong with one is said."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from docflow.engines.local.gguf_file import GgufFile, read_gguf, read_parts
from docflow.engines.local.llama_memory import bytes_needed, cache_bytes, context_of
from docflow.errors import BrokenModel, ModelNotFound

_KINDS = {"I": 4, "f": 6, "?": 7, "Q": 10}


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def number(value: int | float | bool, layout: str = "I") -> bytes:
    return struct.pack("<I" + layout, _KINDS[layout], value)


def string(value: str) -> bytes:
    return struct.pack("<I", 8) + text(value)


def numbers(values: list[int]) -> bytes:
    return struct.pack("<IIQ", 9, 4, len(values)) + struct.pack(f"<{len(values)}I", *values)


def strings(values: list[str]) -> bytes:
    return struct.pack("<IIQ", 9, 8, len(values)) + b"".join(text(value) for value in values)


METADATA = {
    "general.architecture": string("llama"),
    "llama.block_count": number(2),
    "llama.context_length": number(128),
    "llama.embedding_length": number(64),
    "llama.feed_forward_length": number(128),
    "llama.attention.head_count": number(4),
    "llama.attention.head_count_kv": number(2),
    "llama.rope.freq_base": number(10000.0, "f"),
    "tokenizer.ggml.add_bos_token": number(True, "?"),
    "tokenizer.ggml.tokens": strings(["a", "bc", "é"]),
    "tokenizer.ggml.token_type": numbers([1] * 5000),
}
TENSORS = {"token_embd.weight": ((64, 3), 0), "output_norm.weight": ((64,), 1)}
_WIDTHS = {0: 4, 1: 2}


def gguf(
    metadata: dict[str, bytes] = METADATA, tensors: dict[str, tuple[tuple[int, ...], int]] = TENSORS, version: int = 3
) -> bytes:
    """A whole file, its tensors filled with zeros."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(text(key) + value for key, value in metadata.items())
    offset = 0
    for name, (shape, kind) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        size = _WIDTHS[kind]
        for length in shape:
            size *= length
        offset += -(-size // 32) * 32
    return head + bytes(-len(head) % 32) + bytes(offset)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def test_a_head_is_read_without_its_tensors(path: Path) -> None:
    path.write_bytes(gguf())
    found = read_gguf(path)
    assert found.architecture == "llama"
    assert found.number("context_length") == 128
    assert found.metadata["tokenizer.ggml.add_bos_token"] is True
    assert found.tensors == set(TENSORS)
    assert found.tensor_bytes == 64 * 3 * 4 + 64 * 2
    assert "tokenizer.ggml.tokens" not in found.metadata
    assert "tokenizer.ggml.token_type" not in found.metadata


def test_the_cache_is_worked_out_of_the_head(path: Path) -> None:
    path.write_bytes(gguf())
    found = read_gguf(path)
    assert cache_bytes(found, 100) == 100 * 2 * 2 * (16 + 16) * 2  # tokens, layers, heads, width of both, bytes
    assert context_of(found, 0) == 128
    assert context_of(found, 50) == 50
    needed = bytes_needed([found], None, 100)
    assert needed > found.tensor_bytes + cache_bytes(found, 100)
    assert bytes_needed([found], found, 100) == needed + found.tensor_bytes


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"llama.attention.head_count_kv": numbers([2, 0])}, 100 * 2 * 32 * 2),
        ({"llama.attention.key_length": number(8), "llama.attention.value_length": number(4)}, 100 * 4 * 12 * 2),
        ({"llama.attention.sliding_window": number(10)}, 10 * 4 * 32 * 2),
        ({"llama.attention.kv_lora_rank": number(6), "llama.rope.dimension_count": number(4)}, 100 * 2 * 10 * 2),
        ({"llama.ssm.state_size": number(6)}, 0),
        ({"llama.attention.head_count": number(0), "llama.attention.head_count_kv": number(0)}, 0),
    ],
    ids=["heads-by-layer", "widths", "window", "compressed", "state", "none"],
)
def test_models_keep_less_in_other_ways(path: Path, more: dict[str, bytes], expected: int) -> None:
    path.write_bytes(gguf(METADATA | more))
    assert cache_bytes(read_gguf(path), 100) == expected


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(ModelNotFound) as caught:
            read_gguf(missing)
        assert str(missing) in caught.value.message
        assert caught.value.hint


WRONG = {
    "empty": b"",
    "short": b"GGUF",
    "another format": b"PK\x03\x04" + bytes(100),
    "version": gguf(version=1),
    "many tensors": b"GGUF" + struct.pack("<IQQ", 3, 2**62, 1) + bytes(100),
    "many pairs": b"GGUF" + struct.pack("<IQQ", 3, 1, 2**63) + bytes(100),
    "no architecture": gguf({"a": number(1)}),
    "an architecture that is a number": gguf({"general.architecture": number(1)}),
    "alignment": gguf(METADATA | {"general.alignment": number(12)}),
    "long list": gguf({"general.architecture": struct.pack("<IIQ", 9, 4, 2**60)}),
    "long list of texts": gguf({"general.architecture": struct.pack("<IIQ", 9, 8, 2**60)}),
    "list of lists": gguf({"general.architecture": struct.pack("<IIQ", 9, 9, 1)}),
    "unknown kind": gguf({"general.architecture": struct.pack("<I", 77)}),
    "long text": gguf({"general.architecture": struct.pack("<IQ", 8, 2**63)}),
    "dimensions": gguf(tensors={"a": ((1, 1, 1, 1, 1), 0)}),
    "broken blocks": gguf(tensors={"a": ((31,), 0)}).replace(struct.pack("<QI", 31, 0), struct.pack("<QI", 31, 8)),
    "huge tensor": gguf(tensors={"a": ((31,), 0)}).replace(struct.pack("<QI", 31, 0), struct.pack("<QI", 2**63, 0)),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_file_is_said(path: Path, what: str) -> None:
    path.write_bytes(WRONG[what])
    with pytest.raises(BrokenModel) as caught:
        read_gguf(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_key_or_tensor_that_is_there_twice_is_broken(path: Path) -> None:
    key = text("general.architecture") + string("llama")
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + key + key)
    with pytest.raises(BrokenModel, match="twice"):
        read_gguf(path)


@given(st.integers(0, len(gguf()) - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_was_cut_off_is_broken(path: Path, length: int) -> None:
    path.write_bytes(gguf()[:length])
    with pytest.raises(BrokenModel):
        read_gguf(path)


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=8))
@example([(4 + 4 + 7, 0x7F)])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_found_or_does_not_matter(path: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(gguf(METADATA | {"tokenizer.ggml.token_type": numbers([1])}))
    for at, value in changes:
        data[at % len(data)] = value
    path.write_bytes(data)
    try:
        found = read_gguf(path)
    except BrokenModel:
        return
    assert isinstance(found, GgufFile)
    assert found.tensor_bytes <= len(data)


def test_a_model_in_parts_is_read_as_one(tmp_path: Path) -> None:
    whole = METADATA | {"split.count": number(2)}
    first, second = tmp_path / "m-00001-of-00002.gguf", tmp_path / "m-00002-of-00002.gguf"
    first.write_bytes(gguf(whole, {"a": ((8,), 0)}))
    with pytest.raises(ModelNotFound, match="m-00002-of-00002"):
        read_parts(first)
    second.write_bytes(gguf(whole, {"b": ((8,), 0)}))
    assert [part.path for part in read_parts(first)] == [first, second]
    with pytest.raises(ModelNotFound, match="first part"):
        read_parts(second)
    other = tmp_path / "other.gguf"
    other.write_bytes(first.read_bytes())
    with pytest.raises(BrokenModel, match="2 parts"):
        read_parts(other)
