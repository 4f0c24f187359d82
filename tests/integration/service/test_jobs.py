"""/v1/jobs: many documents at once, followed, fetched, and never lost."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from docflow.server.service.app import service_app
from docflow.settings import load_settings
from tests.engines.instant import InstantServer

DOCUMENTS = Path(__file__).parents[3] / "samples" / "documents"
PDFS = ("receipt-022.pdf", "invoice-008.pdf", "form-009.pdf", "form-018.pdf")
KEYS = "team=0123456789abcdef-team;other=0123456789abcdef-other;ops:admin=0123456789abcdef-ops"
TEAM = {"authorization": "Bearer 0123456789abcdef-team"}
OTHER = {"authorization": "Bearer 0123456789abcdef-other"}
ADMIN = {"authorization": "Bearer 0123456789abcdef-ops"}
PATIENCE = 120.0


def started(data: Path, **settings: Any) -> TestClient:
    given = {key.replace("__", "."): value for key, value in settings.items()}
    app = service_app(load_settings({"serve.data_dir": data, "telemetry.log": "off", **given}))
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with started(tmp_path_factory.mktemp("service")) as client:
        yield client


def files(*names: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (name, (DOCUMENTS / name).read_bytes())) for name in names]


def ended(client: TestClient, address: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The job once it is finished."""
    end = time.monotonic() + PATIENCE
    while True:
        job: dict[str, Any] = client.get(address, headers=headers).json()
        if job["state"] in ("done", "failed"):
            return job
        assert time.monotonic() < end, job
        time.sleep(0.05)


def test_a_job_is_followed_and_its_rows_are_fetched_in_every_form(client: TestClient) -> None:
    sent = [*files(*PDFS), ("file", ("form-009.pdf", b"another of that name, and bad"))]
    answer = client.post("/v1/jobs", files=sent)
    assert answer.status_code == 202
    address = answer.headers["location"]
    assert answer.json()["documents"] == 5
    names = []
    with client.stream("GET", f"{address}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                last = json.loads(line.removeprefix("data: "))
    assert names[-1] == "done"
    assert (last["state"], last["done"], last["counts"]) == ("done", 5, {"valid": 4, "failed": 1})
    results = client.get(f"{address}/results?limit=3").json()
    assert [one["name"] for one in results["documents"]] == ["receipt-022.pdf", "invoice-008.pdf", "form-009.pdf"]
    assert (results["total"], results["next"], results["state"]) == (5, 3, "done")
    rest = client.get(f"{address}/results?after=3").json()
    assert [(one["name"], one["status"]) for one in rest["documents"]] == [
        ("form-018.pdf", "valid"),
        ("form-009~2.pdf", "failed"),
    ]
    assert rest["next"] is None
    direct = client.post("/v1/extract", files=files("receipt-022.pdf")).json()["documents"][0]
    stored = results["documents"][0]
    for name in ("record", "evidence", "pages", "program", "document_id"):
        assert stored[name] == direct[name]
    parquet = client.get(f"{address}/results", headers={"accept": "application/vnd.apache.parquet"})
    table = pq.read_table(io.BytesIO(parquet.content))
    assert table.num_rows == 5
    assert set(table["program"].to_pylist()) >= {"receipt", "invoice", "form"}
    lines = client.get(f"{address}/results?format=jsonl").text.splitlines()
    assert len(lines) == 5
    with zipfile.ZipFile(io.BytesIO(client.get(f"{address}/results?format=csv").content)) as archive:
        assert "results.csv" in archive.namelist()
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404
    assert client.get(f"{address}/results").status_code == 404


def test_a_job_takes_a_schema(client: TestClient) -> None:
    schema = json.dumps({"type": "object", "properties": {"Grand total": {"type": "number"}}})
    answer = client.post("/v1/jobs", files=files("receipt-022.pdf"), data={"schema": schema})
    address = answer.headers["location"]
    assert ended(client, address)["state"] == "done"
    (document,) = client.get(f"{address}/results").json()["documents"]
    assert document["record"].keys() == {"Grand total"}


def test_what_is_off_is_said_when_the_job_is_sent(client: TestClient) -> None:
    before = client.get("/v1/jobs").json()["total"]
    for fields in ({"program": "evil.py:x"}, {"locale": "xx_YY"}, {"schema": "{"}, {"unknown": "1"}):
        assert client.post("/v1/jobs", files=files("receipt-022.pdf"), data=fields).status_code == 422
    assert client.get("/v1/jobs").json()["total"] == before


@pytest.mark.parametrize("job_id", ["0" * 32, "..", "%2e%2e", "a" * 500, "..%2f..%2fetc", "%00"])
def test_what_is_no_job_is_not_found(client: TestClient, job_id: str) -> None:
    for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/results"), ("DELETE", "")):
        assert client.request(method, f"/v1/jobs/{job_id}{path}").status_code in (404, 405)


def test_a_job_is_its_keys_alone(tmp_path: Path) -> None:
    with started(tmp_path, serve__keys=KEYS) as client:
        address = client.post("/v1/jobs", files=files("receipt-022.pdf"), headers=TEAM).headers["location"]
        ended(client, address, TEAM)
        assert client.get(address).status_code == 401
        for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/results"), ("DELETE", "")):
            assert client.request(method, address + path, headers=OTHER).status_code == 404
        assert client.get("/v1/jobs", headers=OTHER).json()["jobs"] == []
        assert [job["owner"] for job in client.get("/v1/jobs", headers=ADMIN).json()["jobs"]] == ["team"]
        assert client.get(address, headers=ADMIN).status_code == 200
        assert client.delete(address, headers=TEAM).status_code == 204


def test_files_of_jobs_belong_to_this_user_alone(tmp_path: Path) -> None:
    with started(tmp_path) as client:
        address = client.post("/v1/jobs", files=files("receipt-022.pdf")).headers["location"]
        ended(client, address)
        for path in (tmp_path / "jobs").rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_job_that_is_at_work_is_cancelled_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        InstantServer("sglang", seconds=0.5) as engine,
        started(tmp_path, engine=f"sglang={engine.url}", concurrency=2) as client,
    ):
        address = client.post("/v1/jobs", files=files(*PDFS * 5)).headers["location"]
        end = time.monotonic() + PATIENCE
        while client.get(address).json()["state"] != "running" or not engine.requests:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert client.delete(address).status_code == 204
        assert client.get(address).status_code == 404
        while any((tmp_path / "jobs").iterdir()):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert len(engine.requests) < 20


def test_there_is_no_room_for_more_than_the_operator_gives(tmp_path: Path) -> None:
    with started(tmp_path, serve__jobs_bytes=200_000) as client:
        assert client.post("/v1/jobs", files=files("receipt-022.pdf")).status_code == 202
        refused = client.post("/v1/jobs", files=[("file", ("large.pdf", bytes(250_000)))])
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "no_room")


def test_jobs_that_finished_long_ago_go(tmp_path: Path) -> None:
    with started(tmp_path) as client:
        address = client.post("/v1/jobs", files=files("receipt-022.pdf")).headers["location"]
        ended(client, address)
    with started(tmp_path) as client:
        assert client.get(address).json()["state"] == "done"
    with started(tmp_path, serve__job_days=1e-9) as client:
        assert client.get(address).status_code == 404
    assert not list((tmp_path / "jobs").iterdir())


def test_a_job_waits_for_an_engine_that_is_away(tmp_path: Path) -> None:
    with InstantServer("sglang") as engine:
        port = engine.url.rsplit(":", 1)[1]
    with started(tmp_path, engine=f"sglang={engine.url}", servers__wait_seconds=0) as client:
        address = client.post("/v1/jobs", files=files("receipt-022.pdf")).headers["location"]
        end = time.monotonic() + PATIENCE
        while (job := client.get(address).json())["state"] != "waiting":
            assert time.monotonic() < end, job
            time.sleep(0.05)
        assert job["message"] == "no engine can answer now"
        with InstantServer("sglang", port=int(port)):
            assert ended(client, address)["state"] == "done"


class Served:
    """docflow serve as a process of its own."""

    def __init__(self, data: Path, engine: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCFLOW_")}
        environment |= {"DOCFLOW_SERVE__DATA_DIR": str(data), "DOCFLOW_TELEMETRY__LOG": "off"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "docflow", "serve", "--port", "0", "--engine", engine],
            stdout=subprocess.PIPE,
            env=environment | {"COLUMNS": "200"},
            text=True,
        )
        assert self.process.stdout is not None
        self.address = next(word for word in self.process.stdout.readline().split() if word.startswith("http"))

    def get(self, path: str) -> Any:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(self.address + path) as answer:
                    return json.load(answer)
            except urllib.error.URLError:  # it is still starting
                assert time.monotonic() < end
                time.sleep(0.05)

    def post(self, path: str, content: Any) -> Any:
        request = urllib.request.Request(
            self.address + path, json.dumps(content).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_a_service_that_is_killed_in_the_middle_of_a_job_ends_it_when_it_starts_again(tmp_path: Path) -> None:
    import base64

    count = 24
    documents = []
    for number in range(count):
        content = (DOCUMENTS / PDFS[number % len(PDFS)]).read_bytes() + b"\n%% %d\n" % number  # each of its own
        documents.append({"name": f"{number:02}.pdf", "data": base64.b64encode(content).decode()})
    with InstantServer("sglang", seconds=0.2) as engine:
        served = Served(tmp_path, f"sglang={engine.url}")
        try:
            served.get("/v1/programs")
            job = served.post("/v1/jobs", {"documents": documents, "program": "receipt"})
            address = f"/v1/jobs/{job['id']}"
            end = time.monotonic() + PATIENCE
            while len(engine.requests) < count // 3:
                assert time.monotonic() < end
                time.sleep(0.01)
            assert served.get(address)["state"] == "running"
        finally:
            served.kill()
        for ending in (signal.SIGTERM, signal.SIGKILL):  # orderly this time, and once more
            served = Served(tmp_path, f"sglang={engine.url}")
            try:
                wanted = ("done",) if ending is signal.SIGKILL else ("running", "done")
                end = time.monotonic() + PATIENCE
                while (job := served.get(address))["state"] not in wanted:
                    assert time.monotonic() < end, job
                    time.sleep(0.1)
                results = served.get(f"{address}/results?limit=500")
            finally:
                served.kill(ending)
    assert [one["name"] for one in results["documents"]] == [document["name"] for document in documents]
    assert results["total"] == count
    assert sum(job["counts"].values()) == count
