"""Servers that several modules use; each comes up for the first test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration import object_stores
from tests.integration.object_stores import S3


@pytest.fixture(scope="session")
def rclone() -> Iterator[S3]:
    with object_stores.rclone() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[S3]:
    with object_stores.moto() as server:
        yield server


@pytest.fixture(params=["rclone", "moto"])
def server(request: pytest.FixtureRequest) -> S3:
    """Each of the two."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]
