"""Images that requests name by address: only from allowed hosts, only public ones, and never by an upstream."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.errors import ConfigError
from docflow.server.service.gateway import fetching
from docflow.server.service.gateway.fetching import ImageHosts, is_public
from docflow.settings import GatewaySettings
from tests.engines.loopback import LoopbackServer, Received
from tests.integration.service.gateways import PIXEL, Upstream, chat, serving

PRIVATE = (
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "::ffff:10.0.0.1",
    "::10.0.0.1",
    "::ffff:0:10.0.0.1",
    "fec0::1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2002:a00:1::",
    "ff02::1",
)
CHAT = "/v1/chat/completions"
PATIENCE = 12.0
PNG = base64.b64decode(PIXEL.partition(",")[2])


class Pictures(LoopbackServer):
    """Gives the same bytes to whoever asks for whatever."""

    def __init__(self, data: bytes = PNG, status: int = 200, head: bytes = b"") -> None:
        super().__init__()
        self.data, self.status, self.head = data, status, head
        self.asked: list[Received] = []

    async def handle(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.asked.append(request)
        head = f"HTTP/1.1 {self.status} Yes\r\ncontent-length: {len(self.data)}\r\n".encode()
        writer.write(head + self.head + b"\r\n" + self.data)


class Held(Pictures):
    """Says that it was asked, and answers once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    async def handle(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.begun.set()
        await asyncio.to_thread(self.go.wait, PATIENCE)
        await super().handle(request, writer)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is fetched at all: the tests have no other network."""
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")


def shown(address: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": "read"}, {"type": "image_url", "image_url": {"url": address}}]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}]}


def allowing(upstream: Upstream, pictures: Pictures, **more: Any) -> Any:
    flags = {"gateway__upstreams": f"vllm={upstream.url}", "gateway__image_hosts": f"http://localhost:{pictures.port}"}
    return serving(**(flags | more))


def message_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


@pytest.mark.usefixtures("loopback_is_public")
def test_an_image_of_an_allowed_host_reaches_the_upstream_as_its_bytes(upstream: Upstream) -> None:
    with Pictures() as pictures, allowing(upstream, pictures) as client:
        body = shown(f"http://LOCALHOST:{pictures.port}/a.png?size=2#part")
        answer = client.post(CHAT, json=body, headers={"cookie": "secret=1"})
        short = shown(f"http://localhost:{pictures.port}/b.png")
        short["messages"][0]["content"][1]["image_url"] = f"http://localhost:{pictures.port}/b.png"
        also = client.post(CHAT, json=short)
    assert (answer.status_code, also.status_code) == (200, 200)
    for request in upstream.requests:
        image = request.json()["messages"][0]["content"][1]["image_url"]["url"]
        assert image == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    first = pictures.asked[0]
    assert first.path == "/a.png?size=2"
    assert not {"cookie", "authorization"} & set(first.headers)


@pytest.mark.parametrize(
    "address",
    [
        "https://localhost:{port}/a.png",
        "http://localhost/a.png",
        "http://127.0.0.1:{port}/a.png",
        "http://user:word@localhost:{port}/a.png",
        "http://localhost.:{port}/a.png",
        "http://elsewhere@localhost:{port}/a.png",
        "http://localhost:{port}@elsewhere/a.png",
        "file:///etc/passwd",
        "//localhost:{port}/a.png",
        "http://localhost:{port}/" + "a" * 3000,
        "http://[::1]:{port}/a.png",
        "http://localhost:99999/a.png",
    ],
)
@pytest.mark.usefixtures("loopback_is_public")
def test_an_address_that_is_not_just_the_allowed_one_is_refused(upstream: Upstream, address: str) -> None:
    with Pictures() as pictures, allowing(upstream, pictures) as client:
        answer = client.post(CHAT, json=shown(address.replace("{port}", str(pictures.port))))
    assert answer.status_code == 400
    assert "addresses are not opened" in message_of(answer)
    assert not pictures.asked
    assert not upstream.requests


def test_an_allowed_host_with_a_private_address_is_not_asked(upstream: Upstream) -> None:
    with Pictures() as pictures, allowing(upstream, pictures) as client:
        answer = client.post(CHAT, json=shown(f"http://localhost:{pictures.port}/a.png"))
    assert answer.status_code == 400
    assert "localhost did not give" in message_of(answer)
    assert "public" not in message_of(answer)
    assert not pictures.asked
    assert not upstream.requests


@pytest.mark.usefixtures("loopback_is_public")
def test_a_host_with_one_private_address_among_public_ones_is_not_asked(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def both(host: str, port: int) -> list[tuple[int, str]]:
        return [(2, "127.0.0.1"), (2, "10.0.0.1")]

    monkeypatch.setattr(fetching, "looked_up", both)
    with Pictures() as pictures, allowing(upstream, pictures) as client:
        answer = client.post(CHAT, json=shown(f"http://localhost:{pictures.port}/a.png"))
    assert answer.status_code == 400
    assert not pictures.asked


@pytest.mark.usefixtures("loopback_is_public")
def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_found(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [[(2, "127.0.0.1")], [(2, "10.0.0.1")]]

    async def rebound(host: str, port: int) -> list[tuple[int, str]]:
        assert host == "pictures.example"
        return answers.pop(0)

    monkeypatch.setattr(fetching, "looked_up", rebound)
    with Pictures() as pictures:
        allowed = f"http://pictures.example:{pictures.port}"
        with allowing(upstream, pictures, gateway__image_hosts=allowed) as client:
            answer = client.post(CHAT, json=shown(f"{allowed}/a.png"))
        assert answer.status_code == 200
        assert len(pictures.asked) == 1
    assert answers == [[(2, "10.0.0.1")]]


@pytest.mark.parametrize(
    ("data", "status", "head", "said"),
    [
        (b"", 302, b"location: http://localhost:1/\r\n", "302"),
        (PNG, 404, b"", "404"),
        (b"<html></html>", 200, b"content-type: image/png\r\n", "no kind"),
        (PNG + b"\0" * 5000, 200, b"", "larger than 4,000 bytes"),
        (b"", 200, b"", "no kind"),
    ],
    ids=["redirect", "missing", "page", "large", "empty"],
)
@pytest.mark.usefixtures("loopback_is_public")
def test_what_is_no_image_within_the_limits_is_refused(
    upstream: Upstream, data: bytes, status: int, head: bytes, said: str
) -> None:
    with (
        Pictures(data, status, head) as pictures,
        allowing(upstream, pictures, gateway__image_bytes=4000) as client,
    ):
        answer = client.post(CHAT, json=shown(f"http://localhost:{pictures.port}/a.png"))
    assert answer.status_code == 400
    assert said in message_of(answer)
    assert len(pictures.asked) == 1
    assert not upstream.requests


@pytest.mark.usefixtures("loopback_is_public")
def test_all_images_of_a_request_together_are_bounded(upstream: Upstream) -> None:
    with (
        Pictures(PNG + b"\0" * 3000) as pictures,
        allowing(upstream, pictures, serve__upload_bytes=5000) as client,
    ):
        body = shown(f"http://localhost:{pictures.port}/a.png")
        parts = body["messages"][0]["content"]
        alone = client.post(CHAT, json=body)
        parts.append(dict(parts[1], image_url=f"http://localhost:{pictures.port}/b.png"))
        both = client.post(CHAT, json=body)
    assert (alone.status_code, both.status_code) == (200, 400)
    assert "content[2]" in message_of(both)


@pytest.mark.usefixtures("loopback_is_public")
def test_requests_that_fetch_images_are_bounded(upstream: Upstream) -> None:
    with Held() as pictures, allowing(upstream, pictures, serve__requests=1, serve__waiting=0) as client:
        body = shown(f"http://localhost:{pictures.port}/a.png")
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.post, CHAT, json=body)
            assert pictures.begun.wait(PATIENCE)
            second = client.post(CHAT, json=body)
            pictures.go.set()
            assert first.result().status_code == 200
        third = client.post(CHAT, json=body)
    assert (second.status_code, third.status_code) == (503, 200)
    assert second.headers["retry-after"] == "5"


def test_without_allowed_hosts_no_address_is_opened(upstream: Upstream) -> None:
    with Pictures() as pictures, serving(gateway__upstreams=f"vllm={upstream.url}") as client:
        answer = client.post(CHAT, json=shown(f"http://localhost:{pictures.port}/a.png"))
        plain = client.post(CHAT, json=chat())
    assert (answer.status_code, plain.status_code) == (400, 200)
    assert not pictures.asked


@pytest.mark.parametrize(
    "entry", ["10.0.0.1", "https://", "a b", "host/path", "host:0", "host:70000", "ftp://host", "a" * 64]
)
def test_an_entry_that_is_no_host_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ConfigError, match="image_hosts"):
        ImageHosts(GatewaySettings(image_hosts=entry), 1, 1)


@pytest.mark.parametrize(
    "address",
    PRIVATE,
)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@given(st.text(max_size=60) | st.from_regex(r"https?://[a-z@:/\\\[\]%.#?0-9]{0,40}", fullmatch=True))
def test_no_text_makes_the_check_of_addresses_fail(text: str) -> None:
    hosts = ImageHosts(GatewaySettings(image_hosts="images.example"), 1, 1)
    assert hosts.allows(text) in (True, False)
