"""Stands in for the Python of an engine's environment: takes a real start's command, and serves at once.

    python -m tests.engines.stand_in FOLDER -m vllm.entrypoints.openai.api_server --port 30001 ... --stand-in ready

``FOLDER`` is where it leaves what it was told and the numbers of its processes (``told.json``). ``--stand-in`` says
what becomes of it: ready, never (it is never ready), dies (at its start), deaf (it heeds no SIGTERM).
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.engines.instant import InstantServer
from tests.engines.loopback import Received, response


class Guarded(InstantServer):
    """Wants a key, as the real ones do, and answers completions as well."""

    def __init__(self, key: str, **how: Any) -> None:
        super().__init__(**how)
        self._key = key

    async def handle(self, request: Received, writer: Any) -> None:
        if request.path.startswith("/v1/") and request.headers.get("authorization") != f"Bearer {self._key}":
            writer.write(response(401, {"error": "Unauthorized"}))
        elif request.path == "/v1/completions":
            writer.write(response(200, {"choices": [{"text": " Paris", "finish_reason": "stop"}]}))
        elif request.path == "/metrics":
            said = "vllm:num_requests_running 0.0\nvllm:prompt_tokens_total 1234.0\nvllm:generation_tokens_total 56.0\n"
            writer.write(response(200, said.encode()))
        else:
            await super().handle(request, writer)


def shared_memory(path: Path) -> mmap.mmap:
    with path.open("wb+") as file:
        file.truncate(4096)
        return mmap.mmap(file.fileno(), 4096)


def main() -> None:
    folder = Path(sys.argv[1])
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-m", dest="module", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--stand-in", default="ready")
    given, _ = parser.parse_known_args(sys.argv[2:])
    kind = "sglang" if given.module.startswith("sglang") else "vllm"
    key = json.loads(given.config.read_text().partition(": ")[2]) if given.config else os.environ["VLLM_API_KEY"]
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", deaf])
    shared = Path("/dev/shm") / f"stand-in-{os.getpid()}"
    held = shared_memory(shared) if given.stand_in != "dies" else None
    told = {"pids": [os.getpid(), child.pid], "shared": str(shared), "arguments": sys.argv, "key": key}
    (folder / "told.json.part").write_text(json.dumps(told | {"environment": dict(os.environ)}))
    (folder / "told.json.part").rename(folder / "told.json")
    if given.stand_in == "dies":
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 7.00 GiB", flush=True)
        raise SystemExit(1)
    if given.stand_in == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("the stand-in is loading", flush=True)
    if given.stand_in != "never":
        server = Guarded(key, kind=kind, port=given.port, model=given.served_model_name, keep=False)
        server.start()
    threading.Event().wait()
    assert held is None or not held.closed


if __name__ == "__main__":
    main()
