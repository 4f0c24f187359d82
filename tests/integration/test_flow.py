"""Runs as Prefect flows: on a real server, on docflow's own, inside a user's own flows."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docflow.flows.embedded import EmbeddedServer, Home
from PIL import Image

from docflow.storage import Dataset
from tests.integration.prefect_server import wait_for

SECRET = "Umbrella Corporation"
"""What the documents say: it must never be found in Prefect's database."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("server"))
    yield home
    home.close()


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[EmbeddedServer]:
    """A Prefect server, as a user has one."""
    with EmbeddedServer(home) as server:
        server.wait()
        yield server


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """25 images: more than the direct runner takes on its own."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for n in range(25):
        Image.new("L", (20 + n, 20), n).save(folder / f"{n:02}.png")
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user whose home is empty, and an engine that always answers the same."""
    replies = tmp_path / "replies.jsonl"
    replies.write_text(json.dumps({"company": SECRET, "total": "12.50"}))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT")}
    return kept | {
        "HOME": str(tmp_path / "home"),
        "DOCFLOW_CACHE_DIR": str(tmp_path / "cache"),
        "DOCFLOW_ENGINE": f"scripted={replies}",
        "DOCFLOW_EXTRACTION__GROUNDING": "off",
    }


def using(server: EmbeddedServer) -> dict[str, str]:
    """What a user sets to use a server."""
    return {"PREFECT_API_URL": server.url, "PREFECT_API_AUTH_STRING": server.password}


def docflow(*arguments: object, env: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "docflow", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def ask(server: EmbeddedServer, what: str) -> list[dict[str, Any]]:
    import base64

    request = urllib.request.Request(
        f"{server.url}/{what}/filter",
        data=b"{}",
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Basic {base64.b64encode(server.password.encode()).decode()}",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


def assert_quiet(said: str) -> None:
    """Nothing of Prefect's own words reaches the user."""
    for word in ("Traceback", "prefect.", "sqlalchemy", "flow run", "Flow run", "Task run", "http://"):
        assert word not in said, said


def run_ids(out: Path) -> list[str]:
    return [path.stem for path in (out / "runs").iterdir()]


TWO_RUNS = """
import sys
import docflow

for name in ("two", "three"):
    run = docflow.extract(sys.argv[1], program="receipt", out=f"{sys.argv[2]}/{name}", runner="prefect")
    print(run.runner, run.valid, run.notes)
"""


def test_processes_at_once_each_have_a_server_of_docflows_own_for_all_their_runs(
    scans: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = docflow(
        *("extract", scans, "--program", "receipt", "--runner", "prefect", "--out", tmp_path / "one"), env=environment
    )
    script = subprocess.Popen(
        [sys.executable, "-c", TWO_RUNS, str(scans), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    printed, complained = script.communicate(timeout=300)
    assert (printed, complained) == ("prefect 25 []\n" * 2, "")
    _, said = command.communicate(timeout=300)
    assert command.returncode == 0, said
    assert_quiet(said)
    assert [len(Dataset(tmp_path / name)) for name in ("one", "two", "three")] == [25, 25, 25]
    assert not (tmp_path / "home" / ".prefect").exists()
    homes = sorted((tmp_path / "cache" / "prefect").iterdir())
    assert [home.name for home in homes] == ["0", "1"]
    runs = 0
    for home in homes:
        with contextlib.closing(sqlite3.connect(home / "prefect.db")) as database:
            states = database.execute("SELECT state_type FROM flow_run").fetchall()
            artifacts = database.execute("SELECT data FROM artifact WHERE type = 'markdown'").fetchall()
        runs += len(states)
        assert set(states) == {("COMPLETED",)}
        assert len(artifacts) == len(states)
        assert all("| valid | 25 |" in text for (text,) in artifacts)
        for file in home.iterdir():
            assert SECRET.encode() not in file.read_bytes(), file
    assert runs == 3


def test_a_configured_server_gets_the_flow_its_chunks_and_the_summary(
    server: EmbeddedServer, scans: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "out"
    run = docflow("extract", scans / "00.png", "--program", "receipt", "--out", out, env=environment | using(server))
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert_quiet(said)
    [run_id] = run_ids(out)
    [flow_run] = [flow for flow in ask(server, "flow_runs") if flow["name"] == f"extract-{run_id}"]
    assert flow_run["state_type"] == "COMPLETED"
    assert flow_run["parameters"]["out"] == str(out)
    chunks = wait_for(
        lambda: [task for task in ask(server, "task_runs") if task["flow_run_id"] == flow_run["id"]], "its chunks"
    )
    assert [chunk["name"] for chunk in chunks] == ["chunk-1"]
    artifacts = [artifact for artifact in ask(server, "artifacts") if run_id in (artifact["description"] or "")]
    told = {artifact["type"]: artifact["data"] for artifact in artifacts}
    assert "| valid | 1 |" in told["markdown"]
    assert told["progress"] == 100


def test_an_interrupted_flow_keeps_what_is_done(
    server: EmbeddedServer, scans: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "out"
    code = (
        "import sys, time\n"
        "from docflow.api import run\n"
        "from tests.integration.test_runs import ANSWER, Path, RunOptions, ScriptedEngine, Ticket, quick\n"
        "def slowly(request):\n"
        "    time.sleep(0.5)\n"
        "    return ANSWER\n"
        "engine = ScriptedEngine(default=slowly)\n"
        "sys.exit(run(RunOptions(sources=(sys.argv[1],), program=Ticket, out=Path(sys.argv[2]), concurrency=1,"
        " engine=engine, settings=quick())).exit_code)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(scans), str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment | using(server),
    )
    deadline = time.monotonic() + 60
    while not any(flow["parameters"].get("out") == str(out) for flow in ask(server, "flow_runs")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    time.sleep(2)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert_quiet(said)
    assert 1 <= len(Dataset(out)) < 25


OWN_FLOW = """
import sys
import docflow
from docflow.settings import load_settings
from prefect import flow, task

def run(out):
    done = docflow.extract(sys.argv[1], program="receipt", out=out)
    return [done.valid, done.runner]

as_task = task(run)

@flow
def mine(out):
    return run(out + "/subflow"), as_task(out + "/task")

print(mine(sys.argv[2]))
"""


def test_extract_works_in_a_flow_and_in_a_task_of_the_users(
    server: EmbeddedServer, scans: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    script = tmp_path / "own.py"
    script.write_text(OWN_FLOW)
    ended = subprocess.run(
        [sys.executable, str(script), str(scans), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment | using(server) | {"PREFECT_HOME": str(tmp_path / "prefect")},
        timeout=180,
        check=False,
    )
    assert ended.stdout == "([25, 'prefect'], [25, 'prefect'])\n", ended.stderr
    assert len(Dataset(tmp_path / "subflow")) == len(Dataset(tmp_path / "task")) == 25
    names = {f"extract-{run_id}" for kind in ("subflow", "task") for run_id in run_ids(tmp_path / kind)}
    ours = [flow for flow in ask(server, "flow_runs") if flow["name"] in names]
    assert [flow["state_type"] for flow in ours] == ["COMPLETED"] * 2
    assert all(flow["parent_task_run_id"] for flow in ours)


def test_a_run_that_is_through_at_once_waits_for_no_server(
    scans: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    run = docflow("extract", scans, "--program", "receipt", "--out", tmp_path / "out", env=environment)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    [run_file] = (tmp_path / "out" / "runs").iterdir()
    assert json.loads(run_file.read_text())["runner"] == "direct"
    assert len(Dataset(tmp_path / "out")) == 25


LATER_RUNS = """
import sys
from pathlib import Path
from types import SimpleNamespace
from docflow.flows import running
from docflow.flows.embedded import ServerUnavailable
from docflow.settings import Settings

def is_wanted(through):
    options = SimpleNamespace(settings=Settings(cache_dir=Path(sys.argv[1])))
    execution = SimpleNamespace(options=options, stopping=False, write_whole_chunks=list, is_through=lambda: through)
    return running._have_prefect(execution, only_if_long=True)

print(is_wanted(through=True))
print(is_wanted(through=False), running._own.answers())
running._own.stop()
for _ in range(2):
    try:
        is_wanted(through=False)
    except ServerUnavailable as error:
        print(str(error)[:24])
"""


def test_a_server_that_one_run_did_not_wait_for_serves_the_next_and_one_that_is_gone_is_asked_no_more(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LATER_RUNS, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=180,
        check=False,
    )
    assert ended.stdout == "False\nTrue True\n" + "it ended with code -9; s\n" * 2, ended.stderr


def test_without_a_place_for_its_server_the_run_goes_on_without_prefect(
    scans: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "prefect").write_text("in the way")
    command = ("extract", scans, "--program", "receipt", "--runner", "prefect", "--out", tmp_path / "out")
    run = docflow(*command, env=environment)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert "running without Prefect" in said
    assert len(Dataset(tmp_path / "out")) == 25


def test_a_server_that_is_not_there_does_not_cost_the_run(
    scans: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    run = docflow("extract", scans, "--program", "receipt", "--out", tmp_path / "out", env=environment | nowhere)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert "without" in said
    assert_quiet(said.replace("Prefect failed", ""))
    assert len(Dataset(tmp_path / "out")) == 25


def test_the_flow_runs_by_itself_for_a_deployment(
    server: EmbeddedServer, scans: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    code = (
        "import sys\n"
        "from docflow.flows.extract import extract\n"
        "print(extract(sources=[sys.argv[1]], out=sys.argv[2], program='receipt', limit=3, refresh=True)['counts'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(scans), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env=environment | using(server) | {"PREFECT_HOME": str(tmp_path / "prefect")},
        timeout=120,
        check=False,
    )
    assert ended.stdout == "{'valid': 3}\n", ended.stderr


def test_a_cache_folder_of_any_name_gives_prefect_settings_that_can_be_read(tmp_path: Path) -> None:
    with contextlib.closing(Home(tmp_path / "mine: not #yours's")) as home:
        settings = yaml.safe_load(home.logging.read_text(encoding="utf-8"))
        assert settings["handlers"]["file"]["filename"] == str(home.folder / "prefect.log")
