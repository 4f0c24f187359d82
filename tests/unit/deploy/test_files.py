"""The files that ``docflow deploy compose`` writes, judged by the tools that they are for."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from docflow.deploy.compose import command_of, constraints, write_compose
from docflow.errors import UsageError
from docflow.server.service.keys import Keys

ENGINES = ("vllm", "sglang")


def tool(name: str) -> str:
    """A linter, from this environment or the system."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed (pip install -e '.[dev]')")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    write_compose(folder, ["vllm", "sglang", "monitoring"])
    write_compose(folder, ["vlm"])
    return folder


def composed(folder: Path, *overlays: str, **variables: str) -> dict[str, Any]:
    """The services as docker compose itself understands the files."""
    flags = [part for part in command_of(overlays).split() if part == "-f" or part.endswith(".yml")]
    command = [tool("docker-compose"), *flags, "config", "--format", "json"]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.stderr == ""
    services: dict[str, Any] = json.loads(ran.stdout)["services"]
    return services


@pytest.mark.parametrize("overlays", [(), ENGINES, (*ENGINES, "monitoring"), ("vlm", "monitoring")])
def test_docker_compose_takes_every_combination(overlays: tuple[str, ...], folder: Path) -> None:
    services = composed(folder, *overlays)
    expected = {"vlm-server"} if "vlm" in overlays else {"gateway"}
    expected |= {name for name in ENGINES if name in overlays}
    expected |= {"prometheus", "grafana"} if "monitoring" in overlays else set()
    assert set(services) == expected
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        image = service["image"]
        assert re.search(r":v?\d+\.\d+\.\d+$", image), f"{image} is not pinned"


def test_one_engine_alone_leaves_both_named_so_that_either_may_be_away(folder: Path) -> None:
    for engine in ENGINES:
        environment = composed(folder, engine)["gateway"]["environment"]
        assert environment["GATEWAY_UPSTREAMS"] == "sglang=http://sglang:8002;vllm=http://vllm:8001"
        assert environment["GATEWAY_FALLBACKS"] == "sglang=vllm"
    other = composed(folder, "vllm", GATEWAY_FALLBACKS="vllm=sglang", MODEL_ID="other/model")
    assert other["gateway"]["environment"]["GATEWAY_FALLBACKS"] == "vllm=sglang"
    assert other["vllm"]["environment"]["MODEL_ID"] == "other/model"


def test_image_and_command_of_sglang_can_be_others(folder: Path) -> None:
    service = composed(folder, "sglang", SGLANG_IMAGE="mine:1", SGLANG_COMMAND="serve --port 8002")["sglang"]
    assert (service["image"], service["command"]) == ("mine:1", ["serve", "--port", "8002"])
    service = composed(folder, "sglang")["sglang"]
    assert service["command"][:4] == ["python3", "-m", "sglang.launch_server", "--model-path"]
    assert service["command"][4] == "Qwen/Qwen2-VL-7B-Instruct"
    assert service["command"][service["command"].index("--port") + 1] == "8002"


def test_engines_reserve_a_gpu_and_wait_long_for_their_model(folder: Path) -> None:
    services = composed(folder, *ENGINES) | composed(folder, "vlm")
    for name in (*ENGINES, "vlm-server"):
        [device] = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
        assert services[name]["healthcheck"]["start_period"] == "10m0s"
        assert "runtime" not in services[name]
    assert "deploy" not in services["gateway"]


def test_nothing_listens_to_the_network_unless_it_is_asked_to(folder: Path) -> None:
    for service in (composed(folder, *ENGINES, "monitoring") | composed(folder, "vlm")).values():
        for port in service.get("ports", ()):
            assert port["host_ip"] == "127.0.0.1"
    assert composed(folder, GATEWAY_BIND="0.0.0.0")["gateway"]["ports"][0]["host_ip"] == "0.0.0.0"


def test_the_gateway_is_not_root_and_may_write_to_its_data_alone(folder: Path) -> None:
    gateway = composed(folder)["gateway"]
    assert gateway["read_only"]
    assert gateway["cap_drop"] == ["ALL"]
    for name in ("Dockerfile", "Dockerfile.vlm"):
        lines = (folder / name).read_text().splitlines()
        assert "USER 10001" in lines
        assert any(line.startswith("HEALTHCHECK") for line in lines)
        assert "curl" not in re.sub("#.*", "", (folder / name).read_text())


def test_compose_files_have_no_version_and_no_password(folder: Path) -> None:
    for path in folder.glob("docker-compose*.yml"):
        assert "version" not in yaml.safe_load(path.read_text())
    text = (folder / "docker-compose.monitoring.yml").read_text()
    assert "GF_SECURITY_ADMIN_PASSWORD: ${GRAFANA_PASSWORD:?" in text


def test_without_keys_compose_says_so(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("docker-compose*.yml"):
        shutil.copy(path, tmp_path)
    (tmp_path / ".env").write_text("RELEASE=0.1.0\n")
    ran = subprocess.run([tool("docker-compose"), "config"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout == ""  # its exit code is 0: the package that brings it loses it
    assert "DOCFLOW_SERVE_KEYS" in ran.stderr


def test_the_linters_find_nothing(folder: Path) -> None:
    docker = [folder / "Dockerfile", folder / "Dockerfile.vlm"]
    scripts = sorted((folder / "scripts").glob("*.sh"))
    assert len(scripts) == 6
    commands: list[list[str | Path]] = [
        [tool("hadolint"), *docker],
        [tool("shellcheck"), "--external-sources", *scripts],
    ]
    for command in commands:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout


def test_promtool_takes_configuration_and_rules(folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("x")
    shutil.copy(folder / "prometheus" / "alerts.yml", tmp_path)
    text = (folder / "prometheus" / "prometheus.yml").read_text().replace("/run/secrets/metrics_key", str(key))
    (tmp_path / "prometheus.yml").write_text(text)
    ran = subprocess.run(
        [tool("promtool"), "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "rules found" in ran.stdout


# --- writing them ---------------------------------------------------------------------------------------------------


def environment_of(folder: Path) -> Mapping[str, str]:
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_keys_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    first = write_compose(tmp_path, ["monitoring"])
    assert first.keys_made
    environment = environment_of(tmp_path)
    keys = Keys.parse(environment["DOCFLOW_SERVE_KEYS"])
    caller = keys.caller(f"Bearer {environment['METRICS_KEY']}")
    assert caller is not None
    assert (caller.name, caller.admin) == ("prometheus", False)
    assert len(environment["GRAFANA_PASSWORD"]) > 16
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    again = write_compose(tmp_path, ["monitoring", "sglang"])
    assert not again.keys_made
    assert environment_of(tmp_path) == environment
    assert environment["METRICS_KEY"] not in (tmp_path / ".env.example").read_text()
    assert (tmp_path / "docker-compose.sglang.yml").exists()


def test_a_file_that_was_changed_is_not_overwritten_unasked(tmp_path: Path) -> None:
    write_compose(tmp_path, [])
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(UsageError, match="Dockerfile"):
        write_compose(tmp_path, ["vllm"])
    assert not (tmp_path / "docker-compose.vllm.yml").exists()
    write_compose(tmp_path, ["vllm"], force=True)
    assert (tmp_path / "Dockerfile").read_text() != "FROM scratch\n"


@pytest.mark.parametrize("overlays", [["triton"], ["vlm", "vllm"], ["vlm", "sglang", "monitoring"]])
def test_overlays_that_there_are_not_or_that_do_not_go_together_are_refused(
    overlays: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="overlay"):
        write_compose(tmp_path / "new", overlays)
    assert not (tmp_path / "new").exists()


def test_the_image_gets_the_releases_that_are_installed_here() -> None:
    lines = constraints()
    assert {"fastapi", "prometheus-client", "pydantic", "starlette"} <= {line.partition("==")[0] for line in lines}
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.!]*", line) for line in lines)


# --- the scripts, with doubles of the programs that they call ---------------------------------------------------------


class Machine:
    """A folder with the files, and programs before all others in PATH that note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        write_compose(folder, ["vllm", "sglang"])
        write_compose(folder, ["vlm"])
        (folder / ".env").write_text("RELEASE=0.1.0\n")
        (folder / "bin").mkdir()

    def program(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{body}\n')
        path.chmod(0o755)

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "PAUSE_SECONDS": "0.01", **variables}
        command = ["bash", str(self.folder / "scripts" / script)]
        return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.program("docker", 'case "$*" in *logs*) echo "the last words";; esac')
    machine.program("nvidia-smi", 'echo "GPU 0: a GPU"')
    machine.program("curl", "exit 0")
    return machine


SGLANG = {"SGLANG_IMAGE": "mine:1", "SGLANG_COMMAND": "serve"}


@pytest.mark.parametrize("missing", ["SGLANG_IMAGE", "SGLANG_COMMAND"])
def test_run_sglang_without_a_variable_tells_its_usage(missing: str, machine: Machine) -> None:
    ran = machine.run("run_sglang.sh", **{name: value for name, value in SGLANG.items() if name != missing})
    assert ran.returncode == 2
    assert "usage:" in ran.stderr
    assert machine.called() == []


def test_run_sglang_starts_the_stack_and_tells_which_url_answered(machine: Machine) -> None:
    ran = machine.run("run_sglang.sh", **SGLANG)
    assert (ran.returncode, ran.stdout) == (0, "sglang is up: http://localhost:8002/health answers\n")
    assert machine.called()[0] == (
        "docker compose -f docker-compose.yml -f docker-compose.sglang.yml up --build --detach"
    )


def test_run_sglang_takes_its_variables_from_the_env_file(machine: Machine) -> None:
    (machine.folder / ".env").write_text("SGLANG_IMAGE=mine:1\nSGLANG_COMMAND=serve --port 8002\n")
    assert machine.run("run_sglang.sh").returncode == 0


def test_run_sglang_asks_the_second_url_where_the_first_fails(machine: Machine) -> None:
    machine.program("curl", 'case "$*" in *second*) exit 0;; esac; exit 22')
    urls = {"SGLANG_HEALTH_URL": "http://first/health", "SGLANG_HEALTH_FALLBACK_URL": "http://second/v1/models"}
    ran = machine.run("run_sglang.sh", **SGLANG, **urls)
    assert (ran.returncode, ran.stdout) == (0, "sglang is up: http://second/v1/models answers\n")


def test_run_sglang_tries_until_it_answers(machine: Machine) -> None:
    tries = machine.folder / "tries"
    machine.program("curl", f"echo x >> {tries}; [ $(wc -l < {tries}) -ge 7 ]")
    assert machine.run("run_sglang.sh", **SGLANG).returncode == 0
    assert len(tries.read_text().splitlines()) == 7


def test_run_sglang_shows_the_last_words_of_what_did_not_come_up(machine: Machine) -> None:
    machine.program("curl", "exit 7")
    ran = machine.run("run_sglang.sh", **SGLANG, TIMEOUT_SECONDS="0")
    assert ran.returncode == 1
    assert "the last words" in ran.stderr
    assert "http://localhost:8002/health http://localhost:8002/v1/models did not answer" in ran.stderr


@pytest.mark.parametrize("script", ["run_vllm.sh", "start_vllm.sh", "start_vlm.sh"])
def test_without_a_gpu_vllm_is_not_started_and_something_else_is_named(script: str, machine: Machine) -> None:
    machine.program("nvidia-smi", "echo 'No devices were found' >&2; exit 9")
    machine.program("vllm", "exit 0")
    ran = machine.run(script, MODEL_ID="some/model")
    assert ran.returncode == 1
    assert "litellm://" in ran.stderr
    assert "embedded" in ran.stderr
    assert not [call for call in machine.called() if call.startswith(("docker", "vllm"))]


def test_vllm_is_started_where_there_is_a_gpu(machine: Machine) -> None:
    machine.program("vllm", "exit 0")
    assert machine.run("run_vllm.sh").stdout == "vllm is up: http://localhost:8001/v1/models answers\n"
    assert machine.run("start_vllm.sh", MODEL_ID="some/model").returncode == 0
    assert machine.called()[-1].startswith("vllm serve some/model --host 0.0.0.0 --port 8001 ")


@pytest.mark.parametrize("answer", ["found", "refused"])
def test_a_model_is_downloaded_with_its_revision_folder_and_token(answer: str, machine: Machine) -> None:
    hub = machine.folder / "huggingface_hub"
    hub.mkdir()
    (hub / "errors.py").write_text(
        "class HfHubHTTPError(OSError): ...\nclass LocalEntryNotFoundError(FileNotFoundError): ...\n"
    )
    (hub / "__init__.py").write_text(
        "import json\nfrom huggingface_hub.errors import HfHubHTTPError\n"
        "def snapshot_download(model, **how):\n"
        "    if how['revision'] == 'refused':\n        raise HfHubHTTPError('403 gated')\n"
        "    return json.dumps([model, how])\n"
    )
    ran = subprocess.run(
        [
            sys.executable,
            machine.folder / "scripts" / "download_model.py",
            "a/b",
            "--revision",
            answer,
            "--folder",
            "x",
        ],
        env={"PYTHONPATH": str(machine.folder), "HF_TOKEN": "hf_token"},
        capture_output=True,
        text=True,
    )
    if answer == "refused":
        assert (ran.returncode, ran.stderr) == (1, "a/b cannot be downloaded: 403 gated\n")
        return
    model, how = json.loads(ran.stdout)
    assert (model, how["revision"], how["local_dir"], how["token"]) == ("a/b", "found", "x", "hf_token")
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in how["allow_patterns"])
