"""docflow-tiny's training and export, where torch is: in the engines' environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import WANTED
from tests.engines.local.inside import facts_of

SECONDS = 900.0
Facts = dict[str, Any]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    if not WANTED:
        pytest.skip("no engines: `make test-engines` has their environments")
    scratch = tmp_path_factory.mktemp("tiny")
    return facts_of(Path(__file__).with_name("on_tiny_reader.py"), scratch, SECONDS, str(scratch))


def test_training_goes_on_from_its_checkpoint_as_if_it_had_never_stopped(facts: Facts) -> None:
    found = facts["resumed"]
    assert found["went on"]
    assert found["weights"]
    assert found["averages"]
    assert found["losses"][0] == found["losses"][1]
    assert found["progress"][0] == found["progress"][1]
    assert found["left over"] == ["checkpoint.pt"], "nothing half-written stays"


def test_a_training_that_is_told_to_end_keeps_its_place(facts: Facts) -> None:
    found = facts["stopped"]
    assert found["codes"] == [0, 0]
    stopped, begins, ends = (next(line for line in found["lines"] if key in line) for key in ("ends", "begins", "ends"))
    assert stopped["ends"] == "asked to"
    assert (begins["begins"], begins["step"]) == ("again", found["stopped at"])
    assert found["lines"][-1]["ends"] == "done"
    assert ends
    assert found["lines"][-1]["step"] == found["stopped at"] + 3


def test_transformers_loads_the_export_and_computes_the_same(facts: Facts) -> None:
    assert not facts["missing"]
    assert facts["tokens"], "the prompt is made of the same tokens"
    assert facts["cells"], "and of as many cells"
    assert facts["spread"] > 0.1
    assert facts["difference"] < 1e-3


def test_the_exported_tokenizer_is_the_one_that_was_trained_with(facts: Facts) -> None:
    assert facts["tokenizer"]
    assert facts["text"]


def test_the_export_says_what_both_servers_need(facts: Facts) -> None:
    config = facts["config"]
    vision = config["vision_config"]
    assert config["model_type"] == "qwen2_vl"
    assert (vision["in_chans"], vision["spatial_patch_size"]) == (3, vision["patch_size"])
    size = facts["preprocessor"]["patch_size"] * facts["preprocessor"]["merge_size"]
    assert size == vision["patch_size"] * vision["spatial_merge_size"] == 28, "a cell of docflow's grid is one token"
