"""How long a run takes to find that a large folder is done, and how much memory.

python -m tests.bench.scale --entries 20000

Makes that many small files, each with other bytes, and a dataset that has a row for each. Then two runs over them,
each in a process of its own: one that reads every file, and one that goes by the index of the files that were seen.
Prints a table and, as its last line, a JSON object.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

A_FOLDER = 1_000
"""Files in one folder."""
A_PART = 100
"""Rows in one part: as many as a chunk has at most."""
PNG = b"\x89PNG\r\n\x1a\n"


def make(entries: int, root: Path) -> None:
    """The files and the dataset."""
    import pyarrow as pa

    from docflow.storage import parts
    from docflow.storage.rows import program_schema, row_of, storable
    from tests.unit.storage.results import Results

    schema = program_schema(Results.bill)
    result, record = storable(
        Results.valid("source", requested_engine="scripted", requested_model="scripted"), schema.field("record").type
    )
    table = pa.Table.from_pylist([row_of(result, record, "one")] * A_PART, schema=schema)
    folder = parts.program_folder(root / "out", "bill")
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
        folder.mkdir(parents=True, exist_ok=True)
        # Not synced: making the dataset is not what is measured.
        import pyarrow.parquet as pq

        pq.write_table(part.replace_schema_metadata(schema.metadata), folder / f"part-{first:08}.parquet")


def skip_all(root: Path, *, rehash: bool) -> dict[str, Any]:
    """One run over what is done, in this process."""
    from docflow.engines.scripted import ScriptedEngine
    from docflow.runs import RunOptions, execute
    from docflow.settings import load_settings
    from tests.unit.storage.results import Results

    started = time.perf_counter()
    run = execute(
        RunOptions(
            sources=(root / "scans",),
            program=Results.bill,
            engine=ScriptedEngine(),
            out=root / "out",
            rehash=rehash,
            settings=load_settings({"extraction.grounding": "off"}),
        )
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - started
    return {"skipped": run.skipped, "to_do": run.documents, "seconds": round(seconds, 2), "memory_mb": round(memory)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--dir", type=Path, help="where to make the files (default: the system's folder for such)")
    parser.add_argument("--child", choices=["read", "index"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(skip_all(arguments.dir, rehash=arguments.child == "read")))
        return
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        root = Path(folder)
        began = dt.datetime.now(dt.UTC)
        make(arguments.entries, root)
        print(f"made {arguments.entries:,} files in {(dt.datetime.now(dt.UTC) - began).total_seconds():.0f} s")
        time.sleep(2.5)  # younger files are not believed to be settled
        found = {}
        print(f"{'':28}{'skipped':>10}{'seconds':>10}{'MiB':>8}")
        for how, name in (("read", "every file read"), ("index", "by the index")):
            command = [sys.executable, "-m", "tests.bench.scale", "--dir", str(root), "--child", how]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[how] = json.loads(done.stdout.splitlines()[-1])
            one = found[how]
            print(f"{name:28}{one['skipped']:>10,}{one['seconds']:>10.2f}{one['memory_mb']:>8,}")
    last = found["index"]
    print(
        json.dumps(
            {
                "documents": last["skipped"],
                "seconds": last["seconds"],
                "memory_mb": last["memory_mb"],
                "read_seconds": found["read"]["seconds"],
                "read_memory_mb": found["read"]["memory_mb"],
            }
        )
    )


if __name__ == "__main__":
    main()
