"""vLLM as a model in process, run in the environment that has it, with docflow from this checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import ROOT, WANTED
from tests.engines.kit import environments
from tests.engines.local import looked_at
from tests.engines.local.inside import facts_of

SECONDS = 900.0  # a minute or two to start beside other work, and as much to answer
Facts = dict[str, Any]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    if not WANTED:
        pytest.skip("no engines: `make test-engines` has their environments")
    return facts_of(Path(__file__).with_name("on_vllm.py"), tmp_path_factory.mktemp("vllm"), SECONDS)


def test_threads_that_ask_at_once_wait_for_one_load(facts: Facts) -> None:
    looked_at.loads_once_for_all_threads(facts, "vllm", environments.model(ROOT))


def test_every_built_in_programs_schema_is_obeyed(facts: Facts) -> None:
    looked_at.answers_every_built_in_program(facts)


def test_choices_have_probabilities_that_sum_to_one(facts: Facts) -> None:
    looked_at.choices_have_probabilities(facts)


def test_texts_stream_stop_and_repeat_as_they_are_told_to(facts: Facts) -> None:
    looked_at.writes_as_it_is_told(facts)


def test_requests_at_once_are_all_answered(facts: Facts) -> None:
    alone, at_once = facts["together"]  # in bfloat16 a batch may round to other tokens than a request alone
    for texts in (alone, at_once):
        assert all(texts)
        assert all(re.fullmatch("[a-z ]{1,40}", text) for text in texts[4:7])


def test_a_request_that_is_given_up_ends(facts: Facts) -> None:
    looked_at.given_up_requests_end(facts)


def test_what_cannot_be_answered_is_said_as_docflows_error(facts: Facts) -> None:
    looked_at.errors_are_docflows(facts)
    assert facts["no folder"][0] == "ModelNotFound"
    assert facts["squeezellm"][0] == "BrokenModel"


def test_a_gpu_that_is_asked_for_is_there_or_the_model_is_not_loaded(facts: Facts) -> None:
    assert facts["no gpu"][0] == "EngineUnavailable"
    assert "there is none that this process may use" in facts["no gpu"][1]
    assert "was built for CPUs" in facts["built for cpus"][1]
    assert 'pip install "docflow[vllm]"' in facts["built for cpus"][2]


def test_the_methods_of_quantisation_are_those_that_this_vllm_has(facts: Facts) -> None:
    unknown, still_there = facts["methods"]
    assert unknown == still_there == []
