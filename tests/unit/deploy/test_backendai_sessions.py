"""``docflow deploy backendai`` and ``docflow deploy sessions`` against a manager that is strict, and its faults."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from docflow.cli import main
from docflow.deploy.backendai import keys
from tests.unit.deploy.backendai_manager import SECRET, Manager

MODEL = "microsoft/DialoGPT-medium"
TOKEN = "hf_verysecrettoken"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """A command's exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main(["deploy", *arguments])
    printed = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 1), printed.out, printed.err


# --- deploying -------------------------------------------------------------------------------------------------------


def test_a_deployment_waits_until_the_model_answers_through_the_tunnel(
    manager: Manager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    manager.life = ("PENDING", "SCHEDULED", "PULLING", "PREPARING", "RUNNING")
    manager.port_after, manager.ready_after = 2, 5
    code, out, err = run(capsys, "backendai", MODEL, "-n", "my-model", "--wait")
    assert code == 0, err
    kept = manager.one()
    assert kept.looks_running == 6, "before that the port was not there, and then nobody listened behind it"
    assert manager.tunnelled.count("my-model") >= 4
    assert [word for word in ("PENDING", "SCHEDULED", "PULLING", "PREPARING", "RUNNING") if word in err] == [
        *("SCHEDULED", "PULLING", "PREPARING", "RUNNING")
    ]
    for said in (
        "session    my-model",
        kept.id,
        MODEL,
        "http://127.0.0.1:8001/v1",
        "sessions test my-model",
        "sessions kill",
    ):
        assert said in out


def test_the_request_is_what_the_manager_wants_and_holds_no_token_in_the_command(
    manager: Manager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", TOKEN)
    code, out, err = run(
        capsys,
        *("backendai", MODEL, "-g", "2", "-m", "32g", "-c", "8", "-p", "8123"),
        *("--env", "A_B=c d", "--verbose"),
    )
    assert code == 0, err
    asked = manager.one().asked
    assert asked["reuseIfExists"] is False
    assert asked["enqueueOnly"] is True
    assert asked["config"]["resources"] == {"cpu": "8", "mem": "32g", "cuda.device": "2"}
    assert asked["config"]["preopen_ports"] == [8123]
    environment = asked["config"]["environ"]
    assert environment["HF_TOKEN"] == environment["HUGGING_FACE_HUB_TOKEN"] == TOKEN
    assert environment["A_B"] == "c d"
    assert environment["VLLM_WORKER_MULTIPROC_METHOD"] == "spawn"
    assert len(environment["VLLM_API_KEY"]) >= 32
    command = asked["startupCommand"]
    assert command == (f"vllm serve {MODEL} --host 0.0.0.0 --port 8123 --max-model-len 1024 --tensor-parallel-size 2")
    for secret in (TOKEN, SECRET, environment["VLLM_API_KEY"]):
        assert secret not in out + err


def test_the_servers_key_is_in_a_file_that_only_its_owner_reads(
    manager: Manager, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "backendai", MODEL)[0] == 0
    kept = manager.one()
    path = keys.folder() / f"{kept.id}.key"
    assert path.read_text() == kept.asked["config"]["environ"]["VLLM_API_KEY"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run(capsys, "sessions", "kill", kept.name)[0] == 0
    assert not path.exists()


def test_replicas_are_sessions_with_one_upstream_each(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "backendai", MODEL, "-n", "many", "--replicas", "3", "--wait", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert [session["name"] for session in said["sessions"]] == ["many-1", "many-2", "many-3"]
    entries = said["gateway_upstreams"].split(";")
    assert [entry.partition("=")[0] for entry in entries] == ["vllm", "vllm-2", "vllm-3"]
    assert [entry.rpartition(":")[2] for entry in entries] == ["8001", "8002", "8003"]
    assert said["ready"] is True
    assert len(manager.kept) == 3


def test_where_one_replica_cannot_be_had_none_is_left(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.refusal, manager.refuse_after = (412, "quota-exceeded", "You have reached your resource limit.", ""), 2
    code, _, err = run(capsys, "backendai", MODEL, "--replicas", "3")
    assert code == 4
    assert "Insufficient GPU resources" in err
    assert [kept.state for kept in manager.kept.values()] == ["TERMINATED", "TERMINATED"]


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["BACKEND_AI_ACCESS_KEY", "BACKEND_AI_SECRET_KEY"])
def test_missing_keys_are_named(
    missing: str, manager: Manager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(missing)
    code, _, err = run(capsys, "backendai", MODEL)
    assert code == 3
    assert f"Backend.AI credentials are required: {missing} not set" in err
    assert "export BACKEND_AI_ACCESS_KEY=" in err
    assert manager.requests == []


def test_a_manager_that_cannot_be_reached_is_said_plainly(
    manager: Manager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKEND_AI_ENDPOINT", "http://127.0.0.1:1")
    code, _, err = run(capsys, "sessions", "list")
    assert code == 1
    assert "the manager at http://127.0.0.1:1 cannot be reached: Connection refused\n" in err


def test_the_official_clients_variables_count_as_well(
    manager: Manager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY"):
        monkeypatch.setenv(f"BACKEND_{name}", os.environ[f"BACKEND_AI_{name}"])
        monkeypatch.delenv(f"BACKEND_AI_{name}")
    assert run(capsys, "sessions", "list")[0] == 0


@pytest.mark.parametrize("minutes", [-16, 16, 600])
def test_a_clock_that_is_off_is_said_to_be(minutes: int, manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.skew = timedelta(minutes=minutes)
    code, _, err = run(capsys, "backendai", MODEL)
    assert code == 3
    assert "15 minutes" in err
    assert not manager.kept


def test_a_clock_that_is_a_little_off_does_no_harm(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.skew = timedelta(minutes=13)
    assert run(capsys, "backendai", MODEL)[0] == 0


@pytest.mark.parametrize("variable", ["BACKEND_AI_ACCESS_KEY", "BACKEND_AI_SECRET_KEY"])
def test_wrong_keys_are_refused_and_not_printed(
    variable: str, manager: Manager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "somethingquitedifferent")
    code, out, err = run(capsys, "backendai", MODEL)
    assert code == 3
    assert "the manager refuses the keys" in err
    assert "somethingquitedifferent" not in out + err


@pytest.mark.parametrize(
    ("refusal", "exit_code", "says"),
    [
        ((406, "limit-exceeded", "Not acceptable", "cuda.device 8 > 4"), 4, "Insufficient GPU resources"),
        ((412, "quota-exceeded", "You have reached your resource limit.", ""), 4, "sessions kill"),
        ((403, "forbidden", "Forbidden", "no project"), 3, "administrator"),
        ((429, "rate-limit-exceeded", "Too many requests", ""), 1, "Wait a minute"),
        ((503, "server-frozen", "The server is frozen", ""), 1, "frozen"),
    ],
)
def test_refusals_have_their_remedy_and_exit_code(
    refusal: tuple[int, str, str, str],
    exit_code: int,
    says: str,
    manager: Manager,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manager.refusal = refusal
    code, _, err = run(capsys, "backendai", MODEL)
    assert code == exit_code
    assert says in err


def test_a_name_in_use_is_said_to_be(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "backendai", MODEL, "-n", "taken")[0] == 0
    code, _, err = run(capsys, "backendai", MODEL, "-n", "taken")
    assert code == 1
    assert "name is in use" in err
    assert "--session-name" in err


def test_an_image_that_the_cluster_lacks_is_said_to_be(
    manager: Manager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.images = {"cr.backend.ai/stable/vllm:1"}
    code, _, err = run(capsys, "backendai", MODEL)
    assert code == 1
    assert "--image" in err
    monkeypatch.setenv("BACKEND_AI_IMAGE", "cr.backend.ai/stable/vllm:1")
    assert run(capsys, "backendai", MODEL)[0] == 0


def test_a_cluster_that_calls_its_gpus_otherwise_says_so(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.gpu_slot = "cuda.shares"
    code, _, err = run(capsys, "backendai", MODEL)
    assert code == 1
    assert "--gpu-slot" in err
    assert run(capsys, "backendai", MODEL, "--gpu-slot", "cuda.shares")[0] == 0


@pytest.mark.parametrize(
    ("log", "exit_code", "says"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", 4, "Out of GPU memory"),
        ("ValueError: No available memory for the cache blocks.", 4, "--max-model-len"),
        ("/bin/sh: line 1:    12 Killed    vllm serve", 4, "raise --memory"),
        ("huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error.", 5, "Repository not found or private"),
        ("OSError: You are trying to access a gated repo.", 5, "HF_TOKEN"),
        ("ValueError: Cannot find the config file for awq", 1, "quantised"),
        ("sh: 1: vllm: not found", 1, "--image"),
        ("Something else", 1, "sessions logs"),
    ],
)
def test_a_server_that_dies_while_it_loads_says_why(
    log: str, exit_code: int, says: str, manager: Manager, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.life, manager.log = ("PENDING", "PREPARING", "RUNNING", "TERMINATED"), f"INFO loading\n{log}\n"
    manager.ready_after = 100
    code, _, err = run(capsys, "backendai", MODEL, "--wait")
    assert code == exit_code
    assert says in err
    assert log in err


def test_secrets_in_a_log_are_taken_out(
    manager: Manager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("VLLM_API_KEY", "the-servers-own-key")
    manager.life, manager.log = ("PENDING", "RUNNING", "TERMINATED"), f"args: {TOKEN} the-servers-own-key\n"
    manager.ready_after = 100
    code, out, err = run(capsys, "backendai", MODEL, "-n", "chatty", "--wait", "--verbose")
    assert code == 1
    assert "args: *** ***" in err
    manager.life = ("PENDING",)
    run(capsys, "backendai", MODEL, "-n", "chatty")
    shown = run(capsys, "sessions", "logs", "chatty")[1]
    assert "args: *** ***" in shown
    assert TOKEN not in out + err + shown
    assert "the-servers-own-key" not in out + err + shown


def test_where_one_replica_dies_the_others_are_named(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.life, manager.ready_after = ("PENDING", "RUNNING", "TERMINATED"), 100
    code, _, err = run(capsys, "backendai", MODEL, "-n", "many", "--replicas", "2", "--wait")
    assert code == 1
    assert "docflow deploy sessions kill many-1 many-2" in err


def test_a_session_that_cannot_start_is_an_error_at_once(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.life, manager.log, manager.status_info = ("PENDING", "PREPARING", "ERROR"), "", "failed-to-start"
    code, _, err = run(capsys, "backendai", MODEL, "-n", "broken", "--wait")
    assert code == 1
    assert "ERROR (failed-to-start)" in err
    assert "sessions logs broken" in err


def test_a_lost_session_is_said_to_be_gone(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.life, manager.lose_at, manager.ready_after = ("PENDING", "RUNNING", "LOST"), "LOST", 100
    code, _, err = run(capsys, "backendai", MODEL, "-n", "lost", "--wait")
    assert code == 1
    assert "session lost is gone" in err


def test_a_manager_that_is_away_for_a_moment_does_no_harm(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.broken_looks = 3
    assert run(capsys, "backendai", MODEL, "--wait")[0] == 0


def test_a_manager_that_cannot_be_reached_is_said_to_be(
    manager: Manager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKEND_AI_ENDPOINT", "http://127.0.0.1:9")
    code, _, err = run(capsys, "backendai", MODEL)
    assert code == 1
    assert "BACKEND_AI_ENDPOINT" in err


def test_a_slow_start_ends_the_wait_and_not_the_session(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.life, manager.ready_after = ("RUNNING",), 10_000
    code, _, err = run(capsys, "backendai", MODEL, "-n", "slow", "--wait", "--timeout", "1")
    assert code == 6
    assert "session slow goes on" in err
    assert manager.one().state == "RUNNING"


def test_a_session_that_gets_no_room_is_short_of_resources(
    manager: Manager, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.life = ("PENDING",)
    code, _, err = run(capsys, "backendai", MODEL, "-n", "waits", "--wait", "--timeout", "1")
    assert code == 4
    assert "Insufficient GPU resources" in err
    assert "sessions kill waits" in err


# --- sessions --------------------------------------------------------------------------------------------------------


def test_sessions_are_listed_with_their_model(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "backendai", MODEL, "-n", "mine", "-g", "2", "--wait")
    code, out, _ = run(capsys, "sessions", "list", "--json")
    assert code == 0
    [session] = json.loads(out)
    assert (session["name"], session["model"], session["port"], session["gpus"]) == ("mine", MODEL, 8000, 2)
    assert session["status"] == "RUNNING"
    out = run(capsys, "sessions", "list")[1]
    assert "mine" in out
    assert MODEL in out


def test_more_sessions_than_a_page_holds_are_all_listed(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        assert run(capsys, "backendai", MODEL, "-n", f"set{number}", "--replicas", "32")[0] == 0
    assert len(json.loads(run(capsys, "sessions", "list", "--json")[1])) == 64


def test_kill_ends_all_or_says_which_is_not_there(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "backendai", MODEL, "-n", "here")
    code, _, err = run(capsys, "sessions", "kill", "here", "nowhere")
    assert code == 1
    assert "no active session nowhere" in err
    assert manager.one().active, "nothing is ended where a name is wrong"
    assert run(capsys, "sessions", "kill", "here")[0] == 0
    assert not manager.one().active


def test_logs_hold_the_container_and_the_command(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "backendai", MODEL, "-n", "talks")
    manager.log = "one\ntwo \x1b[31mred\n"
    code, out, _ = run(capsys, "sessions", "logs", "talks")
    assert code == 0
    assert out.splitlines() == ["one", "two \\x1b[31mred", "task of talks"]
    assert run(capsys, "sessions", "logs", "talks", "--lines", "1")[1] == "task of talks\n"


def test_the_log_of_an_ended_session_is_had_by_its_id(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "backendai", MODEL, "-n", "ended")
    kept = manager.one()
    run(capsys, "sessions", "kill", "ended")
    assert run(capsys, "sessions", "logs", kept.id)[1] == "INFO starting\n"
    assert run(capsys, "sessions", "logs", "ended")[0] == 1


@pytest.mark.parametrize("template", [True, False])
def test_a_server_in_a_session_is_tested_through_the_tunnel(
    template: bool, manager: Manager, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "backendai", MODEL, "-n", "tried", "--wait")
    manager.chat_template = template
    code, out, err = run(capsys, "sessions", "test", "tried")
    assert code == 0, out + err
    words = {line.split()[1]: line.split()[0] for line in out.splitlines()}
    assert [words[step] for step in ("health", "models", "completion")] == ["pass"] * 3
    assert words["chat"] == ("pass" if template else "no")


def test_a_test_without_the_key_fails(manager: Manager, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, "backendai", MODEL, "-n", "tried", "--wait")
    keys.forget(manager.one().id)
    code, out, _ = run(capsys, "sessions", "test", "tried")
    assert code == 1
    assert "FAIL" in out


def test_connect_opens_ports_on_loopback_alone(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "backendai", MODEL, "-n", "many", "--replicas", "2", "--wait")
    command = [
        sys.executable,
        "-m",
        "docflow",
        "deploy",
        "sessions",
        "connect",
        "many-1",
        "many-2",
        "-p",
        "0",
        "--json",
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's children ignore it else
    )
    try:
        assert process.stdout is not None
        said = "".join(iter(process.stdout.readline, "}\n"))
        found = json.loads(said + "}")
        assert list(found["addresses"]) == ["many-1", "many-2"]
        for (name, url), kept in zip(found["addresses"].items(), manager.kept.values(), strict=True):
            assert url.startswith("http://127.0.0.1:")
            path = keys.folder() / f"{kept.id}.key"
            assert f":$(cat {path})@{url.removeprefix('http://')}" in found["gateway_upstreams"]
            assert path.read_text() not in said
            before = manager.tunnelled.count(name)
            request = urllib.request.Request(
                f"{url}/v1/models", headers={"Authorization": f"Bearer {path.read_text()}"}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert json.load(answer)["data"]
            assert manager.tunnelled.count(name) == before + 1
    finally:
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_said_to_be(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "backendai", MODEL, "-n", "mine")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = run(capsys, "sessions", "connect", "mine", "--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "cannot be listened on" in err


def test_monitor_shows_what_sessions_use(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "backendai", MODEL, "-n", "busy", "--wait")
    code, out, _ = run(capsys, "sessions", "monitor", "--once")
    assert code == 0
    assert all(said in out for said in ("busy", "37%", "20.0 GiB of 80.0 GiB", "81%", "8.0 GiB of 16.0 GiB"))
    [figures] = json.loads(run(capsys, "sessions", "monitor", "--once", "--json")[1])
    assert figures["gpu"] == pytest.approx(0.37)


def test_kill_idle_ends_what_nobody_asks(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("never-asked", "working", "was-asked", "silent"):
        run(capsys, "backendai", MODEL, "-n", name, "--wait")
    manager.metrics_of = {
        "working": "vllm:num_requests_running 2.0\nvllm:request_success_total 9.0\nprocess_start_time_seconds 1.0\n",
        "was-asked": "vllm:num_requests_running 0.0\nvllm:request_success_total 9.0\nprocess_start_time_seconds 1.0\n",
        "silent": "something_else 1.0\n",
    }
    out = run(capsys, "sessions", "kill-idle", "--idle", "1h", "--dry-run")[1]
    assert "never-asked: idle for" in out
    assert "would be ended" in out
    assert all(kept.active for kept in manager.kept.values())
    code, out, _ = run(capsys, "sessions", "kill-idle", "--idle", "1h")
    assert code == 0
    states = {kept.name: kept.active for kept in manager.kept.values()}
    assert states == {"never-asked": False, "working": True, "was-asked": True, "silent": True}
    path = keys.folder() / "activity.json"
    seen = json.loads(path.read_text())
    path.write_text(json.dumps({session: [done, since - 7200] for session, (done, since) in seen.items()}))
    run(capsys, "sessions", "kill-idle", "--idle", "1h")
    states = {kept.name: kept.active for kept in manager.kept.values()}
    assert states == {"never-asked": False, "working": True, "was-asked": False, "silent": True}
