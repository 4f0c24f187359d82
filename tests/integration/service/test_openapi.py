"""The service's own description, and what it answers to requests that are made of it, right ones and wrong ones."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from tests.integration.serving import serving

EXAMPLES = 8
"""Requests for each operation, right ones and wrong ones each: there are some thirty, and CI has a minute."""
AWAY = (501, 503, 504, 507)
"""Not a fault of the service: no model behind it, no engine, no room."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service")) as address:
        yield address


def described(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}/openapi.json") as answer:
        content: dict[str, Any] = json.load(answer)
    return content


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_makes_the_service_fail(address: str, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(described(address))
    tried = 0
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        strategy = operation.as_strategy(generation_mode=mode)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def ask(case: Any) -> None:
            answer = case.call(base_url=address, timeout=60)
            assert answer.status_code < 500 or answer.status_code in AWAY, (case.operation.label, answer.text)

        try:
            ask()
        except Unsatisfiable:  # it takes nothing that could be wrong
            continue
        tried += 1
    assert tried > 10


def test_routes_say_what_they_take_and_answer(address: str) -> None:
    paths = described(address)["paths"]
    assert {"/v1/extract", "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/results", "/v1/programs"} <= paths.keys()
    body = paths["/v1/extract"]["post"]["requestBody"]["content"]
    assert body.keys() == {"multipart/form-data", "application/json"}
    assert {"program", "schema", "file", "locale", "split"} <= body["multipart/form-data"]["schema"][
        "properties"
    ].keys()
