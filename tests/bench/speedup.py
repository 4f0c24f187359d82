"""What a second core brings, and what Dask costs: documents a second with the embedded engine.

    python tests/bench/speedup.py [DATA] [--documents 60] [--repeats 3] [--check]

Each run is ``docflow extract`` as a process of its own with an empty cache, bound to one core or to two: with the
default runner on one core and on two, and with two workers of Dask on two. What the machine itself gives is measured by
two runs at once that know nothing of each other, a core each, whose rates are added: cores share memory and caches, so
their sum is the most that any way of sharing the work can reach. They take turns, each time in another order; figures
are medians over the repeats. Rates count from when the first document began (``working_seconds`` of the run);
the seconds of the whole commands, with all that comes up and ends, stand beside them.

DATA is a folder of documents; without it, receipts and invoices are made as the project's samples are. Prints tables
and, as its last line, a JSON object. ``--check`` exits with 1 when two cores give less than 1.8 times the rate of one,
or Dask's two workers more than 10 % less than the default runner.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEAST_SPEEDUP = 1.8
LEAST_OF_DASK = 0.9


@dataclass
class Way:
    """One way to run: its flags, its cores, and what was measured."""

    name: str
    cores: tuple[int, ...]
    flags: tuple[str, ...] = ()
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def make_documents(folder: Path, count: int) -> Path:
    """Receipts and invoices, as many of each."""
    command = [sys.executable, str(ROOT / "samples" / "make.py"), str(folder), "--count", str(count)]
    subprocess.run([*command, "--kinds", "receipt,invoice"], check=True, stdout=subprocess.DEVNULL)
    return folder / "documents"


def run(way: Way, documents: Path, count: int) -> tuple[float, float, int]:
    """One run: documents a second, seconds of the whole command, documents."""
    with tempfile.TemporaryDirectory(prefix="docflow-bench-") as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "docflow", "extract", str(documents.absolute()), "--engine", "embedded"]
        command += ["--out", str(out), "--limit", str(count), "--quiet", *way.flags]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT", "DOCFLOW"))}
        environment = kept | {"DOCFLOW_CACHE_DIR": f"{folder}/cache", "DOCFLOW_DASK__WORKERS": str(len(way.cores))}
        started = time.monotonic()
        done = subprocess.run(
            ["taskset", "--cpu-list", ",".join(map(str, way.cores)), *command],
            env=environment,
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
        if done.returncode not in (0, 1):
            sys.exit(f"{way.name}: exit code {done.returncode}\n{done.stderr}")
        [summary] = [json.loads(path.read_text()) for path in (out / "runs").glob("*.json")]
        files = int(summary["files"])
        return files / summary["working_seconds"], seconds, files


def run_apart(way: Way, documents: Path, count: int) -> tuple[float, float, int]:
    """A run on each core at once, each over all documents: the sum of the rates, seconds of the slower, documents."""
    alone = [Way(f"{way.name}, core {core}", (core,), way.flags) for core in way.cores]
    with ThreadPoolExecutor(len(alone)) as pool:
        done = list(pool.map(lambda each: run(each, documents, count), alone))
    return sum(rate for rate, _, _ in done), max(seconds for _, seconds, _ in done), sum(files for _, _, files in done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="a folder of documents (made when not given)")
    parser.add_argument("--documents", type=int, default=60, help="how many documents a run takes (60)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each way is run (3)")
    parser.add_argument("--runner", default="auto", help="the runner that one core and two are compared with (auto)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure is out of its bounds")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("this takes two cores")
    plain = ("--runner", given.runner)
    one, two = Way("one core", (cores[0],), plain), Way("two cores", (cores[0], cores[1]), plain)
    dask = Way("Dask, two workers", two.cores, ("--runner", "dask"))
    apart = Way("two runs apart", two.cores, plain)
    ways = [one, two, apart, dask]
    with tempfile.TemporaryDirectory(prefix="docflow-bench-") as folder:
        documents = given.data or make_documents(Path(folder), given.documents)
        print(f"{'':20}{'documents':>10}{'a second':>10}{'seconds':>9}{'load':>6}")
        for repeat in range(given.repeats):
            first = repeat % len(ways)
            for way in [*ways[first:], *ways[:first]]:
                load = os.getloadavg()[0]
                rate, seconds, files = (run_apart if way is apart else run)(way, documents, given.documents)
                way.rates.append(rate)
                way.seconds.append(seconds)
                print(f"{way.name:20}{files:10}{rate:10.3f}{seconds:9.1f}{load:6.1f}", flush=True)
    speedup, of_dask, most = two.rate / one.rate, dask.rate / two.rate, apart.rate / one.rate
    print(f"\n{'median':20}{'a second':>10}{'seconds':>9}{'times one core':>16}")
    for way in ways:
        print(f"{way.name:20}{way.rate:10.3f}{statistics.median(way.seconds):9.1f}{way.rate / one.rate:16.2f}")
    print(f"\ntwo cores give {speedup:.2f} times the rate of one (wanted: {LEAST_SPEEDUP} at least)")
    print(
        f"two runs apart give {most:.2f}: of what this machine gives, a run on two cores reaches {speedup / most:.2f}"
    )
    print(f"Dask gives {of_dask:.2f} of the default runner's rate (wanted: {LEAST_OF_DASK} at least)\n")
    figures = {
        "documents": given.documents,
        "repeats": given.repeats,
        "runner": given.runner,
        "rates": {way.name: [round(rate, 3) for rate in way.rates] for way in ways},
        "seconds": {way.name: [round(seconds, 1) for seconds in way.seconds] for way in ways},
        "speedup": round(speedup, 3),
        "machine_gives": round(most, 3),
        "of_machine": round(speedup / most, 3),
        "dask_speedup": round(dask.rate / one.rate, 3),
        "of_default": round(of_dask, 3),
    }
    print(json.dumps(figures))
    if given.check and (speedup < LEAST_SPEEDUP or of_dask < LEAST_OF_DASK):
        sys.exit(1)


if __name__ == "__main__":
    main()
