"""What is known of a model before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.deploy.local.model_facts import Model, facts_here, facts_of, from_hub_error, model_named
from docflow.errors import BrokenModel, ConfigError, ModelNotFound


def model_in(folder: Path, config: object = None) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vision_config": {}} if config is None else config))
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    return folder


def test_a_folder_is_served_by_its_name(tmp_path: Path) -> None:
    folder = model_in(tmp_path / "mine")
    assert model_named(str(folder)) == Model(str(folder), folder, "mine")


@pytest.mark.parametrize(
    "given_name", ["Qwen/Qwen2-VL-2B-Instruct", "https://huggingface.co/Qwen/Qwen2-VL-2B-Instruct", "gpt2"]
)
def test_an_id_of_the_hub_is_taken_as_it_is(given_name: str, in_tmp: Path) -> None:
    assert model_named(given_name).target == given_name.removeprefix("https://huggingface.co/")


@pytest.mark.parametrize("name", ["/no/such/folder", "./models", "~/nowhere-at-all", "a/b/c"])
def test_a_folder_that_is_not_there_is_no_id_of_the_hub(name: str, in_tmp: Path) -> None:
    with pytest.raises(ModelNotFound, match="there is no folder"):
        model_named(name)


def test_a_folder_without_a_model_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"without a config\.json"):
        model_named(str(tmp_path))


@pytest.mark.parametrize("name", ["", "--flag", "a b", "org/na;me", "https://elsewhere.example/a/b", "../up"])
def test_what_is_no_name_is_refused(name: str, in_tmp: Path) -> None:
    with pytest.raises((ConfigError, ModelNotFound)):
        model_named(name)


def test_a_gguf_file_is_for_another_engine() -> None:
    with pytest.raises(ConfigError) as caught:
        model_named("models/some.gguf")
    assert "llama_cpp" in caught.value.hint


def test_weights_that_lack_and_settings_that_are_none_are_a_broken_model(tmp_path: Path) -> None:
    folder = model_in(tmp_path / "whole")
    assert facts_here(folder).weights == 100
    (folder / "model.safetensors").unlink()
    with pytest.raises(BrokenModel, match="no weights"):
        facts_here(folder)
    with pytest.raises(BrokenModel, match="holds no settings"):
        facts_here(model_in(tmp_path / "list", []))
    (folder / "config.json").write_text("{")
    with pytest.raises(BrokenModel, match="cannot be read"):
        facts_here(folder)


def test_a_model_of_texts_alone_is_told_from_one_that_sees() -> None:
    assert not facts_of({"architectures": ["GPT2LMHeadModel"], "n_positions": 1024}).sees
    assert facts_of({"vision_config": {}}).sees


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("GatedRepoError", "licence"),
        ("RepositoryNotFoundError", "has no model"),
        ("LocalEntryNotFoundError", "cannot be reached"),
        ("ConnectError", "cannot be reached"),
    ],
)
def test_the_hubs_errors_say_what_to_do_next(name: str, word: str) -> None:
    error = from_hub_error(Model("a/b", None, "a/b"), name)
    assert word in error.message
    assert error.hint


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["architectures", "text_config", "hidden_size", "num_attention_heads", "num_hidden_layers", "dtype", "head_dim"]
)


@given(st.dictionaries(names, json_values))
def test_no_configuration_brings_docflow_down(config: dict[str, object]) -> None:
    facts = facts_of(config)
    assert facts.context >= 0
    assert facts.token_bytes >= 0
