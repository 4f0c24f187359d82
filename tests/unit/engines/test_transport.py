"""The transport against a server that behaves badly in every way there is."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.engines import transport as transport_module
from docflow.engines.base import ServerOptions
from docflow.engines.transport import Address, Reply, Transport, refusal, retry_after, said_by
from docflow.errors import (
    BadAnswer,
    ConfigError,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
)
from tests.engines.loopback import LoopbackServer, Received, reset, response

Handler = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


class BadServer(LoopbackServer):
    """Answers as its handler does, and keeps what it was asked."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self.handler = handler
        self.requests: list[Received] = []

    async def handle(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        await self.handler(request, writer)


def says(raw: bytes) -> Handler:
    async def handler(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return handler


@contextmanager
def spoken_to(handler: Handler, options: ServerOptions | None = None) -> Iterator[tuple[Transport, BadServer]]:
    with BadServer(handler) as server:
        transport = Transport(server.url, options or ServerOptions())
        try:
            yield transport, server
        finally:
            transport.close()


def failure_of(handler: Handler, *, seconds: float = 5.0, body: bytes = b"{}") -> EngineError:
    with spoken_to(handler) as (transport, _), pytest.raises(EngineError) as caught:
        transport.post("/v1/chat/completions", body, seconds)
    return caught.value


def test_json_comes_back_and_the_body_arrives_as_it_was_made() -> None:
    body = b'{"text": "' + b"A" * 300_000 + b'"}'
    with spoken_to(says(response(200, {"ok": [1, "\u00e9"]}))) as (transport, server):
        assert transport.post("/v1/chat/completions", body, 5) == {"ok": [1, "\u00e9"]}
        assert transport.get("/v1/models", 5) == {"ok": [1, "\u00e9"]}
    assert server.requests[0].body == body
    assert [request.method for request in server.requests] == ["POST", "GET"]


def test_connections_are_used_again_and_no_more_than_allowed_are_open() -> None:
    open_now, most = 0, 0
    ports = set()

    async def handler(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        ports.add(writer.get_extra_info("peername")[1])
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.02)
        open_now -= 1
        writer.write(response(200, {}))

    with spoken_to(handler, ServerOptions(connections=3)) as (transport, _), ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda _: transport.post("/x", b"{}", 5), range(24)))
    assert most == 3
    assert len(ports) == 3


def test_a_port_where_nobody_listens_is_an_engine_that_is_away() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        transport = Transport(f"http://127.0.0.1:{bound.getsockname()[1]}", ServerOptions())
        with pytest.raises(EngineUnavailable, match="cannot be reached") as caught:
            transport.get("/v1/models", 5)
        transport.close()
    assert caught.value.retryable
    assert caught.value.hint


def test_a_server_without_tls_is_told_from_one_that_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain, ThreadPoolExecutor(1) as threads:

        def serve() -> None:
            taken, _ = plain.accept()
            with taken:
                taken.recv(4096)
                taken.sendall(response(400, {}))

        served = threads.submit(serve)
        transport = Transport(f"https://127.0.0.1:{plain.getsockname()[1]}", ServerOptions())
        with pytest.raises(EngineUnavailable, match="does not speak TLS") as caught:
            transport.get("/v1/models", 5)
        transport.close()
        served.result(5)
    assert caught.value.hint == "Write http:// if the server has no certificate."


def test_a_host_that_has_no_address_is_an_engine_that_is_away() -> None:
    transport = Transport("http://no-such-host.invalid:1", ServerOptions())
    with pytest.raises(EngineUnavailable, match="cannot be reached"):
        transport.get("/v1/models", 10)
    transport.close()


def test_a_server_that_takes_no_connection_does_not_hold_a_call_past_the_connect_time_out() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(3)]  # fills the queue of connections, so that no more are taken
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        transport = Transport(f"http://127.0.0.1:{full.getsockname()[1]}", ServerOptions(connect_seconds=0.3))
        begun = time.monotonic()
        with pytest.raises(EngineUnavailable, match=r"did not take a connection within 0\.3 s"):
            transport.get("/v1/models", 20)
        assert time.monotonic() - begun < 2
        transport.close()
        for one in waiting:
            one.close()


async def _reset_at_once(_: Received, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def _close_at_once(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _reset_midway(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + b'{"choices"')
    await writer.drain()
    await asyncio.sleep(0.05)
    reset(writer)


async def _end_midway(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + b'{"choices"')
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("handler", [_reset_at_once, _close_at_once, _reset_midway, _end_midway])
def test_a_connection_that_breaks_is_worth_another_try(handler: Handler) -> None:
    error = failure_of(handler)
    assert isinstance(error, EngineUnavailable)
    assert error.retryable
    assert "broke off" in error.message


def test_something_that_is_not_http_is_an_engine_that_is_away() -> None:
    error = failure_of(says(b"220 mail.example ESMTP\r\n\r\n"))
    assert isinstance(error, EngineUnavailable)
    assert "does not speak HTTP" in error.message


@pytest.mark.parametrize("body", [b'{"choices": [{"mess', b"", b"<html>", b"[" * 200_000, b"\xff\xfe"])
def test_a_body_that_is_no_json_is_a_bad_answer(body: bytes) -> None:
    assert isinstance(failure_of(says(response(200, body))), BadAnswer)


async def _never(_: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def _drip_body(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def _drip_headers(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        writer.write(b"y")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("handler", [_never, _drip_body, _drip_headers])
def test_no_call_lasts_longer_than_its_seconds(handler: Handler) -> None:
    begun = time.monotonic()
    error = failure_of(handler, seconds=0.5)
    assert isinstance(error, EngineTimeout)
    assert error.retryable
    assert "within 0.5 s" in error.message
    assert 0.4 < time.monotonic() - begun < 1.5


def test_a_server_that_does_not_read_holds_no_call_past_its_seconds() -> None:
    with socket.socket() as asleep:
        asleep.bind(("127.0.0.1", 0))
        asleep.listen(4)  # the kernel takes the connection; nobody reads from it, as of a stopped process
        transport = Transport(f"http://127.0.0.1:{asleep.getsockname()[1]}", ServerOptions())
        begun = time.monotonic()
        with pytest.raises(EngineTimeout):
            transport.post("/x", b" " * 20_000_000, 0.5)
        assert time.monotonic() - begun < 2
        transport.close()


def test_waiting_for_a_free_connection_counts_as_time() -> None:
    with spoken_to(_never, ServerOptions(connections=1)) as (transport, _), ThreadPoolExecutor(3) as threads:
        begun = time.monotonic()
        waiting = [threads.submit(transport.post, "/x", b"{}", 0.5) for _ in range(3)]
        assert all(isinstance(one.exception(), EngineTimeout) for one in waiting)
        assert time.monotonic() - begun < 1.5


def test_a_huge_answer_is_cut_off_and_is_a_bad_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MOST_ANSWER_BYTES", 1024 * 1024)

    async def handler(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            await writer.drain()

    error = failure_of(handler)
    assert isinstance(error, BadAnswer)
    assert "more than 1 MiB" in error.message


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with BadServer(says(response(200, {"secret": 1}))) as other:
        target = {"location": f"http://user:pass@127.0.0.1:{other.port}/"}
        error = failure_of(says(response(status, b"", target)))
        assert other.requests == []
    assert isinstance(error, EngineUnavailable)
    assert not error.retryable
    assert "redirect" in error.message
    assert "pass" not in error.message + error.hint


@pytest.mark.parametrize(("status", "kind"), [(500, 500), (502, 502), (503, 503), (429, 429), (408, 408)])
def test_an_overloaded_or_broken_server_is_worth_another_try(status: int, kind: int) -> None:
    error = failure_of(says(response(status, b"Internal Server Error", {"retry-after": "7"})))
    assert isinstance(error, EngineUnavailable)
    assert error.retryable
    assert error.retry_after == 7
    assert str(kind) in error.message


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_the_server_calls_wrong_is_refused_in_its_own_words(status: int) -> None:
    error = failure_of(says(response(status, {"error": {"message": "no such thing"}})))
    assert isinstance(error, EngineRefused)
    assert not error.retryable
    assert "no such thing" in error.message


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_named_as_such_and_not_tried_again(status: int) -> None:
    error = failure_of(says(response(status, {"error": "Unauthorized"})))
    assert isinstance(error, EngineUnavailable)
    assert not error.retryable
    assert "DOCFLOW_API_KEY" in error.hint


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with BadServer(says(response(200, {"from": "proxy"}))) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        with spoken_to(says(response(200, {"from": "server"}))) as (transport, _):
            assert transport.get("/v1/models", 5) == {"from": "server"}
        assert proxy.requests == []


def test_the_key_goes_as_a_bearer_token_and_is_shown_nowhere() -> None:
    options = ServerOptions(api_key="sk-secret")
    with spoken_to(says(response(400, {"message": "bad"})), options) as (transport, server):
        with pytest.raises(EngineRefused) as caught:
            transport.post("/x", b"{}", 5)
        assert server.requests[0].headers["authorization"] == "Bearer sk-secret"
        assert "secret" not in repr(caught.value) + caught.value.hint + repr(transport.address) + repr(options)


def test_credentials_of_the_url_are_sent_and_shown_nowhere() -> None:
    with BadServer(says(response(500, b""))) as server:
        transport = Transport(f"http://ann:p%40ss@127.0.0.1:{server.port}/v1/", ServerOptions())
        with pytest.raises(EngineUnavailable) as caught:
            transport.get("/v1/models", 5)
        transport.close()
        request = server.requests[0]
    assert request.path == "/v1/models"
    assert request.headers["authorization"] == "Basic YW5uOnBAc3M="  # ann:p@ss
    assert "ann" not in caught.value.message
    assert "p@ss" not in repr(transport.address)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://gpu1:30000", "http://gpu1:30000"),
        ("http://gpu1:30000/", "http://gpu1:30000"),
        (" http://gpu1:30000/v1/ ", "http://gpu1:30000"),
        ("https://models.example/qwen/v1", "https://models.example/qwen"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_a_url_is_taken_as_users_write_it(url: str, base: str) -> None:
    assert Address.parse(url).base == base


@pytest.mark.parametrize(
    "url", ["", "gpu1:30000", "ftp://gpu1", "http://", "http://gpu1:99999", "http://[::1", "http://gpu1/?a=1", "/tmp/x"]
)
def test_what_is_no_url_of_a_server_is_said_to_be_none(url: str) -> None:
    with pytest.raises(ConfigError, match="not well formed"):
        Address.parse(url)


@pytest.mark.parametrize("key", ["sk\r\nX-Evil: 1", "schlüssel"])
def test_a_key_that_no_header_takes_is_a_setting_that_is_off(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Address.parse("http://gpu1", key)
    assert key not in str(caught.value)


def test_a_closed_transport_says_so_and_ends_what_was_under_way() -> None:
    with BadServer(_never) as server:
        transport = Transport(server.url, ServerOptions())
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(transport.post, "/x", b"{}", 60)
            while not server.requests:
                time.sleep(0.01)
            transport.close()
            transport.close()
            assert isinstance(waiting.exception(5), EngineUnavailable)
        with pytest.raises(EngineUnavailable, match="closed"):
            transport.get("/x", 5)
    assert not [thread for thread in threading.enumerate() if thread.name == "docflow-transport"]


def test_a_process_that_closes_nothing_ends_at_once_and_without_a_word() -> None:
    code = (
        "import sys; from docflow.engines.base import ServerOptions; from docflow.engines.transport import Transport\n"
        "transport = Transport(sys.argv[1], ServerOptions()); transport.get('/v1/models', 10)"
    )
    with BadServer(says(response(200, {}))) as server:
        command = [sys.executable, "-W", "always::ResourceWarning", "-c", code, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_started_before_the_first_call() -> None:
    before = threading.active_count()
    Transport("http://127.0.0.1:1", ServerOptions()).close()
    assert threading.active_count() == before


# --- errors in words --------------------------------------------------------------------------------------------------

VLLM_CONTEXT = {
    "error": {
        "message": "This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 "
        "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
        "prompt. (parameter=input_tokens, value=4097)",
        "type": "BadRequestError",
        "param": "input_tokens",
        "code": 400,
    }
}
SGLANG_CONTEXT = {
    "object": "error",
    "message": "The input (6009 tokens) is longer than the model's context length (4096 tokens).",
    "type": "BadRequestError",
    "param": None,
    "code": 400,
}
SGLANG_ROOM = {
    "object": "error",
    "message": "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total "
    "of 4502 tokens: 406 tokens from the input messages and 4096 tokens for the completion.",
    "code": 400,
}


@pytest.mark.parametrize("said", [VLLM_CONTEXT, SGLANG_CONTEXT, SGLANG_ROOM])
def test_a_full_context_is_refused_with_what_to_lower(said: dict[str, object]) -> None:
    error = refusal(Reply(400, json.dumps(said).encode()), "http://gpu1", b"{}")
    assert isinstance(error, EngineRefused)
    assert error.elsewhere
    assert "4096 tokens" in error.message
    assert "extraction.page_tokens" in error.hint


@pytest.mark.parametrize(
    "message",
    [
        "At most 2 image(s) may be provided in one prompt. (parameter=image)",
        "Image count 3 exceeds limit 2 per request.",
    ],
)
def test_too_many_images_are_refused_with_the_flags_that_allow_more(message: str) -> None:
    error = refusal(Reply(400, json.dumps({"error": {"message": message}}).encode()), "http://gpu1", b"{}")
    assert isinstance(error, EngineRefused)
    assert error.elsewhere
    assert "--limit-mm-per-prompt" in error.hint


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "said", "type": "x"}},
        {"object": "error", "message": "said"},
        {"error": "said"},
        {"detail": "said"},
        {"message": "said\n  twice"},
    ],
)
def test_the_message_is_found_in_every_server_s_error(body: dict[str, object]) -> None:
    assert said_by(json.dumps(body).encode(), b"").startswith("said")
    assert "\n" not in said_by(json.dumps(body).encode(), b"")


@pytest.mark.parametrize(
    "body", [b"", b"<html>500</html>", b"Internal Server Error", b"[1]", b'{"error": {"a": 1}}', b"[" * 99999]
)
def test_a_body_without_a_message_says_nothing(body: bytes) -> None:
    assert said_by(body, b"") == ""


def test_a_message_never_quotes_the_document() -> None:
    text = 'Patient "Ann Example"\nborn 1 May 1970, diagnosis'
    sent = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    message = f"1 validation error: messages.0.content {text} is wrong; input_value={text!r}"
    said = said_by(json.dumps({"error": {"message": message}}).encode(), sent)
    assert said.startswith("1 validation error")
    assert "Example" not in said
    assert "1970" not in said
    assert "is wrong" in said


def test_a_long_message_is_shortened() -> None:
    said = said_by(json.dumps({"error": {"message": "word " * 500}}).encode(), b"")
    assert len(said) <= 300
    assert said.endswith("…")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=24, max_size=60), st.text(max_size=20))
def test_no_stretch_of_the_request_survives_in_a_message(secret: str, around: str) -> None:
    sent = json.dumps({"content": secret}, ensure_ascii=False).encode()
    said = said_by(json.dumps({"message": around + secret + around}).encode(), sent)
    assert secret not in said


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after({"Retry-After": "12"}) == 12
    assert retry_after({"Retry-After": "0.5"}) == 0.5
    assert retry_after({}) is None
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({"Retry-After": "1e999"}) is None
    assert retry_after({"Retry-After": "-3"}) is None
    assert retry_after({"Retry-After": formatdate(time.time() - 100, usegmt=True)}) == 0
    ahead = retry_after({"Retry-After": formatdate(time.time() + 100, usegmt=True)})
    assert ahead is not None
    assert 90 < ahead <= 100
