"""Transformers in a process of its own kind: its environment has torch, and docflow from this checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import ROOT, WANTED
from tests.engines.kit import environments
from tests.engines.local import looked_at
from tests.engines.local.inside import facts_of

SECONDS = 900.0  # some two minutes on a free machine
Facts = dict[str, Any]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    if not WANTED:
        pytest.skip("no engines: `make test-engines` has their environments")
    return facts_of(Path(__file__).with_name("on_transformers.py"), tmp_path_factory.mktemp("hf"), SECONDS)


def test_threads_that_ask_at_once_wait_for_one_load(facts: Facts) -> None:
    looked_at.loads_once_for_all_threads(facts, "transformers", environments.model(ROOT))


def test_the_memory_is_known_from_the_files_before_anything_is_loaded(facts: Facts) -> None:
    assert facts["needed"] == pytest.approx(
        2 * (environments.model(ROOT) / "model.safetensors").stat().st_size, rel=0.01
    )


def test_every_built_in_programs_schema_is_obeyed(facts: Facts) -> None:
    looked_at.answers_every_built_in_program(facts)
    for found in facts["records"].values():
        assert '": ' not in found["text"], "no white space between the parts"


def test_choices_have_probabilities_that_sum_to_one(facts: Facts) -> None:
    looked_at.choices_have_probabilities(facts)


def test_the_probabilities_of_a_choice_are_the_models_own(facts: Facts) -> None:
    for choice, share in facts["by hand"].items():
        assert facts["choice"]["probs"][choice] == pytest.approx(share, abs=0.01)


def test_texts_stream_stop_and_repeat_as_they_are_told_to(facts: Facts) -> None:
    looked_at.writes_as_it_is_told(facts)


def test_requests_at_once_are_answered_as_alone(facts: Facts) -> None:
    alone, at_once = facts["together"]
    assert at_once == alone
    assert len(set(alone)) > 4


def test_a_request_that_is_given_up_ends(facts: Facts) -> None:
    looked_at.given_up_requests_end(facts)


def test_what_cannot_be_answered_is_said_as_docflows_error(facts: Facts) -> None:
    looked_at.errors_are_docflows(facts)


def test_a_batch_that_does_not_fit_goes_one_by_one_and_one_that_does_not_is_refused(facts: Facts) -> None:
    found = facts["out of memory"]
    assert found["texts"] == [found["alone"]] * 2
    assert found["sizes"] == [2, 1, 1]
    assert found["error"][0] == "NotEnoughMemory"


def test_a_model_without_eyes_writes_and_refuses_images(facts: Facts) -> None:
    found = facts["text only"]
    assert (found["name"], found["context"]) == ("text", 512)
    assert found["steps"] == 6
    assert found["picture"][0] == "EngineRefused"
    assert "no images" in found["picture"][1]
    assert found["closed"][0] == "EngineUnavailable"


@pytest.mark.parametrize("kind", ["mean", "last"])
def test_texts_become_vectors_as_their_folder_says(facts: Facts, kind: str) -> None:
    found = facts["embedding"][kind]
    for vector, by_hand in zip(found["vectors"], found["hand"], strict=True):
        assert vector == pytest.approx(by_hand, abs=1e-4)
        assert sum(one * one for one in vector) == pytest.approx(1)
    assert found["tokens"][0] == found["tokens"][1]
    assert found["chat"][0] == "EngineRefused"
    assert found["too long"][0] == "EngineRefused"
    assert found["none"] == []


@pytest.mark.parametrize(
    ("what", "kind", "said"),
    [
        ("cut off", "BrokenModel", "cut off"),
        ("header", "BrokenModel", "damaged"),
        ("pickles", "BrokenModel", "pickles"),
        ("unknown", "BrokenModel", "no_such_kind"),
        ("no config", "ModelNotFound", "config.json"),
        ("code", "BrokenModel", "cannot be loaded"),
        ("fewer weights", "BrokenModel", "not whole"),
        ("no tokenizer", "BrokenModel", "cannot be loaded"),
        ("no folder", "ModelNotFound", "nowhere"),
        ("no name", "ModelNotFound", "folder"),
        ("memory", "BrokenModel", "cut off"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_named_with_what_is_wrong(
    facts: Facts, what: str, kind: str, said: str
) -> None:
    found = facts["damaged"][what]
    assert found[0] == kind
    assert said in found[1]


def test_a_name_of_the_hub_is_answered_offline_and_with_nobody_there(facts: Facts) -> None:
    found = facts["hub"]
    assert all(error[0] == "ModelNotFound" for error in found.values())
    assert "HF_HUB_OFFLINE" in found["offline"][1]
    assert "cannot be reached" in found["away"][1]
    assert all(error[2] for error in found.values())
