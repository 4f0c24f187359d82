"""The same documents and program on every engine: servers, models in this process, and the embedded one.

    python tests/bench/models.py [--check] [--quick] [--only NAME ...]

Starts the servers and makes the environments itself (see ``tests/engines/kit``), with a tiny Qwen2-VL of random weights
on this machine's CPU: times say nothing of a real model; validity, usage, memory of docflow and engine, and how far
requests at once share the work do. Each engine runs alone, in a process of its own. One that cannot be had here is
named with the reason. Prints tables and, as its last line, one JSON object. ``--check`` exits with 1 when a figure
misses its bound.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from docflow.deploy.local import process as processes
from docflow.deploy.local.environments import BuildFailed
from docflow.errors import DocflowError
from tests.bench.on_engines import work
from tests.engines.kit import environments, llama
from tests.engines.kit.environments import Kind, KitError
from tests.engines.kit.servers import Server
from tests.engines.local import inside

NAMES = ("embedded", "sglang", "vllm", "vllm in process", "transformers", "llama_cpp")
BATCHING = ("vllm in process", "transformers")
AT_ONCE = 8
RATIO_LEAST = 1.5
"""What requests at once must gain over one by one, on the engines that batch."""
SECONDS = 900.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure misses its bound")
    parser.add_argument("--quick", action="store_true", help="fewer documents")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    given = parser.parse_args()
    root = Path(os.environ.pop(environments.ROOT_VARIABLE, "") or environments.default_root())
    figures: dict[str, Any] = {"engines": {}, "missing": {}}
    with tempfile.TemporaryDirectory(prefix="docflow-bench-") as name:
        folder = Path(name)
        work.program(folder, "receipt")
        program = f"{next(folder.glob('programs_*.py'))}:receipt"
        documents = work.pages(folder, 3 if given.quick else 9)[0].parent
        for engine in given.only:
            try:
                found = MEASURES[engine](root, folder, [program, str(documents)])
            except (KitError, BuildFailed, DocflowError, OSError, subprocess.SubprocessError) as error:
                found = {"missing": str(error).strip().splitlines()[-1][:300]}
            if "missing" in found:
                figures["missing"][engine] = found["missing"]
            else:
                figures["engines"][engine] = found
    _print(figures)
    missed = _missed(figures)
    for line in missed:
        print(f"MISSED: {line}")
    print(json.dumps({**figures, "missed": missed}))
    if given.check and missed:
        raise SystemExit(1)


# --- one engine after the other -------------------------------------------------------------------------------------


def _embedded(root: Path, folder: Path, what: list[str]) -> dict[str, Any]:
    return _measured(sys.executable, folder, "embedded", what, 1)


def _server(kind: Kind) -> Callable[[Path, Path, list[str]], dict[str, Any]]:
    def measure(root: Path, folder: Path, what: list[str]) -> dict[str, Any]:
        with Server(root, kind) as server:
            server.start().wait_ready()
            found = _measured(sys.executable, folder, f"{kind}={server.url}", what, AT_ONCE)
            return {**found, "load_seconds": server.seconds_to_ready, "engine_mb": server.memory_mb()}

    return measure


def _in_engines_environment(name: str, parameters: str) -> Callable[[Path, Path, list[str]], dict[str, Any]]:
    def measure(root: Path, folder: Path, what: list[str]) -> dict[str, Any]:
        python = environments.environment(root, "vllm") / "bin" / "python"
        entry = f"{name}={environments.model(root)}?{parameters}"
        return _measured(str(python), folder, entry, what, AT_ONCE, inside.environment_for(folder))

    return measure


def _llama(root: Path, folder: Path, what: list[str]) -> dict[str, Any]:
    projector = next(llama.models(root).glob("mmproj-*.gguf"))
    model = projector.with_name(projector.name.removeprefix("mmproj-"))
    with llama.on_the_path(llama.packages(root)):
        return _measured(sys.executable, folder, f"llama_cpp={model}?projector={projector}&context=4096", what, AT_ONCE)


MEASURES: Mapping[str, Callable[[Path, Path, list[str]], dict[str, Any]]] = {
    "embedded": _embedded,
    "sglang": _server("sglang"),
    "vllm": _server("vllm"),
    "vllm in process": _in_engines_environment("vllm", f"context=4096&max_batch={AT_ONCE}"),
    "transformers": _in_engines_environment("transformers", f"context=4096&max_batch={AT_ONCE}"),
    "llama_cpp": _llama,
}


def _measured(
    python: str, folder: Path, entry: str, what: list[str], at_once: int, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What ``one`` says of an engine, and the most memory that its processes had."""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("w+"))
        out = stack.enter_context((folder / "out").open("w+"))
        checkout = str(Path(__file__).resolve().parents[2])
        process = subprocess.Popen(
            [python, "-m", "tests.bench.on_models.one", entry, *what, str(at_once)],
            env=environment or {**os.environ, "DOCFLOW_CACHE_DIR": str(folder / "cache")},
            cwd=checkout,
            stdout=out,
            stderr=log,
            start_new_session=True,
        )
        most, deadline = 0, time.monotonic() + SECONDS
        while process.poll() is None:
            most = max(most, processes.use_of(process.pid).memory >> 20)
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(0.2)
        out.seek(0)
        log.seek(0)
        line = next((line for line in reversed(out.read().splitlines()) if line.startswith("{")), "")
        if process.returncode != 0 or not line:
            return {"missing": (log.read().strip().splitlines() or ["it printed nothing"])[-1][:300]}
        found: dict[str, Any] = json.loads(line)
    return {**found, "memory_mb": most}


# --- what is said of it ---------------------------------------------------------------------------------------------


def _print(figures: Mapping[str, Any]) -> None:
    rows = []
    for name, found in figures["engines"].items():
        usage = found["usage"]
        each = max(1, found["documents"])
        rows.append(
            [
                name,
                f"{found['valid']}/{found['documents']}",
                found["load_seconds"],
                found["first_seconds"],
                found["seconds"] / each,
                found["memory_mb"] + found.get("engine_mb", 0),
                usage["calls"],
                usage["prompt"],
                usage["cached"],
                usage["output"],
            ]
        )
    head = ["", "valid", "ready s", "first s", "s each", "MiB", "calls", "prompt", "cached", "output"]
    print("\nthe same documents and program on each engine, one document after the other")
    print(work.table(head, rows))
    rows = [
        [name, *(found["throughput"][key] for key in ("serial_per_second", "at_once_per_second", "ratio"))]
        for name, found in figures["engines"].items()
        if "throughput" in found
    ]
    print(f"\nrequests a second, one by one and {AT_ONCE} at once")
    print(work.table(["", "one by one", "at once", "ratio"], rows))
    for name, why in figures["missing"].items():
        print(f"missing: {name}: {why}")


def _missed(figures: Mapping[str, Any]) -> list[str]:
    missed = []
    for name, found in figures["engines"].items():
        if found["valid"] != found["documents"] and name != "embedded":
            missed.append(f"{name}: {found['valid']} of {found['documents']} are valid: {found['errors']}")
        if name in BATCHING and found["throughput"]["ratio"] < RATIO_LEAST:
            missed.append(f"{name}: requests at once gain {found['throughput']['ratio']:.2f} < {RATIO_LEAST}")
    return missed


if __name__ == "__main__":
    main()
