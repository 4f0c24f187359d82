"""The processes of the bench: who relays, each on a port of its own, and what they cost by ``/proc``."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from docflow.deploy.local.process import free_port

ROOT = Path(__file__).parents[3]
KEY = "0123456789abcdef-bench"
LITELLM = "litellm[proxy]>=1.83.7,<2"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Running:
    """A server in a process of its own, from when it answers until the end."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        *,
        ready: str = "/v1/models",
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        seconds: float = 60,
        key: str = "",
    ) -> None:
        self._command, self.port, self._ready, self._seconds = list(command), port, ready, seconds
        self._environment, self._log, self._key = dict(environment or {}), log, key
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        out = self._log.open("ab") if self._log else subprocess.DEVNULL
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=os.environ | self._environment, stdout=out, stderr=out, start_new_session=True
        )
        deadline = time.monotonic() + self._seconds
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"{self._command[:4]} did not start")
            time.sleep(0.1)
        return self

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", self._ready, headers={"authorization": f"Bearer {self._key}"})
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def cpu_seconds(self) -> float:
        """What it and its children have used so far."""
        return sum(_cpu(pid) for pid in _family(self.pid))

    def memory_mb(self) -> float:
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _family(self.pid)) * _PAGE / 2**20


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


# --- who is measured ----------------------------------------------------------------------------------------------


def upstream() -> Running:
    port = free_port()
    return Running([sys.executable, "-m", "tests.bench.on_gateway.upstream", "--port", str(port)], port)


def gateway(upstreams: str, fallbacks: str, folder: Path) -> Running:
    """``docflow serve`` as it is run: with keys, metrics and a log line a request."""
    port = free_port()
    environment = {
        "GATEWAY_UPSTREAMS": upstreams,
        "GATEWAY_FALLBACKS": fallbacks,
        "DOCFLOW_SERVE_KEYS": f"bench={KEY}",
        "DOCFLOW_SERVE__PORT": str(port),
        "DOCFLOW_CACHE_DIR": str(folder / "cache"),
        "DOCFLOW_SERVE__DATA_DIR": str(folder / "data"),
        "DOCFLOW_TELEMETRY__LOG": "json",
    }
    command = [sys.executable, "-m", "docflow", "serve"]
    return Running(command, port, environment=environment, log=folder / "gateway.log", key=KEY)


def bare(upstream: str) -> Running:
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.on_gateway.relay", "--port", str(port), "--upstream", upstream]
    return Running(command, port, ready="/openapi.json")


def litellm(upstream: str, cache: Path, folder: Path) -> Running:
    """The LiteLLM proxy with one worker, in an environment of its own, which is made the first time."""
    home = cache / "litellm-proxy"
    program = home / "bin" / "litellm"
    if not program.is_file():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "--quiet", LITELLM], check=True)
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: tiny\n    litellm_params:\n      model: openai/tiny\n"
        f"      api_base: {upstream}/v1\n      api_key: none\n"
        f"general_settings:\n  master_key: sk-{KEY}\n",
        encoding="utf-8",
    )
    port = free_port()
    command = [str(program), "--config", str(config), "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"]
    environment = {"LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Running(
        command,
        port,
        ready="/health/liveliness",
        environment=environment,
        log=folder / "litellm.log",
        seconds=300,
        key=f"sk-{KEY}",
    )
