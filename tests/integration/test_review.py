from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import docflow.samples
from docflow.api import extract
from docflow.cli import main
from docflow.documents.sources import encoded
from docflow.server.index import Index
from docflow.server.originals import Originals, decoded
from docflow.settings import load_settings
from docflow.storage import Dataset
from docflow.storage.corrections import CORRECTIONS
from docflow.storage.store import Store
from tests.integration.reviewing import HOSTILE, TOKEN, bill, dataset, served
from tests.unit.storage.results import Results

SAYS = {"X-Docflow-Review": "1"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return dataset(tmp_path)


@pytest.fixture
def client(out: Path) -> Iterator[httpx.Client]:
    with served(out, out.parent / "scans") as link, httpx.Client(base_url=link.removesuffix(f"/{TOKEN}/")) as client:
        yield client


def entries(client: httpx.Client, **filters: Any) -> dict[str, str]:
    answer = client.get("/t0ken/api/queue", params=filters).json()
    return {entry["source"]: entry["key"] for entry in answer["entries"]}


def say(client: httpx.Client, key: str, *said: dict[str, Any], **headers: str) -> Any:
    return client.post(f"/t0ken/api/documents/{key}/corrections", json={"said": said}, headers={**SAYS, **headers})


def leaf(view: dict[str, Any], path: str) -> dict[str, Any]:
    leaves = [leaf for group in view["groups"] for leaf in group.get("leaves", [])]
    leaves += [leaf for group in view["groups"] for row in group.get("rows", []) for leaf in row["leaves"]]
    found: dict[str, Any] = next(leaf for leaf in leaves if leaf["path"] == path)
    return found


def test_the_least_sure_document_comes_first_and_failed_ones_last(client: httpx.Client) -> None:
    answer = client.get("/t0ken/api/queue").json()
    sources = [entry["source"] for entry in answer["entries"]]
    assert sources == ["b.png", "c.tiff", "evil.png", "a.png", "changed.png", "gone.png", "bad.png"]
    assert (answer["documents"], answer["reviewed"]) == (6, 0)


def test_the_queue_is_filtered_and_comes_in_pages(client: httpx.Client) -> None:
    assert list(entries(client, status="failed")) == ["bad.png"]
    assert entries(client, program="letter") == {}
    first = client.get("/t0ken/api/queue", params={"limit": 3}).json()
    assert first["more"]
    rest = client.get("/t0ken/api/queue", params={"limit": 9, "after": first["entries"][-1]["key"]}).json()
    assert not rest["more"]
    assert len({entry["key"] for entry in first["entries"] + rest["entries"]}) == 7


def test_pages_of_the_queue_leave_nothing_out_while_documents_become_reviewed(client: httpx.Client) -> None:
    first = client.get("/t0ken/api/queue", params={"limit": 2, "state": "open"}).json()["entries"]
    for entry in first:
        view = client.get(f"/t0ken/api/documents/{entry['key']}").json()
        said = [{"path": path, "action": "accept", "seen": leaf(view, path)["value"]} for path in view["undecided"]]
        assert say(client, entry["key"], *said).json()["state"] == "done"
    rest = entries(client, state="open", after=first[-1]["key"])
    assert list(rest) == ["evil.png", "a.png", "changed.png", "gone.png"]
    assert client.get("/t0ken/api/queue").json()["reviewed"] == 2


def test_documents_that_a_run_marked_can_be_picked(client: httpx.Client, out: Path) -> None:
    assert not client.get("/t0ken/api/queue").json()["marked"]
    store = Store(out, Results.bill, "embedded", "better", "two")
    results = [
        bill("look.png", Results.document_id("look"), needs_review=True),
        bill("fine.png", Results.document_id("fine"), needs_review=False),
    ]
    store.write([store.row(result)[1] for result in results], ["two"])
    assert client.get("/t0ken/api/queue").json()["marked"]
    assert list(entries(client, state="look")) == ["look.png"]


def test_a_value_comes_with_its_places_its_text_and_its_confidence(client: httpx.Client) -> None:
    view = client.get(f"/t0ken/api/documents/{entries(client)['c.tiff']}").json()
    total = leaf(view, "total")
    assert (total["value"], total["shown"], total["raw"], total["confidence"]) == ("12.5", "12.50", "12,50", 0.96)
    assert total["boxes"] == [{"page": 2, "box": [300, 50, 400, 80]}]
    assert [page["number"] for page in view["pages"]] == [1, 2]
    assert view["groups"][1]["columns"] == ["name", "count"]


def test_a_decision_is_kept_in_the_dataset_and_seen_again(client: httpx.Client, out: Path) -> None:
    key = entries(client)["b.png"]
    view = say(
        client,
        key,
        {"path": "total", "action": "correct", "text": "1.234,50 €", "seen": "12.5"},
        {"path": "company", "action": "accept", "seen": "ACME"},
        {"path": "items[0]", "action": "absent"},
        {"path": "items[+1].name", "action": "correct", "text": "Jam"},
    ).json()
    assert leaf(view, "total")["decision"]["value"] == "1234.5"
    assert leaf(view, "total")["decision"]["who"] == "Ann"
    assert view["state"] == "partly"
    rows = view["groups"][1]["rows"]
    assert [(bool(row["removed"]), row["added"]) for row in rows] == [(True, False), (False, False), (False, True)]
    assert Index(out)[key].state == "partly"
    row = next(row for row in Dataset(out).records(corrected=True) if row["source"] == "b.png")
    assert [item["name"] for item in row["record"]["items"]] == ["Cake", "Jam"]


@pytest.mark.parametrize(
    "said",
    [
        {"path": "total", "action": "correct", "text": "twelve", "seen": "12.5"},
        {"path": "total", "action": "accept", "seen": "99"},
        {"path": "../../etc/passwd", "action": "accept"},
        {"path": "total", "action": "explode"},
        {"path": "total", "action": "accept", "seen": "12.5", "who": "Bob"},
    ],
)
def test_an_invalid_correction_is_refused_with_a_message(client: httpx.Client, out: Path, said: dict[str, Any]) -> None:
    answer = say(client, entries(client)["b.png"], said)
    assert answer.status_code == 422
    assert not list(out.glob(f"{CORRECTIONS}/*.json"))


def test_only_the_page_itself_gets_an_answer(client: httpx.Client) -> None:
    key = entries(client)["a.png"]
    accept = {"path": "total", "action": "accept", "seen": "12.5"}
    assert client.get("/wrong/api/queue").status_code == 404
    assert client.get("/").status_code == 404
    assert client.get("/t0ken/api/queue", headers={"Host": "evil.example:8123"}).status_code == 421
    assert say(client, key, accept, **{"X-Docflow-Review": ""}).status_code == 403
    assert say(client, key, accept, Origin="http://evil.example").status_code == 403
    assert say(client, key, accept, Origin=str(client.base_url).rstrip("/")).status_code == 200
    path = f"/t0ken/api/documents/{key}/corrections"
    assert client.post(path, headers=SAYS, content=iter([b"{}"])).status_code == 413  # of a length that nobody knows
    connection = http.client.HTTPConnection(client.base_url.netloc.decode(), timeout=10)
    connection.request("POST", path, headers={**SAYS, "Content-Length": "99999999"})
    assert connection.getresponse().status == 413
    connection.close()


def test_every_answer_forbids_what_the_page_does_not_need(client: httpx.Client) -> None:
    for path in ("/t0ken/", "/t0ken/api/queue", "/t0ken/static/review.js", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "static/../app.py",
        "static/%2e%2e%2fapp.py",
        "static/review.html",
        "api/documents/../../etc/passwd",
        "api/documents/nothing",
        "api/documents/nothing/pages/1",
        "docs",
        "openapi.json",
    ],
)
def test_nothing_but_the_dataset_can_be_reached(client: httpx.Client, path: str) -> None:
    assert client.get(f"/t0ken/{path}").status_code == 404


def test_a_page_is_shown_from_its_original(client: httpx.Client) -> None:
    key = entries(client)["c.tiff"]
    answer = client.get(f"/t0ken/api/documents/{key}/pages/2?side=1000")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (600, 800)
    assert client.get(f"/t0ken/api/documents/{key}/pages/3").status_code == 404


@pytest.mark.parametrize(
    ("source", "why"), [("gone.png", "not found"), ("changed.png", "changed"), ("bad.png", "not found")]
)
def test_a_file_that_is_gone_or_changed_is_not_shown_and_the_record_is(
    client: httpx.Client, source: str, why: str
) -> None:
    key = entries(client)[source]
    answer = client.get(f"/t0ken/api/documents/{key}/pages/1")
    assert answer.status_code == 404
    assert why in answer.json()["message"]
    assert client.get(f"/t0ken/api/documents/{key}").json()["source"] == source


def test_a_source_that_leads_out_of_its_folder_is_not_opened(tmp_path: Path) -> None:
    out = dataset(tmp_path)
    secret = tmp_path / "secret.png"
    Image.new("RGB", (20, 20)).save(secret)
    store = Store(out, Results.bill, "embedded", "rules", "two")
    document_id = hashlib.sha256(secret.read_bytes()).hexdigest()
    results = [bill("../secret.png", document_id)]
    store.write([store.row(result)[1] for result in results], ["two"])
    with Originals(out, load_settings(), tmp_path / "scans") as originals, pytest.raises(Exception, match="not found"):
        originals.image(document_id, ["../secret.png", str(secret)], 1, 1000)


def test_encoded_names_are_found_again() -> None:
    for name in ("a%20b.png", "caf\udce9.png", "new\nline.png", "100%.pdf", "a/ü.jpg"):
        assert decoded(encoded(name)) == name


def test_another_run_is_seen_when_the_page_is_loaded_again(client: httpx.Client, out: Path) -> None:
    key = entries(client)["a.png"]
    say(client, key, {"path": "company", "action": "correct", "text": "ACME Ltd", "seen": "ACME"})
    document_id = next(row["document_id"] for row in Dataset(out).records() if row["source"] == "a.png")
    store = Store(out, Results.bill, "embedded", "better", "two")
    store.write([store.row(bill("a.png", document_id, confidence=0.1))[1]], ["two"])
    assert next(iter(entries(client))) == "a.png"
    view = client.get(f"/t0ken/api/documents/{key}").json()
    assert leaf(view, "company")["confidence"] == 0.1
    assert leaf(view, "company")["decision"]["value"] == "ACME Ltd"


def test_two_thousand_documents_are_a_queue_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for part in range(8):
        store = Store(out, Results.bill, "embedded", "rules", f"run{part}")
        names = [f"{part}-{number}.png" for number in range(250)]
        results = [bill(name, Results.document_id(name), confidence=0.5) for name in names]
        store.write([store.row(result)[1] for result in results], [str(part)])
    start = time.monotonic()
    with served(out, None) as link:
        answer = httpx.get(f"{link}api/queue").json()
    seconds = time.monotonic() - start
    assert (answer["documents"], len(answer["entries"])) == (2_000, 100)
    assert seconds < 10  # it takes one on an idle machine


def test_runs_record_where_they_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docflow.samples.write(tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    run = extract(str(next(Path("docs").rglob("invoice-004.pdf"))), program="invoice", out="out")
    assert run.valid == 1
    monkeypatch.chdir("/")
    row = next(iter(Dataset(tmp_path / "out").records()))
    with Originals(tmp_path / "out", load_settings()) as originals:
        assert originals.image(row["document_id"], [row["source"]], 1, 1000).startswith(b"\xff\xd8")


def test_the_command_serves_a_page_until_it_is_interrupted(out: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "docflow",
        "review",
        str(out),
        "--source",
        str(out.parent / "scans"),
        "--as",
        "Ann",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        said = process.stdout.readline() + process.stdout.readline()
        link = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", said)
        assert link is not None, said
        for _ in range(50):
            try:
                with urllib.request.urlopen(f"{link[0]}api/queue", timeout=10) as answer:
                    assert json.load(answer)["who"] == "Ann"
                break
            except ConnectionError:
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_port_that_is_taken_is_said(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit) as ended:
            main(["review", str(out), "--port", str(taken.getsockname()[1])])
    assert ended.value.code == 2
    assert "cannot be used" in capsys.readouterr().err


def test_a_report_is_one_file_that_asks_for_nothing(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = out.parent / "report.html"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(out), "--html", str(file), "--source", str(out.parent / "scans"), "--limit", "6"])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert "6 of 7 documents" in said.out
    assert "2 documents have no picture" in said.err
    html = file.read_text(encoding="utf-8")
    assert 'src="static' not in html
    assert 'href="static' not in html
    assert "http://" not in html
    assert "https://" not in html
    assert "<script>document.title" not in html
    assert html.count("data:image/jpeg;base64,") == 5
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    data = re.search(r'id="report-data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    documents = json.loads(data[1])["documents"]
    evil = next(document for document in documents if document["source"] == "evil.png")
    assert leaf(evil, "company")["value"] == HOSTILE


def test_a_report_of_a_program_that_is_not_there_is_refused(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["report", str(out), "--html", str(out.parent / "x.html"), "--program", "letter"])
    assert "no rows of 'letter'" in capsys.readouterr().err
