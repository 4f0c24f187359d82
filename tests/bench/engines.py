"""What docflow makes of real engines: prefix reuse, saturation, client cost, failover, right answers.

    python tests/bench/engines.py [--check] [--quick] [--only NAME ...] [--sglang URL] [--vllm URL] [--scans FOLDER]

Without URLs it starts both servers itself, on this machine's CPU, with a tiny Qwen2-VL of random weights (see
``tests/engines/kit``): then times say nothing of a real model, while the tokens computed and the ratios hold. With URLs
of servers that run a real model the same tables come from there; the failover, which kills a server, is left out.
What is read right is asked of servers with docflow-tiny, a small model that was trained: also started here, or behind
the URLs where ``--only reading`` says so.
Prints tables and, as its last line, one JSON object. ``--check`` exits with 1 when a figure misses its bound.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.on_engines import client, failover, prefill, reading, saturation
from tests.engines.kit import environments
from tests.engines.kit.servers import Server

PARTS = ("prefill", "saturation", "grounding", "client", "failover", "reading")
PREFILL_MOST = {"sglang": ("ratio", 1.05), "vllm": ("beyond_rounding", 1.10)}
SATURATION_LEAST = 0.95
CLIENT_MOST = 0.7
READING_LEAST = {"records_right": 0.95, "ended_by_itself": 1.0, "right_more_probable": 0.75}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure misses its bound")
    parser.add_argument("--quick", action="store_true", help="fewer documents")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="NAME", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument(
        "--kind", nargs="+", choices=environments.KINDS, default=environments.KINDS, help="the servers to start (both)"
    )
    parser.add_argument("--sglang", metavar="URL", help="an SGLang server that is up")
    parser.add_argument("--vllm", metavar="URL", help="a vLLM server that is up")
    parser.add_argument(
        "--levels", nargs="+", type=int, default=saturation.LEVELS, metavar="N", help="saturation: requests at a time"
    )
    parser.add_argument("--scans", metavar="FOLDER", type=Path, help="JPEG scans for the client's cost (or samples)")
    parser.add_argument("--page-tokens", type=int, metavar="N", help="most image tokens of a page")
    parser.add_argument("--block", type=int, metavar="N", help="vLLM's --block-size (default 32; 16 on a GPU)")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    root = Path(os.environ.pop(environments.ROOT_VARIABLE, "") or environments.default_root())
    with tempfile.TemporaryDirectory(prefix="docflow-bench-") as name, contextlib.ExitStack() as cleanup:
        folder = Path(name)
        os.environ["DOCFLOW_CACHE_DIR"] = str(folder / "cache")
        servers: dict[str, Server] = {}
        urls = {kind: url for kind, url in (("sglang", given.sglang), ("vllm", given.vllm)) if url}
        given.only = given.only or (PARTS[:-1] if urls else PARTS)
        reads = {kind: url for kind, url in urls.items() if "reading" in given.only}
        if not urls and set(given.only) != {"reading"}:
            servers = {kind: cleanup.enter_context(Server(root, kind)).start() for kind in given.kind}
            urls = {kind: server.wait_ready().url for kind, server in servers.items()}
        figures = _measure(given, folder, urls, servers)
        if "reading" in given.only:
            cleanup.close()
            figures["reading"] = _reading(given, root, reads)
    missed = _missed(figures)
    for line in missed:
        print(f"MISSED: {line}")
    print(json.dumps({**figures, "missed": missed}))
    if given.check and missed:
        raise SystemExit(1)


def _measure(
    given: argparse.Namespace, folder: Path, urls: dict[str, str], servers: dict[str, Server]
) -> dict[str, Any]:
    figures: dict[str, Any] = {"documents": {}, "own_servers": bool(servers)}
    page_tokens = given.page_tokens or (384 if servers else 1280)
    count = 8 if given.quick else 24
    many = 24 if given.quick else 96
    for part in given.only:
        if part in ("failover", "reading"):
            continue
        figures[part] = {}
        for kind, url in urls.items():
            if part == "prefill":
                block = given.block if given.block and kind == "vllm" else prefill.BLOCK[kind]
                figures[part][kind] = prefill.measure(kind, url, folder, count, page_tokens, block)
            elif part == "saturation":
                repeats = 1 if given.quick else 2
                if not servers:
                    figures[part][kind] = saturation.measure(
                        kind, url, folder, many, page_tokens, repeats, levels=given.levels
                    )
                    continue
                for other in servers.values():  # one that was asked just now may still be busy with itself
                    other.kill(signal.SIGSTOP if other is not servers[kind] else signal.SIGCONT)
                with saturation.apart(servers[kind]) as is_apart:
                    if is_apart:
                        cores = "one for the server, another for who asks"
                        figures[part][kind] = saturation.measure(
                            kind, url, folder, many, page_tokens, repeats, cores=cores, levels=given.levels
                        )
                cores = "the same for the server and who asks"
                shared = saturation.measure(
                    kind, url, folder, many, page_tokens, repeats, cores=cores, levels=given.levels
                )
                figures.setdefault("saturation_on_shared_cores", {})[kind] = shared
                for other in servers.values():
                    other.cont()
            elif part == "grounding":
                figures[part][kind] = saturation.grounded(kind, url, folder, count, page_tokens)
            elif part == "client":
                scan = next(iter(sorted(given.scans.glob("*.jpg"))), None) if given.scans else None
                figures[part][kind] = client.measure(kind, url, folder, 20 if given.quick else 60, scan)
    if "client" in given.only:
        figures["page"] = _making_pages(given)
    if "failover" in given.only and {"sglang", "vllm"} <= servers.keys():
        wanted = 45 if given.quick else 200
        figures["failover"] = failover.measure(servers["sglang"], urls["vllm"], folder, wanted, page_tokens)
    return figures


def _reading(given: argparse.Namespace, root: Path, urls: dict[str, str]) -> dict[str, Any]:
    """What docflow-tiny reads right, behind the URLs or on servers of its own, one after the other."""
    count = 12 if given.quick else 60
    if urls:
        return {kind: reading.measure(kind, url, count) for kind, url in urls.items()}
    figures = {}
    for kind in given.kind:
        with Server(root, kind, model=reading.MODEL).start() as server:
            figures[kind] = reading.measure(kind, server.wait_ready().url, count)
    return figures


def _making_pages(given: argparse.Namespace) -> Any:
    """What ``tests/bench/page_images.py`` says of making a page ready for a model."""
    script = Path(__file__).with_name("page_images.py")
    arguments = [str(given.scans)] if given.scans else []
    done = subprocess.run(
        [sys.executable, str(script), *arguments, "--pages", "12" if given.quick else "40"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    *tables, last = done.stdout.strip().splitlines()
    print("\nmaking a page ready for a model, CPU", *tables, sep="\n")
    return json.loads(last)


def _missed(figures: dict[str, Any]) -> list[str]:
    """What falls short of its bound, one line each."""
    missed = []
    for kind, scenarios in figures.get("prefill", {}).items():
        key, most = PREFILL_MOST[kind]
        missed += [
            f"prefill, {kind}, {name}: {scenarios[name][key]:.3f} > {most}"
            for name in prefill.SCENARIOS.values()
            if scenarios[name][key] > most
        ]
    for kind, levels in figures.get("saturation", {}).items():
        missed += [
            f"saturation, {kind}, {level}: {figure['ratio']:.3f} < {SATURATION_LEAST}"
            for level, figure in levels.items()
            if isinstance(figure, dict) and figure["ratio"] < SATURATION_LEAST
        ]
    missed += [
        f"client, {kind}: {figure['ratio']:.3f} > {CLIENT_MOST}"
        for kind, figure in figures.get("client", {}).items()
        if figure["ratio"] > CLIENT_MOST
    ]
    missed += [
        f"reading, {kind}, {name}: {figure[name]:.3f} < {least}"
        for kind, figure in figures.get("reading", {}).items()
        for name, least in READING_LEAST.items()
        if figure[name] < least
    ]
    moved = figures.get("failover")
    if moved and (moved["rows"] != moved["documents"] or moved["doubled"] or moved["failed"] or not moved["killed"]):
        missed.append(f"failover: {moved}")
    return missed


if __name__ == "__main__":
    main()
