"""Folders in the form of the Hub: what their weights take, and what is refused before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.engines.local import checkpoints
from docflow.engines.local.model import ModelConfig
from docflow.errors import BrokenModel, ModelNotFound


def safetensors(path: Path, **tensors: tuple[str, list[int], int]) -> None:
    """A file with tensors of zeros: each a dtype, a shape and its bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    said = json.dumps(header).encode()
    path.write_bytes(len(said).to_bytes(8, "little") + said + bytes(at))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text('{"model_type": "qwen2"}')
    safetensors(made / "model.safetensors", a=("BF16", [10, 10], 200), b=("I64", [3], 24))
    return made


def test_the_memory_is_that_of_the_tensors_in_the_dtype_asked_for(folder: Path) -> None:
    assert checkpoints.memory_needed(ModelConfig(str(folder))) == 224
    assert checkpoints.memory_needed(ModelConfig(str(folder), dtype="float32")) == 424


def test_all_parts_count_and_a_missing_one_is_named(folder: Path) -> None:
    safetensors(folder / "two.safetensors", c=("F32", [5], 20))
    index = {"weight_map": {"a": "model.safetensors", "c": "two.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert checkpoints.memory_needed(ModelConfig(str(folder))) == 244
    (folder / "two.safetensors").unlink()
    with pytest.raises(BrokenModel, match=r"two\.safetensors is missing"):
        checkpoints.weights(folder)


def test_an_index_does_not_lead_out_of_its_folder(folder: Path) -> None:
    index = {"weight_map": {"a": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BrokenModel, match="elsewhere"):
        checkpoints.weights(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BrokenModel, match="pickles"):
        checkpoints.check(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(BrokenModel, match="no weights"):
        checkpoints.check(folder)


def test_a_folder_without_a_model_and_none_at_all_are_told_apart(folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ModelNotFound, match="no config"):
        checkpoints.check(folder)
    with pytest.raises(ModelNotFound, match="there is no folder"):
        checkpoints.folder_of(str(tmp_path / "nowhere"))
    with pytest.raises(ModelNotFound, match="neither"):
        checkpoints.folder_of("a/b/c")


@pytest.mark.parametrize("config", ["{", "[]", '"x"', "[" * 100_000])
def test_a_damaged_configuration_is_said(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(BrokenModel, match="damaged"):
        checkpoints.check(folder)


def test_a_file_that_is_cut_off_is_damaged(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    for length in range(0, len(whole), 7):
        (folder / "model.safetensors").write_bytes(whole[:length])
        with pytest.raises(BrokenModel):
            checkpoints.check_files(folder)


@given(st.binary(max_size=64), st.integers(0, 300))
def test_any_damage_to_a_header_is_docflows_error_or_none(
    tmp_path_factory: pytest.TempPathFactory, damage: bytes, at: int
) -> None:
    folder = tmp_path_factory.mktemp("model")
    safetensors(folder / "model.safetensors", a=("F16", [4, 4], 32))
    whole = bytearray((folder / "model.safetensors").read_bytes())
    whole[at : at + len(damage)] = damage
    (folder / "model.safetensors").write_bytes(bytes(whole))
    said = ""
    try:
        checkpoints.check_files(folder)
    except BrokenModel as error:
        said = error.message
    assert not said or "model.safetensors" in said
