"""The kit's commands: build, serve and run."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.engines.kit import environments, llama
from tests.engines.kit.environments import KINDS, ROOT_VARIABLE, KitError, default_root
from tests.engines.kit.servers import Server, close_all, start_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.engines.kit", description="Real engines for tests.")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get(ROOT_VARIABLE) or default_root()),
        help=f"where environments and the model are kept (%(default)s; {ROOT_VARIABLE})",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the environments and the model")
    serve = commands.add_parser("serve", help="run one server until it is interrupted")
    serve.add_argument("kind", choices=KINDS)
    serve.add_argument("--port", type=int, help="the port on 127.0.0.1 (by default a free one)")
    commands.add_parser("run", help="start both servers and run tests/engines; further arguments go to pytest")
    arguments, rest = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended when a job is cancelled
    root = arguments.root.resolve()
    try:
        if arguments.command == "build":
            return build(root)
        if arguments.command == "serve":
            return serve_one(Server(root, arguments.kind, rest, port=arguments.port))
        return run_tests(root, rest)
    except KitError as error:
        print(f"engine kit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def build(root: Path) -> int:
    start = time.monotonic()
    with ThreadPoolExecutor(1) as beside:  # llama.cpp compiles while the others download
        compiled = beside.submit(llama.models, root)
        for kind in KINDS:
            environments.environment(root, kind)
        environments.model(root)
        compiled.result()
    print(f"engine kit: environments and model ready in {root} after {time.monotonic() - start:.0f} s")
    return 0


def serve_one(server: Server) -> int:
    with server:
        server.start().wait_ready()
        print(
            f"{server.kind} at {server.url} (ready after {server.seconds_to_ready:.0f} s); Ctrl-C ends it", flush=True
        )
        signal.pause()
    return 0


def run_tests(root: Path, pytest_arguments: list[str]) -> int:
    build(root)
    servers = start_all(root, KINDS)
    try:
        for server in servers.values():
            ready = f"ready after {server.seconds_to_ready:.0f} s, {server.memory_mb()} MiB"
            print(f"engine kit: {server.kind} at {server.url}, {ready}", flush=True)
        given = {f"DOCFLOW_TEST_{kind.upper()}": server.url for kind, server in servers.items()}
        own = {ROOT_VARIABLE: str(root), "DOCFLOW_TEST_ENGINES": "1"}
        command = [sys.executable, "-m", "pytest", "tests/engines", *pytest_arguments]
        with subprocess.Popen(command, env=os.environ | given | own) as tests:
            try:
                code = tests.wait()
            except BaseException:
                tests.send_signal(signal.SIGINT)  # so that the tests end the servers that they made themselves
                tests.wait(timeout=60)
                raise
        if code != 0:
            for server in servers.values():
                print(f"\nengine kit: the end of {server.kind}'s log\n{server.tail()}", flush=True)
        return code
    finally:
        close_all(list(servers.values()))


if __name__ == "__main__":
    sys.exit(main())
