"""Uploads that mean harm: only 4xx answers, nothing written outside, and a service that goes on."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from docflow.server.service.app import service_app
from docflow.settings import load_settings
from tests.integration.serving import serving

DOCUMENTS = Path(__file__).parents[3] / "samples" / "documents"
RECEIPT = (DOCUMENTS / "receipt-022.pdf").read_bytes()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = {
        "serve.data_dir": tmp_path_factory.mktemp("service"),
        "telemetry.log": "off",
        "serve.upload_bytes": 1_000_000,
        "serve.job_bytes": 4_000_000,
        "serve.request_bytes": 3_000_000,
    }
    with TestClient(service_app(load_settings(settings)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(autouse=True)
def the_service_goes_on(client: TestClient) -> Iterator[None]:
    yield
    answer = client.post("/v1/extract", files={"file": ("r.pdf", RECEIPT)}, data={"program": "receipt"})
    assert answer.json()["documents"][0]["status"] == "valid"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


FILES = {
    "a bomb of pixels": png(60_000, 60_000, zlib.compress(bytes(60_001 * 100))),
    "an image that claims a size and has none": png(2_000, 2_000, zlib.compress(bytes(10))),
    "a bomb inside a PDF": b"%PDF-1.4\n1 0 obj<</Length 1 0 R/Filter[/FlateDecode/FlateDecode/FlateDecode]>>stream\n"
    + zlib.compress(zlib.compress(zlib.compress(bytes(10_000_000))))
    + b"\nendstream endobj\n%%EOF",
    "a PDF that refers to itself": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[2 0 R]/Count 9999999>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
    "a polyglot of PNG and HTML": b"\x89PNG\r\n\x1a\n<script>alert(1)</script>",
    "a polyglot of JPEG and ZIP": b"\xff\xd8\xff\xe0PK\x03\x04" + bytes(100),
    "a ZIP": b"PK\x03\x04" + bytes(1_000),
    "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "PostScript": b"%!PS\n(/etc/passwd) (r) file",
    "a TIFF whose directories go in circles": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "a script named as an image": b"#!/bin/sh\nrm -rf /",
    "NULs": bytes(500_000),
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused(client: TestClient, name: str) -> None:
    answer = client.post("/v1/extract", files={"file": ("a.png", FILES[name])})
    assert 400 <= answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "..\\..\\windows\\system.ini",
        "/etc/passwd",
        "a\x00b.pdf",
        "..",
        "",
        "a" * 3_000,
        "%2e%2e%2fx",
    ],
)
def test_a_file_name_leads_nowhere(client: TestClient, name: str) -> None:
    data = base64.b64encode(RECEIPT).decode()
    answer = client.post("/v1/extract", json={"documents": [{"name": name, "data": data}], "program": "receipt"})
    shown = answer.json()["documents"][0]["name"]
    assert answer.status_code == 200
    assert len(shown) <= 200
    assert not set(shown) & set("/\\\0")
    assert shown not in ("", ".", "..")


def body(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


FILE = b'Content-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'
MULTIPART = {
    "nothing": b"",
    "no end": body(FILE + b"x", end=b""),
    "cut in a header": b"--b\r\nContent-Disposition: form-data; na",
    "no name": body(b"Content-Disposition: form-data\r\n\r\nx"),
    "no disposition": body(b"X-A: b\r\n\r\nx"),
    "another boundary": b"--c\r\n" + FILE + b"x\r\n--c--\r\n",
    "no line ends": b"--b" * 1_000,
    "10,000 documents": body(*[FILE + b"x"] * 10_000),
    "10,000 fields": body(*[b'Content-Disposition: form-data; name="f%d"\r\n\r\nx' % n for n in range(10_000)]),
    "a field twice": body(*[b'Content-Disposition: form-data; name="program"\r\n\r\nreceipt'] * 2, FILE + b"x"),
    "a header without end": b"--b\r\nContent-Disposition: " + b"a" * 500_000,
    "1,000 headers": b"--b\r\n" + b"X-A: b\r\n" * 1_000 + b"\r\n",
    "a field of a megabyte": body(
        b'Content-Disposition: form-data; name="schema"\r\n\r\n' + b"x" * 900_000, FILE + b"x"
    ),
    "a document too large": body(FILE + b"x" * 1_500_000),
    "no UTF-8": body(b'Content-Disposition: form-data; name="program"\r\n\r\n\xff\xfe', FILE + b"x"),
    "a nested part": body(b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--"),
}


@pytest.mark.parametrize("path", ["/v1/extract", "/v1/jobs"])
@pytest.mark.parametrize("name", MULTIPART)
def test_a_broken_multipart_body_is_refused(client: TestClient, path: str, name: str) -> None:
    if path == "/v1/jobs" and name == "a document too large":
        pytest.skip("a job may be larger")
    answer = client.post(path, content=MULTIPART[name], headers={"content-type": "multipart/form-data; boundary=b"})
    assert 400 <= answer.status_code < 500, answer.text
    assert client.get("/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=" + "b" * 500,
        "multipart/mixed; boundary=b",
    ],
)
def test_a_body_of_another_kind_is_refused(client: TestClient, kind: str) -> None:
    answer = client.post("/v1/extract", content=body(FILE + RECEIPT), headers={"content-type": kind})
    assert answer.status_code in (400, 415)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b'{"documents": 1}',
        b'{"documents": []}',
        b'{"documents": [1]}',
        b'{"documents": [{"data": 1}]}',
        b'{"documents": [{"data": "!"}]}',
        b'{"documents": [{"data": "http://127.0.0.1/"}]}',
        b'{"documents": [{"data": "file:///etc/passwd"}]}',
        b'{"documents": [{"data": "", "path": "/etc/passwd"}]}',
        b'{"documents": [{"data": "AA=="}], "program": {"a": 1}}',
        b'{"documents": [{"data": "AA=="}], "program": "\\ud800"}',
        b'{"documents": [{"data": "AA=="}], "pages_per_call": 1e400}',
        b'{"documents": [' + b",".join([b'{"data": "AA=="}'] * 10_000) + b"]}",
        b"\xff\xfe\x00",
    ],
)
def test_a_broken_body_of_json_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post("/v1/extract", content=content, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text


def doubling(levels: int) -> dict[str, object]:
    """A schema of a few lines that stands for 2 ** levels."""
    definitions = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    definitions[f"d{levels}"] = {"type": "string"}  # type: ignore[dict-item]
    return {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}


def wide(levels: int, fields: int) -> dict[str, object]:
    definitions: dict[str, object] = {
        f"d{n}": {"type": "object", "properties": {f"f{i}": {"$ref": f"#/$defs/d{n + 1}"} for i in range(fields)}}
        for n in range(levels)
    }
    definitions[f"d{levels}"] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def nested(levels: int) -> dict[str, object]:
    node: dict[str, object] = {"type": "string"}
    for _ in range(levels):
        node = {"type": "object", "properties": {"a": node}}
    return node


SCHEMAS: dict[str, object] = {
    "one that doubles": doubling(30),
    "one that fans out": wide(6, 30),
    "one that contains itself": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    "one that is deep": nested(400),
    "one whose unused part is deep": {"type": "object", "properties": {"a": {}}, "$defs": {"x": nested(400)}},
    "one from elsewhere": {"$ref": "http://127.0.0.1/schema.json"},
    "a file": {"$ref": "file:///etc/passwd"},
    "a dynamic reference": {"type": "object", "properties": {"a": {"$dynamicRef": "#a"}}},
    "names by pattern": {"type": "object", "properties": {"a": {}}, "patternProperties": {"(a+)+$": {}}},
    "a pattern that looks back": {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a)\\1"}}},
    "a pattern that explodes": {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "((a{1000}){1000}){1000}"}},
    },
    "a long pattern": {"type": "object", "properties": {"a": {"type": "string", "pattern": "a" * 1_000}}},
    "a long rule": {"type": "object", "properties": {"a": {"type": "number"}}, "x-rules": ["a" + " " * 50_000]},
    "5,000 fields": {"type": "object", "properties": {f"f{n}": {} for n in range(5_000)}},
    "no text": {"type": "object", "properties": {"\x00": {"type": "string"}}},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_hostile_schema_is_refused(client: TestClient, name: str) -> None:
    data = {"schema": json.dumps(SCHEMAS[name])}
    answer = client.post("/v1/extract", files={"file": ("r.pdf", RECEIPT)}, data=data)
    assert answer.status_code in (413, 422), answer.text


def test_a_pattern_takes_no_longer_than_its_text(client: TestClient) -> None:
    hidden = {"properties": {"total": {"allOf": [{"pattern": "^(([0-9.])+)+x$"}]}}}
    schema = {
        "type": "object",
        "properties": {"company": {"type": "string", "pattern": "^(\\w| )*(\\w| )*x$"}, "total": {}},
    }
    answer = client.post(
        "/v1/extract", files={"file": ("r.pdf", RECEIPT)}, data={"schema": json.dumps({**schema, "allOf": [hidden]})}
    )
    assert answer.json()["documents"][0]["status"] in ("valid", "invalid")


def sent(address: str, content: bytes) -> bytes:
    """What the service answers to these bytes, before it closes the connection."""
    port = urlsplit(address).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        answer = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it would not hear more
            connection.sendall(content)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65_536):
                answer += piece
        return answer


def test_what_no_client_sends_is_refused_on_the_wire(tmp_path: Path) -> None:
    host = b"Host: 127.0.0.1\r\n"
    form = b"Content-Type: multipart/form-data; boundary=b\r\n"
    with serving(tmp_path, serve__upload_bytes=100_000, serve__request_bytes=100_000, serve__body_seconds=1) as address:
        post = b"POST /v1/extract HTTP/1.1\r\n" + host + form
        large = sent(address, post + b"Content-Length: 999999999999\r\n\r\n")
        assert large.startswith(b"HTTP/1.1 413")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        endless = sent(address, post + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40)
        assert endless.startswith(b"HTTP/1.1 4") or not endless
        silent = sent(address, post + b"Content-Length: 1000\r\n\r\n--b\r\n")
        assert silent.startswith(b"HTTP/1.1 408")
        headers = sent(address, b"GET /health HTTP/1.1\r\n" + host + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n")
        assert headers.startswith(b"HTTP/1.1 4")
        assert b" 500 " not in large + endless + silent + headers
        assert sent(address, b"GET /health/live HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n").startswith(
            b"HTTP/1.1 200"
        )
