"""What a run costs where there are very many documents.

    python tests/bench/scale.py [entries] [bucket] [flow] [--check]

- entries: 1,000,000 small files and a dataset that has a row for each; a run has to find out that nothing is to do.
  No file may be opened for that (every opening in the process is counted).
- bucket: the same from a bucket of a server of the S3 protocol on the loopback, listed page by page. The server lists
  its whole bucket again for every page, so there are fewer keys; no object may be asked for.
- flow: 100,000 small images through ``docflow extract`` with the scripted engine: as a Prefect flow of a tenth of them,
  as a flow of all, and of all without Prefect. Prefect's share is what the flow takes longer than the run without it,
  as a part of the flow's whole time, start and end of the commands among it. Then a DuckDB query over the result.

Each run is a process of its own. Prints tables and, as its last line, a JSON object. ``--check`` exits with 1 when a
figure is out of its bounds. Needs room for a million small files (4 GiB, a million inodes), looked for beforehand.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

A_FOLDER = 1_000
"""Files in one folder."""
A_PART = 100
"""Rows in one part: as many as a chunk has at most."""
BLOCK = 4096
"""What a small file takes of the disk, in bytes."""
PNG = b"\x89PNG\r\n\x1a\n"
QUERY = "SELECT status, count(*) AS documents, sum(record.total) AS total FROM records GROUP BY status"
BOUNDS: dict[str, tuple[float, float]] = {
    "entries.seconds_a_million": (0, 60),
    "entries.memory_mib": (0, 1024),
    "entries.opened": (0, 0),
    "bucket.opened": (0, 0),
    "bucket.read": (0, 0),
    "flow.prefect_share": (-1, 0.10),
    "flow.memory_ratio": (0, 1.25),
    "flow.query_seconds": (0, 1.0),
}
"""The least and the most that each figure may be."""


# --- what is done already -----------------------------------------------------------------------------------------


def make_entries(entries: int, root: Path, *, bucket: bool) -> None:
    """The files and the dataset."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from docflow.storage import parts
    from docflow.storage.rows import program_schema, row_of, storable
    from tests.unit.storage.results import Results

    schema = program_schema(Results.bill)
    result, record = storable(
        Results.valid("source", requested_engine="scripted", requested_model="scripted"), schema.field("record").type
    )
    table = pa.Table.from_pylist([row_of(result, record, "one")] * A_PART, schema=schema)
    folder = Path(str(parts.program_folder(root / "out", "bill")))
    folder.mkdir(parents=True)
    for first in range(0, entries, A_PART):
        sources, ids = [], []
        for number in range(first, min(first + A_PART, entries)):
            source = f"{number // A_FOLDER:04}/{number:07}.png"
            path = root / "scans" / source
            if number % A_FOLDER == 0:
                path.parent.mkdir(parents=True)
            content = PNG + number.to_bytes(8, "big")
            path.write_bytes(content)
            sources.append(source)
            ids.append(hashlib.sha256(content).hexdigest())
        part = table.slice(0, len(ids))
        for name, values in (("source", sources), ("document_id", ids)):
            part = part.set_column(schema.get_field_index(name), schema.field(name), pa.array(values))
        # Not synced: making the dataset is not what is measured.
        pq.write_table(part.replace_schema_metadata(schema.metadata), folder / f"part-{first:08}.parquet")
    if not bucket:
        time.sleep(2.5)  # younger files are not believed to be settled


def fill_index(root: Path, source: str) -> None:
    """The index of files as a run leaves it that read every one."""
    from docflow.documents.sources import find
    from docflow.storage.seen import Seen

    seen = Seen(root / "out")
    for item in find([source]):
        number = int(item.source.rpartition("/")[2].removesuffix(".png"))
        seen.remember(item, hashlib.sha256(PNG + number.to_bytes(8, "big")).hexdigest())
    seen.save()


def skip_all(root: Path, source: str) -> dict[str, Any]:
    """One run over what is done, in this process."""
    from docflow.engines.scripted import ScriptedEngine
    from docflow.runs import RunOptions, execute
    from docflow.settings import load_settings
    from tests.unit.storage.results import Results

    seen: Counter[str] = Counter()
    below = f"{root / 'scans'}/"

    def notice(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            seen["opened"] += os.fsdecode(arguments[0]).startswith(below)
        elif event == "subprocess.Popen":
            seen["processes"] += 1

    sys.addaudithook(notice)
    started, worked = time.perf_counter(), time.process_time()
    run = execute(
        RunOptions(
            sources=(source,),
            program=Results.bill,
            engine=ScriptedEngine(),
            out=root / "out",
            settings=load_settings({"extraction.grounding": "off"}),
        )
    )
    return {
        "skipped": run.skipped,
        "to_do": run.documents,
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(time.process_time() - worked, 2),
        "memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "opened": seen["opened"],
        "processes": seen["processes"],
    }


def in_child(action: str, root: Path, source: str) -> dict[str, Any]:
    """``fill`` or ``skip`` in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.scale", "--child", action, "--scratch", str(root), "--source", source]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[2])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def show_skipped(name: str, one: dict[str, Any]) -> None:
    print(f"{name:24}{'skipped':>10}{'seconds':>9}{'CPU s':>8}{'MiB':>7}{'opened':>8}")
    print(
        f"{'':24}{one['skipped']:>10,}{one['seconds']:>9}{one['cpu_seconds']:>8}{one['memory_mib']:>7,}"
        f"{one['opened']:>8}\n"
    )


def measure_entries(entries: int, root: Path) -> dict[str, Any]:
    began = time.monotonic()
    make_entries(entries, root, bucket=False)
    in_child("fill", root, str(root / "scans"))
    print(f"{entries:,} files, their dataset and its index made in {time.monotonic() - began:.0f} s")
    one = in_child("skip", root, str(root / "scans"))
    show_skipped("files", one)
    assert (one["skipped"], one["to_do"]) == (entries, 0), one
    return one | {"seconds_a_million": round(one["seconds"] * 1e6 / entries, 1)}


def measure_bucket(keys: int, root: Path) -> dict[str, Any]:
    from tests.integration.object_stores import StoreProxy, rclone

    with rclone() as server, StoreProxy(server.url) as proxy, environment(server.environment(proxy.url)):
        assert server.folder is not None
        make_entries(keys, root, bucket=True)
        (root / "scans").rename(server.folder / "scans")
        in_child("fill", root, "s3://scans")
        proxy.requests.clear()
        one = in_child("skip", root, "s3://scans")
        lists = sum("list-type" in request.path for request in proxy.requests)
        one |= {"pages": lists, "read": len(proxy.requests) - lists}
    show_skipped(f"keys, {lists:,} pages", one)
    assert (one["skipped"], one["to_do"]) == (keys, 0), one
    return one


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    kept = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


# --- the whole flow -----------------------------------------------------------------------------------------------


def image(number: int) -> bytes:
    """A PNG of 8 by 8 pixels that no other number has."""
    rows = b"".join(b"\0" + number.to_bytes(8, "big") for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def make_images(count: int, folder: Path) -> None:
    for number in range(count):
        path = folder / f"{number // A_FOLDER:04}" / f"{number:07}.png"
        if number % A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(image(number))


def extract(root: Path, name: str, documents: int, runner: str) -> dict[str, Any]:
    """One ``docflow extract``, and the most memory that it had: of its own process, and with all below it."""
    out = root / name
    replies = root / "replies.jsonl"
    replies.write_text(json.dumps({"company": "Acme Ltd", "date": "2024-03-12", "total": "12.50"}))
    given = {"DOCFLOW_EXTRACTION__GROUNDING": "off", "DOCFLOW_CACHE_DIR": str(root / "cache")}
    command = [sys.executable, "-m", "docflow", "extract", str(root / "images"), "--program", "receipt"]
    command += ["--engine", f"scripted={replies}", "--out", str(out), "--runner", runner, "--limit", str(documents)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT", "DOCFLOW"))}
    began = time.monotonic()
    with (root / f"{name}.log").open("wb") as log:
        process = psutil.Popen(command, env=kept | given, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        own = family = 0.0
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                own = max(own, process.memory_info().rss)
                family = max(family, sum(memory(one) for one in [process, *process.children(recursive=True)]))
            time.sleep(0.5)
    seconds = time.monotonic() - began
    if process.returncode not in (0, 1):
        raise SystemExit(f"docflow ended with {process.returncode}: {(root / f'{name}.log').read_text()[-2000:]}")
    (kept_run,) = (json.loads(path.read_text()) for path in (out / "runs").glob("*.json"))
    assert sum(kept_run["counts"].values()) == documents, kept_run["counts"]
    assert kept_run["runner"] == runner, (root / f"{name}.log").read_text()[-2000:]
    sizes = sorted(path.stat().st_size for path in (out / "records").rglob("*.parquet"))
    return {
        "documents": documents,
        "runner": runner,
        "seconds": round(seconds, 1),
        "working_seconds": kept_run["working_seconds"],
        "documents_a_second": round(documents / kept_run["working_seconds"], 1),
        "memory_mib": round(own / (1 << 20)),
        "family_mib": round(family / (1 << 20)),
        "parts": len(sizes),
        "part_kib": [round(sizes[place] / 1024, 1) for place in (0, len(sizes) // 2, -1)],
    }


def memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def measure_flow(documents: int, root: Path) -> dict[str, Any]:
    make_images(documents, root / "images")
    runs: list[dict[str, Any]] = []
    print(f"{'':10}{'documents':>10}{'seconds':>9}{'a second':>10}{'MiB':>7}{'all MiB':>9}{'parts':>7}{'KiB each':>20}")
    for count, runner in ((documents // 10, "prefect"), (documents, "prefect"), (documents, "direct")):
        one = extract(root, f"out-{len(runs)}", count, runner)
        runs.append(one)
        sizes = "{} .. {} .. {}".format(*one["part_kib"])
        print(
            f"{runner:10}{count:>10,}{one['seconds']:>9}{one['documents_a_second']:>10}{one['memory_mib']:>7,}"
            f"{one['family_mib']:>9,}{one['parts']:>7,}{sizes:>20}",
            flush=True,
        )
        if runner == "direct":
            shutil.rmtree(root / f"out-{len(runs) - 1}")
    few, flow, direct = runs
    queried = in_child("query", root / "out-1", "")
    print(f"\nthe query over {documents:,} rows: {queried['seconds']} s\n")
    return {
        "documents": documents,
        "documents_a_second": flow["documents_a_second"],
        "prefect_share": round((flow["seconds"] - direct["seconds"]) / flow["seconds"], 3),
        "memory_ratio": round(flow["memory_mib"] / few["memory_mib"], 2),
        "query_seconds": queried["seconds"],
        "runs": runs,
    }


def query(out: Path) -> dict[str, Any]:
    """The time of one query over a dataset, without what Python takes to come up."""
    import duckdb  # noqa: F401
    import pyarrow.dataset  # noqa: F401

    import docflow

    read = docflow.open  # imports what it needs
    started = time.perf_counter()
    answer = read(out).query(QUERY).to_pylist()
    return {"seconds": round(time.perf_counter() - started, 2), "rows": sum(row["documents"] for row in answer)}


# --- all of it ----------------------------------------------------------------------------------------------------


def require_room(folder: Path, files: int) -> None:
    """Raises SystemExit where the disk has no room for so many small files."""
    state = os.statvfs(folder)
    room, inodes = state.f_bavail * state.f_frsize, state.f_favail
    if room < files * BLOCK * 1.3 or (state.f_files and inodes < files * 1.1):
        raise SystemExit(
            f"{folder} has {room >> 20:,} MiB and {inodes:,} inodes free, too little for {files:,} files; name another "
            "folder with --scratch, or fewer with --entries and --documents"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="entries|bucket|flow", help="what to measure (default: all)")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--scratch", type=Path, help="where to make the files (default: the system's folder for such)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure is out of its bounds")
    parser.add_argument("--child", choices=["fill", "skip", "query"], help=argparse.SUPPRESS)
    parser.add_argument("--source", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.child, given.scratch, given.source)))
        return 0
    stages = {
        "entries": (measure_entries, given.entries),
        "bucket": (measure_bucket, given.keys),
        "flow": (measure_flow, given.documents),
    }
    if unknown := set(given.what).difference(stages):
        parser.error(f"there is nothing to measure of {', '.join(sorted(unknown))}")
    began = time.monotonic()
    found: dict[str, Any] = {}
    for name in given.what or stages:
        measure, count = stages[name]
        at = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="docflow-scale-", dir=given.scratch) as folder:
            require_room(Path(folder), count)
            found[name] = measure(count, Path(folder).resolve())
        print(f"{name}: {time.monotonic() - at:.0f} s in all\n")
    out_of_bounds = []
    for figure, (least, most) in BOUNDS.items():
        stage, _, name = figure.partition(".")
        if stage in found and not least <= found[stage][name] <= most:
            out_of_bounds.append(f"{figure} is {found[stage][name]}, not {least:g} to {most:g}")
    print("\n".join(out_of_bounds) or "all figures are within their bounds")
    print(json.dumps(found | {"out_of_bounds": out_of_bounds, "seconds": round(time.monotonic() - began, 1)}))
    return 1 if given.check and out_of_bounds else 0


def child(action: str, root: Path, source: str) -> dict[str, Any]:
    if action == "query":
        return query(root)
    if action == "skip":
        return skip_all(root, source)
    fill_index(root, source)
    return {}


if __name__ == "__main__":
    sys.exit(main())
