"""The real servers, as fixtures.

``sglang_url`` and ``vllm_url`` are servers for everybody: ask them little at a time and never kill them. A test that
wants to kill, freeze or configure a server makes one of its own with ``server_factory``.

Servers come up by themselves only in CI and under ``make test-engines``. ``DOCFLOW_TEST_SGLANG`` and
``DOCFLOW_TEST_VLLM`` name servers that are up already.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docflow.documents import Decoder, from_bytes
from docflow.documents.model import Document, Page
from tests.engines.kit.environments import KINDS, ROOT_VARIABLE, Kind, KitError, default_root
from tests.engines.kit.servers import START_SECONDS, Server, close_all, start_all

# Taken out at once: docflow refuses variables of its name that are no setting.
GIVEN: dict[Kind, str] = {kind: os.environ.pop(f"DOCFLOW_TEST_{kind.upper()}", "") for kind in KINDS}
ROOT = Path(os.environ.pop(ROOT_VARIABLE, "") or default_root())
WANTED = os.environ.pop("DOCFLOW_TEST_ENGINES", "") == "1" or os.environ.get("CI", "").lower() == "true"

SAMPLES = Path(__file__).parents[2] / "samples" / "starter" / "documents"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starting a server counts to the time of the test that wants it: a minute, or many beside other work."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(START_SECONDS + 300))


def _must_be_wanted() -> None:
    if not WANTED:
        pytest.skip("no servers: `make test-engines` starts them, DOCFLOW_TEST_SGLANG and DOCFLOW_TEST_VLLM name them")


@pytest.fixture(scope="session")
def _servers() -> Iterator[dict[Kind, str]]:
    """The shared servers that are not given, both started at once: one after the other would take twice as long."""
    _must_be_wanted()
    try:
        started = start_all(ROOT, [kind for kind in KINDS if not GIVEN[kind]])
    except KitError as error:
        pytest.fail(str(error))
    yield {kind: server.url for kind, server in started.items()}
    close_all(list(started.values()))


@pytest.fixture(scope="session")
def sglang_url(request: pytest.FixtureRequest) -> str:
    """The shared SGLang server's URL."""
    return GIVEN["sglang"] or str(request.getfixturevalue("_servers")["sglang"])


@pytest.fixture(scope="session")
def vllm_url(request: pytest.FixtureRequest) -> str:
    """The shared vLLM server's URL."""
    return GIVEN["vllm"] or str(request.getfixturevalue("_servers")["vllm"])


@pytest.fixture(scope="session", params=KINDS)
def server_url(request: pytest.FixtureRequest) -> str:
    """A test that takes this runs against both servers, one after the other."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def server_factory() -> Iterator[Callable[..., Server]]:
    """Makes servers of a test's own: ``server_factory("sglang", "--flag", "value")`` gives one that is ready.

    It has ``url``, ``kill()`` (SIGKILL), ``stop()`` and ``cont()`` (SIGSTOP, SIGCONT), ``restart()`` on the same port,
    which returns at once, and ``wait_ready()``. Each takes a minute to start and 3 GiB, and ends with the test.
    """
    _must_be_wanted()
    made: list[Server] = []

    def make(kind: Kind, *flags: str) -> Server:
        try:
            made.append(Server(ROOT, kind, flags))
            return made[-1].start().wait_ready()
        except KitError as error:
            pytest.fail(str(error))

    yield make
    close_all(made)


@pytest.fixture(scope="session")
def open_sample() -> Iterator[Callable[[str], Document]]:
    """Opens a document of samples/starter by its name."""
    with Decoder(workers=1) as decoder:
        yield lambda name: decoder.open(from_bytes((SAMPLES / name).read_bytes(), name=name))


@pytest.fixture
def receipt(open_sample: Callable[[str], Document]) -> Document:
    """A document of one page, an image."""
    return open_sample("receipt-001.jpg")


@pytest.fixture
def page(receipt: Document) -> Page:
    """The receipt's page."""
    return receipt.pages[0]
