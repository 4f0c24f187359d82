"""Runs over workers of Dask: real schedulers and workers, as processes of their own, that die where it is said."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from docflow.flows.embedded import EmbeddedServer, Home
from PIL import Image

import docflow
from docflow.cli.schedule import add
from docflow.deploy.local.process import free_port
from docflow.errors import UsageError
from docflow.runs import RunOptions, execute
from docflow.runs.dask_cluster import Cluster
from docflow.runs.scaling import ScaledExecution
from docflow.settings import Settings, load_settings
from tests.engines.instant import InstantServer
from tests.engines.loopback import Received
from tests.integration.prefect_server import running, wait_for

SECONDS = 240.0
"""The longest wait for anything, on a machine that has much else to do."""
EACH_RUNS_OWN = ("created_at", "run_id", "seconds", "attempts", "usage")
"""Columns in which two runs over the same documents differ."""
COUNT = 24


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, one of them twice, and a file that is none."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(COUNT - 2):
        Image.new("L", (60 + number, 56), number).save(folder / f"{number:02}.png")
    shutil.copy(folder / "03.png", folder / "again.png")
    (folder / "broken.png").write_bytes((folder / "04.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> str:
    replies = tmp_path_factory.mktemp("engine") / "replies.jsonl"
    replies.write_text(json.dumps({"company": "Umbrella", "total": "12.50"}))
    return f"scripted={replies}"


@contextlib.contextmanager
def cluster(folder: Path, workers: int, **environment: str) -> Iterator[str]:
    """A Dask cluster as a user starts it, one shell for the scheduler and one for the workers; its address."""
    address = f"tcp://127.0.0.1:{free_port()}"
    start = [sys.executable, "-m", "dask"]
    schedule = [*start, "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard"]
    work = [*start, "worker", address, "--nworkers", str(workers), "--nthreads", "1", "--no-dashboard"]
    own = os.environ | {"DOCFLOW_CACHE_DIR": str(folder / "cache")} | environment
    with (
        (folder / "dask.log").open("wb") as log,
        running(schedule, own, log, cwd=folder),
        running(work, own, log, cwd=folder),
    ):
        yield address


def plain(**flags: Any) -> Settings:
    """Without OCR."""
    return load_settings({"extraction.grounding": "off"} | {key.replace("__", "."): flags[key] for key in flags})


def rows(out: Path) -> list[dict[str, Any]]:
    """The rows of a dataset, each source once, in order."""
    found = sorted(docflow.open(out).records(), key=lambda row: str(row["source"]))
    assert len({row["source"] for row in found}) == len(found)
    return found


def lasting(out: Path) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if key not in EACH_RUNS_OWN} for row in rows(out)]


def parts(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}


def own_workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "dask" in " ".join(child.cmdline())]


def test_two_workers_of_this_machine_give_the_rows_of_a_direct_run(scans: Path, engine: str, tmp_path: Path) -> None:
    direct, dask = tmp_path / "direct", tmp_path / "dask"
    execute(RunOptions(sources=(scans,), program="receipt", engine=engine, out=direct, settings=plain()))
    seen = []
    run = docflow.extract(
        scans, program="receipt", engine=engine, out=dask, settings=plain(dask__workers=2), runner="dask",
        progress=seen.append,
    )  # fmt: skip
    assert (run.runner, run.documents, run.failed, run.files) == ("dask", COUNT, 1, COUNT)
    assert lasting(dask) == lasting(direct)
    assert (seen[-1].done, seen[-1].total) == (COUNT, COUNT)
    assert not own_workers()
    assert [path.suffix for path in (dask / "runs").iterdir()] == [".json"]


def test_what_workers_tell_is_heard_while_the_progress_asks_for_their_number(
    scans: Path, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes through the loop in which workers are heard: a lock held for both would hold the run up."""
    asked, heard = Cluster.threads.fget, []

    def threads(cluster: Cluster) -> int:
        if threading.current_thread().name == "run-progress":
            said = threading.Thread(target=execution._heard, args=({"order": "", "run": ""},), daemon=True)
            said.start()
            said.join(10)
            heard.append(not said.is_alive())
        return asked(cluster)

    monkeypatch.setattr(Cluster, "threads", property(threads))
    options = RunOptions(
        sources=(scans,), program="receipt", engine=engine, out=tmp_path / "out",
        settings=plain(dask__workers=1), runner="dask",
    )  # fmt: skip
    with ScaledExecution(options, lambda progress: None) as execution:
        run = execution.run_direct()
    assert (run.documents, run.failed) == (COUNT, 1)
    assert heard
    assert all(heard)


def test_a_running_cluster_of_four_workers_does_a_run_and_skips_it_the_next_time(
    scans: Path, engine: str, tmp_path: Path
) -> None:
    direct, dask = tmp_path / "direct", tmp_path / "dask"
    execute(RunOptions(sources=(scans,), program="receipt", engine=engine, out=direct, settings=plain()))
    with cluster(tmp_path, 4) as address:
        how: dict[str, Any] = {"program": "receipt", "engine": engine, "out": dask, "settings": plain()}
        run = docflow.extract(scans, **how, runner=f"dask={address}")
        assert (run.documents, run.failed) == (COUNT, 1)
        assert lasting(dask) == lasting(direct)
        before = parts(dask)
        again = docflow.extract(scans, **how, runner=f"dask={address}")
        assert (again.documents, again.skipped, again.skipped_failed) == (0, COUNT - 1, 1)
        assert parts(dask) == before
        retried = docflow.extract(scans, **how, retry_failed=True, runner=f"dask={address}")
        assert (retried.documents, retried.failed) == (1, 1)
        assert lasting(dask) == lasting(direct)


class Counting(InstantServer):
    """Counts the requests that are there at once."""

    now = most = 0

    async def handle(self, request: Received, writer: Any) -> None:
        if request.method != "POST":
            return await super().handle(request, writer)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await super().handle(request, writer)
        finally:
            self.now -= 1


def test_a_worker_that_is_killed_loses_and_doubles_nothing_and_gives_back_its_places_at_a_server(
    scans: Path, tmp_path: Path
) -> None:
    killed = threading.Event()

    def kill(progress: Any) -> None:
        if progress.valid >= 3 and server.now and not killed.is_set():
            own_workers()[0].kill()
            killed.set()

    with Counting("sglang", seconds=0.2, values={"total": "12.50"}) as server:
        run = docflow.extract(
            scans,
            program="receipt",
            engine=f"sglang={server.url}",
            out=tmp_path / "out",
            settings=plain(dask__workers=2, servers__requests=2),
            runner="dask",
            progress=kill,
        )
    assert killed.is_set()
    assert (run.documents, run.failed) == (COUNT, 1)
    assert [row["source"] for row in rows(tmp_path / "out")] == sorted(path.name for path in scans.iterdir())
    assert server.most <= 2
    assert len(server.requests) >= COUNT - 2


POISON = """
    import os, signal
    import sglang as sgl
    from pydantic import BaseModel
    from docflow.program import program

    class Ticket(BaseModel):
        total: str | None = None

    @program(Ticket)
    def ticket(s, pages):
        if pages[0].width == 63:
            os.kill(os.getpid(), signal.SIGKILL)
        s += sgl.user("What is the total?")
        s += sgl.assistant(sgl.gen("record", json_schema=Ticket.model_json_schema()))
"""


def test_a_document_that_kills_worker_after_worker_becomes_a_failed_row(tmp_path: Path, engine: str) -> None:
    (tmp_path / "poison.py").write_text(textwrap.dedent(POISON))
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(6):
        Image.new("L", (60 + number, 56)).save(folder / f"{number}.png")
    run = docflow.extract(
        folder,
        program=f"{tmp_path / 'poison.py'}:ticket",
        engine=engine,
        out=tmp_path / "out",
        settings=plain(dask__workers=2),
        runner="dask",
    )
    assert (run.documents, run.valid + run.invalid, run.failed) == (6, 5, 1)
    [failed] = [row for row in rows(tmp_path / "out") if row["status"] == "failed"]
    assert (failed["source"], failed["error"]["type"]) == ("3.png", "WorkerDied")


def docflow_command(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "docflow", *map(str, arguments)]
    own = os.environ | {"DOCFLOW_EXTRACTION__GROUNDING": "off"} | environment
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own)


def test_a_cluster_that_is_not_there_is_said(scans: Path, tmp_path: Path, engine: str) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    command = docflow_command(
        "extract", scans, "-p", "receipt", "-e", engine, "--runner", f"dask={address}", "-o", tmp_path / "out"
    )
    _, said = command.communicate(timeout=SECONDS)
    assert command.returncode == 2
    assert f"there is no Dask cluster at {address}" in " ".join(said.split())
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_what_a_cluster_with_tls_needs_is_said(scans: Path, tmp_path: Path, engine: str) -> None:
    with pytest.raises(UsageError, match="wants keys for TLS") as raised:
        docflow.extract(
            scans,
            program="receipt",
            engine=engine,
            out=tmp_path / "out",
            settings=plain(),
            runner=f"dask=tls://127.0.0.1:{free_port()}",
        )
    assert "distributed.comm.tls.ca-file" in raised.value.hint


def test_what_listens_and_is_not_dask_is_said(scans: Path, tmp_path: Path, engine: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and waits to be asked, as web servers do
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        command = docflow_command(
            "extract", scans, "-p", "receipt", "-e", engine, "--runner", f"dask={address}", "-o", tmp_path / "out"
        )
        _, said = command.communicate(timeout=SECONDS)
    assert command.returncode == 2
    assert f"there is no Dask cluster at {address}" in " ".join(said.split())


def test_workers_with_another_docflow_are_said(scans: Path, tmp_path: Path, engine: str) -> None:
    other = tmp_path / "other" / "docflow-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: docflow\nVersion: 0.0.1\n")
    with (
        cluster(tmp_path, 1, PYTHONPATH=str(other.parent)) as address,
        pytest.raises(UsageError, match=r"has docflow 0\.0\.1, and this is"),
    ):
        docflow.extract(
            scans, program="receipt", engine=engine, out=tmp_path / "out", settings=plain(), runner=f"dask={address}"
        )


def test_ctrl_c_writes_what_the_workers_have_and_ends_them(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Counting("sglang", seconds=0.5) as server:
        how = ("-p", "receipt", "-e", f"sglang={server.url}", "--runner", "dask", "-o", out)
        command = docflow_command("extract", scans, *how, DOCFLOW_DASK__WORKERS="2", DOCFLOW_CONCURRENCY="2")
        try:
            wait_for(lambda: list(out.rglob("part-*.parquet")) and server.now, "the first part", SECONDS)
            workers = psutil.Process(command.pid).children(recursive=True)
            command.send_signal(signal.SIGINT)
            _, said = command.communicate(timeout=SECONDS)
        finally:
            command.kill()
    assert command.returncode == 130, said
    assert "Traceback" not in said
    assert workers
    psutil.wait_procs(workers, SECONDS)
    assert 0 < len(rows(out)) < COUNT


@pytest.fixture
def prefect(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with contextlib.closing(Home(tmp_path)) as home, EmbeddedServer(home) as server:
        server.wait()
        yield server


def test_a_dask_run_is_a_flow_whose_tasks_are_its_chunks_and_prefect_keeps_no_key(
    scans: Path, tmp_path: Path, prefect: EmbeddedServer
) -> None:
    out, password = tmp_path / "out", "hunter2"
    user = {"PREFECT_API_URL": prefect.url, "PREFECT_API_AUTH_STRING": prefect.password}
    with InstantServer("sglang", values={"total": "12.50"}) as server:
        how = ("-p", "receipt", "-e", f"sglang={server.url.replace('://', f'://me:{password}@')}", "--runner", "dask")
        command = docflow_command("extract", scans, *how, "-o", out, DOCFLOW_DASK__WORKERS="2", **user)
        _, said = command.communicate(timeout=SECONDS)
    assert command.returncode == 1, said
    assert "Traceback" not in said
    assert len(rows(out)) == COUNT
    assert all(request.headers["authorization"].startswith("Basic ") for request in server.requests)
    [run] = [json.loads(path.read_text()) for path in (out / "runs").glob("*.json")]
    chunks = wait_for(lambda: task_runs(prefect), "the flow's tasks", SECONDS)
    assert {chunk["name"] for chunk in chunks} >= {"chunk-1", "chunk-2"}
    assert run["runner"] == "dask"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("prefect.db*"))
    assert run["id"].encode() in kept
    assert password.encode() not in kept


def task_runs(server: EmbeddedServer) -> Any:
    user = base64.b64encode(server.password.encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {user}"}
    request = urllib.request.Request(f"{server.url}/task_runs/filter", data=b"{}", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_what_must_be_installed_is_said(
    scans: Path, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dask_cluster", "dask_work"):
        monkeypatch.delitem(sys.modules, f"docflow.runs.{name}", raising=False)
        monkeypatch.delattr(docflow.runs, name, raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="needs the package distributed") as raised:
        docflow.extract(scans, program="receipt", engine=engine, out=tmp_path / "out", settings=plain(), runner="dask")
    assert "docflow[dask]" in raised.value.hint


def test_a_schedule_that_would_be_served_without_it_is_refused_at_once(
    scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="needs the package distributed") as raised:
        add(sources=[str(scans)], interval="5m", runner="dask")
    assert "docflow[dask]" in raised.value.hint


@pytest.mark.parametrize(
    ("source", "how", "said"),
    [
        ("bytes", {}, "documents in memory cannot be sent"),
        ("file", {"out": None}, "writes its rows to a dataset"),
        ("file", {"runner": "dusk"}, "there is no runner 'dusk'"),
    ],
)
def test_what_workers_cannot_do_is_refused(
    scans: Path, tmp_path: Path, engine: str, source: str, how: dict[str, Any], said: str
) -> None:
    given = {"program": "receipt", "engine": engine, "out": tmp_path / "out", "runner": "dask"} | how
    path = scans / "00.png"
    with pytest.raises(UsageError, match=said):
        docflow.extract(path.read_bytes() if source == "bytes" else path, settings=plain(), **given)
