"""What every model in process must have done: assertions over the facts of ``asked``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from docflow.engines.wire import wire_regex
from docflow.loading import load_program
from tests.engines.local.asked import CHOICES

Facts = dict[str, Any]


def loads_once_for_all_threads(facts: Facts, name: str, folder: Path) -> None:
    engine, model, inner, context = facts["loaded"]
    assert (engine, model, inner) == (name, folder.name, folder.name)
    assert facts["health"] == [[True, folder.name, f"context {context}"]] * 4


def answers_every_built_in_program(facts: Facts) -> None:
    assert {"receipt", "invoice", "form"} <= set(facts["records"])
    for name, found in facts["records"].items():
        assert found["whole stop"] == "stop", name
        jsonschema.validate(json.loads(found["whole"]), found["short"])
        assert found["text"].startswith("{"), name
        assert found["tokens"] == found["text"]
        assert found["stop"] in ("stop", "length")
        prompt, output, calls = found["usage"]
        assert prompt > 20
        assert 1 <= output <= 48
        assert calls == 1
        first = next(iter(load_program(name).schema["properties"]))
        assert found["text"].replace(" ", "").startswith('{"' + first + '":')
        assert wire_regex(load_program(name).schema)


def choices_have_probabilities(facts: Facts) -> None:
    found = facts["choice"]
    for probs in (found["probs"], found["alike"], found["begun"]):
        assert sum(probs.values()) == pytest.approx(1)
        assert all(0 <= prob <= 1 for prob in probs.values())
    assert found["text"] == max(CHOICES, key=found["probs"].__getitem__)
    assert found["alike text"] in found["alike"]
    assert found["begun"] != found["probs"], "what was begun counts"


def writes_as_it_is_told(facts: Facts) -> None:
    found = facts["writing"]
    assert found["pieces"] == found["text"]
    assert found["steps"] == 24
    assert found["stop reason"] == "length"
    for count, total, there in found["tops"]:
        assert 1 <= count <= 4
        assert 0 < total <= 1.0001
        assert there
    assert found["cut"] == found["text"][: found["text"].index(found["stop"])]
    assert found["cut reason"] == "stop"
    assert found["shown"] == found["cut"], "what belongs to a stop is never shown"
    first, second, other = found["chance"]
    assert first == second != other
    assert found["bounded"]
    assert found["ended"][0] == "abort"
    assert found["ended"][1] < 100
    assert found["begun"][0] != found["begun"][1]
    assert "Once upon" not in found["begun"][0]
    assert found["completed"] == "length"


def given_up_requests_end(facts: Facts) -> None:
    found = facts["abandoned"]
    assert found["raised"] == ["Abandoned"]
    assert found["after"] == "length"
    assert ["length", 4] in found["replies"]
    assert all(steps < 3000 for stop, steps in found["replies"] if stop == "abort")
    assert "abort" in [stop for stop, _ in found["replies"]]


def errors_are_docflows(facts: Facts) -> None:
    errors = facts["errors"]
    assert errors["too long"][0] == "EngineRefused"
    assert "page_tokens" in errors["too long"][2]
    assert errors["no grammar"][0] == "EngineRefused"
    assert errors["no time"][0] == "EngineTimeout"
    assert errors["embed"][0] == "CannotEmbed"
    assert facts["after errors"]
    assert facts["closed"][0] == "EngineUnavailable"
