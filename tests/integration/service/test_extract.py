"""/v1/extract: real documents through real decoders, OCR and the embedded engine."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from docflow.server.service.app import service_app
from docflow.settings import load_settings
from tests.engines.instant import InstantServer
from tests.integration.serving import serving

SAMPLES = Path(__file__).parents[3] / "samples"
DOCUMENTS = SAMPLES / "documents"
KEYS = "team=0123456789abcdef-team;other=0123456789abcdef-other"
TEAM = {"authorization": "Bearer 0123456789abcdef-team"}
OTHER = {"authorization": "Bearer 0123456789abcdef-other"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = {"serve.data_dir": tmp_path_factory.mktemp("service"), "telemetry.log": "off", "limits.pages": 20}
    with TestClient(service_app(load_settings(settings)), raise_server_exceptions=False) as client:
        yield client


def sample(name: str) -> tuple[str, bytes]:
    return name, (DOCUMENTS / name).read_bytes()


def truth(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((SAMPLES / "truth" / name).with_suffix(".json").read_text())["record"]
    return record


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for part in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in part.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_a_scan_becomes_a_record_whose_values_say_where_they_were_read(client: TestClient) -> None:
    answer = client.post("/v1/extract", files={"file": sample("receipt-001.jpg")}, data={"program": "receipt"})
    assert answer.status_code == 200
    (document,) = answer.json()["documents"]
    true = truth("receipt-001.jpg")
    assert (document["status"], document["program"], document["engine"]) == ("valid", "receipt", "embedded")
    assert document["record"]["company"] == true["company"]
    assert Decimal(str(document["record"]["total"])) == Decimal(true["total"])
    (page,) = document["pages"]
    total = next(one for one in document["evidence"] if one["path"] == "total")
    assert total["page"] == 1
    assert 0 <= total["box"][0] < total["box"][2] <= page["width"]
    assert 0 <= total["box"][1] < total["box"][3] <= page["height"]
    assert 0 < total["confidence"] <= 1
    assert page["unit"] == "px"
    assert document["usage"].keys() == {"prompt", "cached", "output", "calls"}
    assert document["error"] is None


def test_documents_come_as_base64_and_as_data_urls_too(client: TestClient) -> None:
    name, content = sample("receipt-022.pdf")
    data = base64.b64encode(content).decode()
    body = {
        "documents": [{"name": name, "data": data}, {"data": f"data:application/pdf;base64,{data}"}],
        "program": "receipt",
        "locale": "en_US",
    }
    documents = client.post("/v1/extract", json=body).json()["documents"]
    assert [document["name"] for document in documents] == ["receipt-022.pdf", "document-2"]
    assert documents[0]["record"] == documents[1]["record"]
    assert str(documents[0]["record"]["total"]) == truth(name)["total"]


def test_one_bad_document_among_several_costs_the_others_nothing(client: TestClient) -> None:
    files = [
        ("file", ("letter.pdf", b"Dear Sir or Madam")),
        ("file", sample("receipt-022.pdf")),
        ("file", ("../../etc/passwd", b"")),
    ]
    answer = client.post("/v1/extract", files=files)
    assert answer.status_code == 200
    documents = answer.json()["documents"]
    assert [(one["name"], one["status"]) for one in documents] == [
        ("letter.pdf", "failed"),
        ("receipt-022.pdf", "valid"),
        ("passwd", "failed"),
    ]
    assert documents[0]["error"]["type"] == "UnsupportedDocument"
    assert documents[0]["error"]["hint"]
    assert documents[2]["error"]["message"] == "the file is empty"
    assert answer.json()["counts"] == {"failed": 2, "valid": 1}


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"Dear Sir or Madam", 415, "UnsupportedDocument"),
        (b"%PDF-1.4 and nothing more", 400, "BrokenDocument"),
        (b"", 400, "BrokenDocument"),
    ],
)
def test_a_single_document_that_cannot_be_read_refuses_the_request(
    client: TestClient, content: bytes, status: int, code: str
) -> None:
    answer = client.post("/v1/extract", files={"file": ("a.pdf", content)})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_document_with_too_many_pages_is_too_large(client: TestClient) -> None:
    from io import BytesIO

    from pypdfium2 import PdfDocument

    document = PdfDocument.new()
    for _ in range(21):
        document.new_page(100, 100)
    content = BytesIO()
    document.save(content)
    answer = client.post("/v1/extract", files={"file": ("a.pdf", content.getvalue())})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "LimitExceeded")


def test_a_stream_tells_what_is_accepted_read_and_done(client: TestClient) -> None:
    files = [("file", sample("invoice-027.tiff")), ("file", ("bad.png", b"bad"))]
    answer = client.post("/v1/extract", files=files, headers={"accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert [name for name, _ in events[:2]] == ["accepted", "accepted"]
    stages = [said["stage"] for name, said in events if name == "progress" and said["document"] == 0]
    assert stages[0] == "opened"
    assert {"asked", "read", "answered"} <= set(stages)
    assert stages.index("asked") < stages.index("answered")
    results = {said["document"]: said["status"] for name, said in events if name == "result"}
    assert results == {0: "valid", 1: "failed"}
    assert events[-1] == ("done", {"documents": 2, "counts": {"valid": 1, "failed": 1}})


def test_each_document_of_a_file_that_is_split_is_a_result(client: TestClient) -> None:
    from io import BytesIO

    from pypdfium2 import PdfDocument

    both = PdfDocument.new()
    for name in ("invoice-008.pdf", "receipt-022.pdf"):
        both.import_pages(PdfDocument(DOCUMENTS / name))
    content = BytesIO()
    both.save(content)
    answer = client.post("/v1/extract", files={"file": ("both.pdf", content.getvalue())}, data={"split": "true"})
    documents = answer.json()["documents"]
    assert [document["program"] for document in documents] == ["invoice", "receipt"]
    assert documents[0]["split"] == 2
    assert documents[1]["first_page"] == documents[0]["last_page"] + 1


@pytest.mark.parametrize("as_file", [True, False])
def test_a_schema_takes_the_place_of_a_program(client: TestClient, as_file: bool) -> None:
    schema = (SAMPLES / "schemas" / "payslip.schema.json").read_bytes()
    files: dict[str, Any] = {"file": sample("payslip-013.pdf")}
    if as_file:
        files["schema"] = ("payslip.schema.json", schema)
    answer = client.post("/v1/extract", files=files, data={} if as_file else {"schema": schema.decode()})
    (document,) = answer.json()["documents"]
    assert document["record"].keys() == json.loads(schema)["properties"].keys()
    assert any(value is not None for value in document["record"].values())


def test_values_keep_the_names_of_a_schema_that_no_python_field_could_have(client: TestClient) -> None:
    schema = {"type": "object", "properties": {"Grand total": {"type": "number"}, "class": {"type": "string"}}}
    data = base64.b64encode(sample("receipt-022.pdf")[1]).decode()
    answer = client.post("/v1/extract", json={"documents": [{"data": data}], "schema": schema})
    assert answer.json()["documents"][0]["record"].keys() == {"Grand total", "class"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"program": "evil.py:main"}, "there is no program"),
        ({"program": "os:system"}, "there is no program"),
        ({"program": "../receipt"}, "there is no program"),
        ({"program": "recipt"}, "Did you mean 'receipt'"),
        ({"program": "receipt", "schema": "{}"}, "one of the two"),
        ({"schema": "evil.py:Model"}, "no valid JSON"),
        ({"schema": "[]"}, "no JSON object"),
        ({"schema": "{}"}, "names no fields"),
        ({"locale": "xx_YY"}, "xx_YY"),
        ({"pages_per_call": "0"}, "pages_per_call"),
        ({"grounding": "most"}, "grounding"),
        ({"engine": "sglang=http://evil"}, "engine"),
        ({"calibration": "/etc/passwd"}, "calibration"),
    ],
)
def test_what_cannot_be_asked_is_said(client: TestClient, fields: dict[str, str], said: str) -> None:
    answer = client.post("/v1/extract", files={"file": sample("receipt-022.pdf")}, data=fields)
    assert answer.status_code == 422
    assert said in answer.json()["error"]["message"]


def test_programs_are_listed_with_their_schemas(client: TestClient) -> None:
    listed = client.get("/v1/programs")
    assert listed.status_code == 200, listed.text
    answer = listed.json()
    by_name = {program["name"]: program for program in answer["programs"]}
    assert {"auto", "receipt", "invoice", "form"} <= by_name.keys()
    assert "total" in by_name["receipt"]["schema"]["properties"]
    assert by_name["auto"]["schema"] is None
    assert set(by_name["auto"]["kinds"]) == {"receipt", "invoice", "form"}
    assert answer["limits"]["upload_bytes"] == 10_485_760


def test_programs_that_the_operator_adds_are_there_by_their_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from pydantic import BaseModel\nfrom docflow import Money\n\n\n"
        "class Bill(BaseModel):\n    total: Money | None = None\n"
    )
    settings = {"serve.data_dir": tmp_path, "telemetry.log": "off", "serve.programs": f"{tmp_path}/mine.py:Bill"}
    with TestClient(service_app(load_settings(settings))) as client:
        name, content = sample("receipt-022.pdf")
        answer = client.post("/v1/extract", files={"file": (name, content)}, data={"program": "bill"})
        assert answer.json()["documents"][0]["record"].keys() == {"total"}
        again = client.post(
            "/v1/extract", files={"file": (name, content)}, data={"program": f"{tmp_path}/mine.py:Bill"}
        )
        assert again.status_code == 422


def test_pages_are_shown_to_the_key_that_sent_them_and_to_no_other(tmp_path: Path) -> None:
    settings = {"serve.data_dir": tmp_path, "telemetry.log": "off", "serve.keys": KEYS}
    with TestClient(service_app(load_settings(settings))) as client:
        files = {"file": sample("receipt-022.pdf")}
        assert client.post("/v1/extract?view=true", files=files).status_code == 401
        answer = client.post("/v1/extract?view=true", files=files, headers=TEAM)
        address = answer.json()["documents"][0]["view"]["images"]["1"]
        image = client.get(address, headers=TEAM)
        assert image.headers["content-type"] == "image/jpeg"
        assert image.content.startswith(b"\xff\xd8\xff")
        assert client.get(address, headers=OTHER).status_code == 404
        assert client.get(address).status_code == 401
        assert client.get(f"{address}0", headers=TEAM).status_code == 404
        assert "view" not in client.post("/v1/extract", files=files, headers=TEAM).json()["documents"][0]


def test_nothing_of_a_request_stays_on_disk(client: TestClient, tmp_path: Path) -> None:
    settings = {"serve.data_dir": tmp_path, "telemetry.log": "off"}
    with TestClient(service_app(load_settings(settings))) as client:
        client.post("/v1/extract", files={"file": sample("receipt-022.pdf")})
        client.post("/v1/extract", files={"file": ("a.pdf", b"bad")})
        client.post("/v1/extract", files={"other": ("a.pdf", b"bad")})
        (folder,) = (tmp_path / "uploads").iterdir()
        assert not list(folder.iterdir())
        assert folder.stat().st_mode & 0o077 == 0
    assert not list((tmp_path / "uploads").iterdir())


def connection(address: str) -> socket.socket:
    port = urlsplit(address).port
    assert port is not None
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def multipart(*contents: bytes) -> tuple[bytes, bytes]:
    """Headers and body of a request with these documents."""
    body = b""
    for content in contents:
        body += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n' + content + b"\r\n"
    body += b"--b--\r\n"
    head = (
        b"POST /v1/extract HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: %d\r\n" % len(body)
    )
    return head, body


def test_who_finds_no_place_in_line_is_told_when_to_come_back(tmp_path: Path) -> None:
    with serving(tmp_path, serve__requests=1, serve__waiting=0) as address, connection(address) as slow:
        head, body = multipart(sample("receipt-022.pdf")[1])
        slow.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert slow.recv(100).startswith(b"HTTP/1.1 100")  # its body is waited for: it has its place
        with connection(address) as second:
            second.sendall(head + b"Connection: close\r\n\r\n" + body)
            answer = second.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 5" in answer.lower()
        slow.sendall(body)
        assert slow.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_client_that_goes_away_is_not_worked_for(tmp_path: Path, streamed: bool) -> None:
    documents = 30
    with (
        InstantServer("sglang", seconds=0.3) as engine,
        serving(tmp_path, engine=f"sglang={engine.url}", extraction__grounding="text-layer") as address,
    ):
        with connection(address) as leaving:
            head, body = multipart(*[sample("receipt-022.pdf")[1]] * documents)
            accept = b"Accept: text/event-stream\r\n" if streamed else b""
            leaving.sendall(head + accept + b"\r\n" + body)
            end = time.monotonic() + 60
            while not engine.requests:
                assert time.monotonic() < end
                time.sleep(0.01)
        asked = -1
        while asked != len(engine.requests):  # until nothing more is asked
            asked = len(engine.requests)
            time.sleep(1.5)
        assert asked < documents


def test_an_engine_that_is_away_is_said_without_saying_where(tmp_path: Path) -> None:
    with TestClient(
        service_app(
            load_settings({"serve.data_dir": tmp_path, "telemetry.log": "off", "engine": "sglang=http://127.0.0.1:9"})
        )
    ) as client:
        answer = client.post("/v1/extract", files={"file": sample("receipt-022.pdf")})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "127.0.0.1" not in answer.text
