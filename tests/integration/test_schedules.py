"""Schedules on a real Prefect server with PostgreSQL, run by a real worker, and served on docflow's own server."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from docflow.storage import Dataset
from tests.integration.prefect_server import Prefect, postgres, postgres_binaries, prefect_on, running, wait_for

servers = pytest.mark.schedules
"""These need a minute or two: `pytest -m schedules`."""
SECRET = "Umbrella Corporation"
POOL = "night"
SLOW = """
import time
from pathlib import Path
import sglang as sgl
from pydantic import BaseModel
from docflow.program import images, instructions, program, schema_of

class Ticket(BaseModel):
    company: str | None

@program(Ticket)
def slow(s, pages):
    with Path(__file__).with_name("begun").open("a") as begun:
        begun.write(".")
    time.sleep(0.4)
    s += sgl.system(instructions(Ticket))
    s += sgl.user(images(pages) + "Read this.")
    s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Ticket)))
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A user whose home is empty, and an engine that always answers the same."""
    folder = tmp_path_factory.mktemp("user")
    replies = folder / "replies.jsonl"
    replies.write_text(json.dumps({"company": SECRET}))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT", "DOCFLOW"))}
    return kept | {
        "HOME": str(folder),
        "DOCFLOW_CACHE_DIR": str(folder / "cache"),
        "DOCFLOW_ENGINE": f"scripted={replies}",
        "DOCFLOW_EXTRACTION__GROUNDING": "off",
        "DOCFLOW_CONCURRENCY": "1",
    }


@pytest.fixture(scope="module")
def prefect(user: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """The server, a work pool on it and a worker, somewhere else than the user."""
    binaries = postgres_binaries()
    if binaries is None:
        assert not os.environ.get("CI"), "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("prefect")
    with postgres(binaries) as database, prefect_on(database, folder, user) as prefect:
        prefect.command("work-pool", "create", POOL, "--type", "process")
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
        often = {
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_PREFETCH_SECONDS": "1",
            "PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS": "3",
        }
        with (folder / "worker.log").open("wb") as log, running(command, prefect.environment | often, log, cwd=folder):
            yield prefect


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """30 images and a program that takes its time over each."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    for n in range(30):
        Image.new("L", (20 + n, 20), n).save(folder / f"{n:02}.png")
    (tmp_path / "slow.py").write_text(SLOW)
    return folder


def docflow(*arguments: object, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "docflow", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=120, check=False)


def schedule(prefect: Prefect, inbox: Path, name: str, *more: object) -> str:
    """Make a schedule for the workers, as a user does; the id of its deployment."""
    made = docflow(
        *("schedule", inbox.name, "--out", "out", "--name", name, "--work-pool", POOL, *more),
        cwd=inbox.parent,
        env=prefect.environment,
    )
    assert made.returncode == 0, made.stderr
    return str(prefect.get(f"deployments/name/docflow-extract/{name}")["id"])


def begin(prefect: Prefect, deployment: str, **parameters: object) -> str:
    made = prefect.ask(f"deployments/{deployment}/create_flow_run", {"parameters": parameters})
    return str(made["id"])


def state(prefect: Prefect, run: str) -> str:
    return str(prefect.get(f"flow_runs/{run}")["state"]["name"])


def wait_state(prefect: Prefect, run: str, name: str) -> dict[str, Any]:
    wait_for(lambda: state(prefect, run) == name, f"{name}, not {state(prefect, run)}")
    found: dict[str, Any] = prefect.get(f"flow_runs/{run}")
    return found


def written(out: Path) -> int:
    return len(Dataset(out)) if (out / "records").exists() else 0


def documents_of(prefect: Prefect, run: str) -> str:
    return str(prefect.get(f"flow_runs/{run}")["state"]["message"])


def process_of(run: str) -> psutil.Process | None:
    """The process that a worker runs a flow in."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID", "").replace("-", "") == run.replace("-", ""):
                return process
        except psutil.Error:
            continue
    return None


@servers
def test_a_schedule_fires_and_a_worker_elsewhere_does_the_work(prefect: Prefect, inbox: Path) -> None:
    (inbox / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    deployment = schedule(prefect, inbox, "fires", "--interval", "5s", "--program", "receipt")

    def finished() -> list[dict[str, Any]]:
        runs = prefect.ask(
            "flow_runs/filter",
            {
                "deployments": {"id": {"any_": [deployment]}},
                "flow_runs": {"state": {"name": {"any_": ["Completed"]}}},
                "sort": "END_TIME_DESC",
            },
        )
        return [run for run in runs if run["state"]["name"] == "Completed"]

    wait_for(lambda: len(finished()) >= 2, "two runs by the clock", 150)
    listed = docflow("schedule", "list", "--json", cwd=inbox, env=prefect.environment)
    [one] = [one for one in json.loads(listed.stdout) if one["name"] == "fires"]
    assert (one["work_pool"], one["paused"], one["out"]) == (POOL, False, str(inbox.parent / "out"))
    paused = docflow("schedule", "pause", "fires", cwd=inbox, env=prefect.environment)
    assert paused.returncode == 0, paused.stderr
    assert prefect.get(f"deployments/{deployment}")["paused"]

    messages = [run["state"]["message"] for run in reversed(finished())]
    assert messages[0] == "30 valid, 1 failed"
    assert messages[1] == "30 done before, 1 failed before"
    assert written(inbox.parent / "out") == 31
    first = finished()[-1]
    artifacts = prefect.ask("artifacts/filter", {"flow_runs": {"id": {"any_": [first["id"]]}}})
    kept = {artifact["type"]: artifact for artifact in artifacts}
    assert "| valid | 30 |" in kept["markdown"]["data"]
    assert kept["progress"]["data"] == 100
    assert "31 of 31" in kept["progress"]["description"]
    event = wait_for(lambda: failures(prefect), "the event of the failed document", 30)[0]
    assert event["payload"]["type"] == "BrokenDocument"
    assert event["resource"]["prefect.resource.id"].startswith("docflow.document.")
    told = json.dumps([prefect.ask(f"{what}/filter") for what in ("logs", "flow_runs", "task_runs", "artifacts")])
    assert SECRET not in told + json.dumps(event)


def failures(prefect: Prefect) -> list[dict[str, Any]]:
    since = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).isoformat()
    until = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    wanted = {"event": {"name": ["docflow.document.failed"]}, "occurred": {"since": since, "until": until}}
    found: list[dict[str, Any]] = prefect.ask("events/filter", {"filter": wanted})["events"]
    return found


@servers
def test_a_run_that_cannot_begin_is_tried_again_and_goes_through_once_it_can(prefect: Prefect, inbox: Path) -> None:
    deployment = schedule(prefect, inbox, "retries", "--cron", "0 2 1 1 *", "--program", "receipt")
    gone = inbox.rename(inbox.parent / "away")
    run = begin(prefect, deployment)
    wait_for(lambda: prefect.get(f"flow_runs/{run}")["state"]["name"] == "AwaitingRetry", "the retry")
    gone.rename(inbox)
    ended = wait_state(prefect, run, "Completed")
    assert ended["run_count"] >= 2
    assert documents_of(prefect, run) == "30 valid"


@servers
def test_a_cancelled_run_keeps_what_is_done_leaves_no_process_and_the_next_goes_on(
    prefect: Prefect, inbox: Path
) -> None:
    out = inbox.parent / "out"
    deployment = schedule(prefect, inbox, "cancelled", "--cron", "0 2 1 1 *", "--program", "slow.py:slow")
    run = begin(prefect, deployment)
    wait_for(lambda: state(prefect, run) == "Running", "the run")
    process = wait_for(lambda: process_of(run), "its process")
    wait_for(lambda: len(process.children(recursive=True)) >= 1, "its decoder")
    wait_for(lambda: documents_begun(inbox) >= 4, "its first documents")
    children = process.children(recursive=True)
    prefect.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    wait_state(prefect, run, "Cancelled")
    wait_for(lambda: not any(child.is_running() for child in (process, *children)), "the end of its processes", 30)
    kept = written(out)
    assert 1 <= kept < 30

    run = begin(prefect, deployment)
    wait_state(prefect, run, "Completed")
    assert documents_of(prefect, run) == f"{30 - kept} valid, {kept} done before"
    assert written(out) == 30


def documents_begun(inbox: Path) -> int:
    """How often the slow program was called."""
    begun = inbox.parent / "begun"
    return begun.stat().st_size if begun.exists() else 0


@servers
def test_after_a_run_was_killed_the_next_one_goes_on(prefect: Prefect, inbox: Path) -> None:
    deployment = schedule(prefect, inbox, "killed", "--cron", "0 2 1 1 *", "--program", "slow.py:slow")
    run = begin(prefect, deployment)
    wait_for(lambda: state(prefect, run) == "Running", "the run")
    wait_for(lambda: documents_begun(inbox) >= 4, "its first documents")
    wait_for(lambda: process_of(run), "its process").kill()
    wait_state(prefect, run, "Crashed")
    run = begin(prefect, deployment)
    wait_state(prefect, run, "Completed")
    assert written(inbox.parent / "out") == 30


@servers
def test_the_server_refuses_parameters_with_credentials_or_of_a_wrong_kind(prefect: Prefect, inbox: Path) -> None:
    deployment = schedule(prefect, inbox, "refuses", "--cron", "0 2 1 1 *")
    shown = prefect.get(f"deployments/{deployment}")["parameter_openapi_schema"]["properties"]
    assert all(one["description"] for one in shown.values())
    for wrong in ({"engine": ["sglang=http://me:secret@gpu:30000"]}, {"limit": 0}, {"sources": "no list"}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            begin(prefect, deployment, **wrong)
        refused.value.close()
        assert refused.value.code in (400, 409, 422)
    deleted = docflow("schedule", "delete", "refuses", cwd=inbox, env=prefect.environment)
    assert deleted.returncode == 0, deleted.stderr
    missing = docflow("schedule", "run", "refuses", cwd=inbox, env=prefect.environment)
    assert missing.returncode == 2
    assert "there is no schedule 'refuses'" in missing.stderr


@servers
def test_without_a_server_a_schedule_is_served_on_docflows_own_until_it_is_interrupted(
    inbox: Path, user: dict[str, str], tmp_path: Path
) -> None:
    mine = user | {"DOCFLOW_CACHE_DIR": str(tmp_path / "cache")}
    command = [*(sys.executable, "-m", "docflow", "schedule", "inbox", "--interval", "5s"), "--program", "receipt"]
    log = tmp_path / "said.log"
    with log.open("wb") as said, running(command, mine, said, cwd=inbox.parent) as serving:
        wait_for(lambda: "30 done before" in log.read_text(), f"two runs: {log.read_text()}", 200)
        listed = docflow("schedule", "list", "--json", cwd=tmp_path, env=mine)
        assert [one["name"] for one in json.loads(listed.stdout)] == ["inbox"], listed.stderr
        serving.send_signal(signal.SIGINT)
        assert serving.wait(60) == 0, log.read_text()
    said_at_all = log.read_text()
    assert "Completed, 30 valid" in said_at_all
    assert "Traceback" not in said_at_all
    assert "Warning" not in said_at_all
    assert written(inbox.parent / "out") == 30
    gone = docflow("schedule", "list", "--json", cwd=tmp_path, env=mine)
    assert json.loads(gone.stdout) == []


IGNORING = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
)
"""As a shell that is no terminal's starts what is put behind it with ``&``."""


@servers
@pytest.mark.parametrize("by", ["SIGTERM", "delete"])
def test_a_schedule_that_is_served_in_the_background_ends_by_a_signal_and_when_it_is_deleted(
    inbox: Path, user: dict[str, str], tmp_path: Path, by: str
) -> None:
    mine = user | {"DOCFLOW_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "docflow", "schedule", "inbox", "--interval", "90s", "--program", "receipt"]
    log = tmp_path / "said.log"
    ignoring = [sys.executable, "-c", IGNORING, *command]
    with log.open("wb") as said, running(ignoring, mine, said, cwd=inbox.parent) as serving:
        listed = lambda: docflow("schedule", "list", cwd=tmp_path, env=mine).stdout  # noqa: E731
        wait_for(lambda: "every 1 min 30 s" in listed(), f"the schedule in a list: {log.read_text()}", 200)
        if by == "SIGTERM":
            serving.send_signal(signal.SIGTERM)
        else:
            assert docflow("schedule", "delete", "inbox", cwd=tmp_path, env=mine).returncode == 0
        assert serving.wait(60) == 0, log.read_text()
    assert ("was deleted" in log.read_text()) is (by == "delete")
    assert "Traceback" not in log.read_text()


REFUSED = [
    (("--cron", "61 * * * *"), "is no cron line"),
    (("--rrule", "FREQ=SOMETIMES"), "is no recurrence rule"),
    (("--interval", "soon"), "is no time"),
    (("--interval", "5m", "--cron", "* * * * *"), "has one of"),
    ((), "has one of"),
    (("--interval", "5m", "--timezone", "Mars/Base"), "there is no time zone"),
    (("--interval", "5m", "--program", "receit"), "there is no program"),
    (("--interval", "5m", "--engine", "sglang=http://me:pw@gpu:1"), "a user or password"),
    (("--interval", "5m", "--engine", "sgland=http://gpu:1"), "there is no engine 'sgland'"),
    (("--interval", "5m", "--name", "a/b"), "cannot name a schedule"),
    (("--interval", "5m", "--work-pool", "night"), "name none"),
]
ONE_AFTER_THE_OTHER = """
import json
import sys
from docflow.cli import main

for arguments in json.loads(sys.argv[1]):
    try:
        main(["schedule", *arguments])
    except SystemExit as ended:
        print("code", ended.code, file=sys.stderr)
"""


def test_what_cannot_be_scheduled_is_refused_with_code_2(inbox: Path, user: dict[str, str]) -> None:
    commands = [["nowhere", "--interval", "5m"], *(["inbox", *arguments] for arguments, _ in REFUSED)]
    refused = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(commands)],
        capture_output=True,
        text=True,
        cwd=inbox.parent,
        env=user,
        timeout=180,
        check=False,
    )
    answers = refused.stderr.split("code 2\n")
    assert len(answers) == len(commands) + 1, refused.stderr
    assert "Traceback" not in refused.stderr
    for said, (_, expected) in zip(answers[1:], REFUSED, strict=False):
        assert expected in said
    assert "nowhere" in answers[0]
