"""What stands before every route of the service: keys, hosts, sizes, and answers without internals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from docflow.errors import ConfigError
from docflow.server.service.app import service_app
from docflow.server.service.keys import Keys
from docflow.settings import load_settings

KEYS = "team=0123456789abcdef-team;ops:admin=0123456789abcdef-ops"


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(service_app(load_settings({"serve.keys": KEYS}))) as client:
        yield client


def test_a_key_is_wanted_for_what_is_somebodys(client: TestClient) -> None:
    assert client.get("/conversations").status_code == 401
    assert client.get("/health/live").status_code == 200
    assert client.get("/conversations", headers={"authorization": "Bearer 0123456789abcdef-team"}).status_code == 200
    assert client.get("/conversations", headers={"x-api-key": "0123456789abcdef-ops"}).status_code == 200
    refused = client.get("/v1/models", headers={"authorization": "Bearer wrong"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_scope_goes_with_its_key() -> None:
    keys = Keys.parse(KEYS)
    team, ops = keys.caller("Bearer 0123456789abcdef-team"), keys.caller("bearer 0123456789abcdef-ops")
    assert team is not None
    assert ops is not None
    assert (team.name, team.admin, ops.name, ops.admin) == ("team", False, "ops", True)
    assert keys.caller("Basic 0123456789abcdef-team") is None
    assert keys.caller("") is None


@pytest.mark.parametrize("text", ["nokey", "=0123456789abcdef", "a:root=0123456789abcdef", "a=short"])
def test_keys_that_are_not_well_formed_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Keys.parse(text)
    assert "0123456789abcdef" not in refused.value.message


def test_without_keys_only_names_of_this_machine_are_answered() -> None:
    with TestClient(service_app(load_settings({}), hosts=["127.0.0.1:8000"])) as client:
        assert client.get("/health/live", headers={"host": "127.0.0.1:8000"}).status_code == 200
        assert client.get("/health/live", headers={"host": "evil.example"}).status_code == 421


def test_other_sites_cannot_send_what_changes_anything(client: TestClient) -> None:
    headers = {"origin": "https://evil.example", "authorization": "Bearer 0123456789abcdef-team"}
    assert client.post("/v1/extract", headers=headers).status_code == 403


def test_every_answer_names_its_request_and_keeps_browsers_in_check(client: TestClient) -> None:
    answer = client.get("/health/live", headers={"x-request-id": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/health/live", headers={"x-request-id": "a b\t<"}).headers["x-request-id"] != "a b\t<"
