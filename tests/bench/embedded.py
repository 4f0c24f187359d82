"""How fast and how large docflow is with its embedded engine, against the bare libraries under it.

    python tests/bench/embedded.py [DATA] [--check] [--quick N] [--only NAME ...]

DATA is a folder with images of receipts, and PDFs with a text layer where it has some (default: the project's samples).
Every figure is a ratio of two things measured in turns in one run, so that a busy or slow machine does to both the
same; each is the best or the median of a few repeats, as said beside it. Prints a table and, as its last line, one
JSON object. ``--check`` exits with 1 when a figure misses its target; ``--quick N`` uses N receipts in place of 60.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
DOCFLOW = [sys.executable, "-m", "docflow"]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# Everything at its default, as docflow leaves it too: the only setting is the number of threads.
BARE_OCR = """
import sys
from rapidocr import RapidOCR
threads = {"EngineConfig.onnxruntime.intra_op_num_threads": int(sys.argv[1])}
engine = RapidOCR(params={"Global.log_level": "error", **threads})
for path in sys.argv[2:]:
    engine(path)
"""

BARE_OCR_LOOP = """
import sys
from rapidocr import RapidOCR
threads = {"EngineConfig.onnxruntime.intra_op_num_threads": int(sys.argv[1])}
engine = RapidOCR(params={"Global.log_level": "error", **threads})
engine(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for path in sys.argv[2:]:
    engine(path)
"""

BARE_HELP = """
import typer

app = typer.Typer()

@app.command()
def greet(name: str, loud: bool = typer.Option(False, help="Say it loudly.")) -> None:
    "Greet somebody."

app()
"""

BARE_PDF = """
import sys, time
import pypdfium2
started = time.perf_counter()
pages = words = 0
for path in sys.argv[1:]:
    pdf = pypdfium2.PdfDocument(path)
    for page in pdf:
        text_page = page.get_textpage()
        count = text_page.count_chars()
        text = text_page.get_text_range()
        word, box = "", None
        for index in range(count):
            char = text[index] if index < len(text) else " "
            if char.isspace():
                words += bool(word)
                word, box = "", None
                continue
            x0, y0, x1, y1 = text_page.get_charbox(index)
            word += char
            box = (x0, y0, x1, y1) if box is None else (
                min(box[0], x0), min(box[1], y0), max(box[2], x1), max(box[3], y1))
        words += bool(word)
        pages += 1
    pdf.close()
print(pages, words, time.perf_counter() - started)
"""

DOCFLOW_PDF = """
import sys, time
from pathlib import Path
from docflow.documents import Decoder, find
with Decoder(workers=1) as decoder:
    items = list(find([Path(path) for path in sys.argv[1:]]))
    decoder.open(items[0])
    started = time.perf_counter()
    pages = words = 0
    for item in items:
        for page in decoder.open(item).pages:
            pages += 1
            words += len(page.words)
    print(pages, words, time.perf_counter() - started)
"""


@dataclass(slots=True)
class Bench:
    """Where things lie, and what was measured."""

    receipts: list[Path]
    pdfs: list[Path]
    room: Path
    figures: dict[str, float] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    def note(self, name: str, value: float, what: str, target: str = "", ok: bool | None = None) -> None:
        self.figures[name] = round(value, 4)
        if ok is False:
            self.missed.append(name)
        verdict = "" if ok is None else "ok" if ok else "MISSED"
        print(f"  {name:<28} {value:>10.3f}  {target:<8} {verdict:<7} {what}", flush=True)

    def fresh(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.room))

    def environment(self) -> dict[str, str]:
        """A machine on which docflow has never run: no cache, no Prefect database, no settings."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCFLOW_", "PREFECT_"))}
        return {**kept, "DOCFLOW_CACHE_DIR": str(self.fresh("cache")), "HOME": str(self.fresh("home"))}

    def extract(self, *sources: Path, runner: str = "direct", program: str = "receipt") -> float:
        """Seconds that ``docflow extract`` takes over these, from the start of the process to its end."""
        out = self.fresh("out")
        command = [*DOCFLOW, "extract", *map(str, sources), "--out", str(out), "--program", program]
        seconds = timed([*command, "--runner", runner, "--quiet"], self.environment(), self.room, may_fail=True)
        rows = count_rows(out)
        if rows == 0:
            raise SystemExit(f"docflow extract wrote no row: {command}")
        shutil.rmtree(out)
        return seconds


def timed(
    command: Sequence[str],
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
    may_fail: bool = False,
) -> float:
    """Seconds that a command takes. Exit code 1 of docflow (some documents are invalid) counts as done."""
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode > (1 if may_fail else 0) or done.returncode < 0:
        raise SystemExit(f"{command[:4]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return seconds


def count_rows(out: Path) -> int:
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(part).num_rows for part in out.rglob("*.parquet"))


# --- documents a second ---------------------------------------------------------------------------------------------


def throughput(bench: Bench, repeats: int) -> None:
    """docflow over all receipts against the faster of two bare loops, each without its start-up.

    docflow's start-up (and end) is what its time over a few receipts has beside the work: the rate is that of the
    receipts that the long run has more than the short one. The bare loops are timed from their first page on, after
    import, loading and one page to warm up, over the same receipts.
    """
    few = max(CORES, 4)
    rest = bench.receipts[few:]
    short, whole = folder_of(bench, bench.receipts[:few], "few"), folder_of(bench, bench.receipts, "all")
    ours: dict[str, list[float]] = {"direct": [], "prefect": []}
    start: dict[str, list[float]] = {"direct": [], "prefect": []}
    bare: dict[tuple[int, int], list[float]] = {(1, CORES): [], (CORES, 1): []}
    for _ in range(repeats):
        for layout, seconds in bare.items():
            seconds.append(bare_loop(*layout, rest))
        for runner in ours:
            ours[runner].append(bench.extract(whole, runner=runner))
            start[runner].append(bench.extract(short, runner=runner))
    best_bare = max(len(rest) / min(seconds) for seconds in bare.values())
    for (processes, threads), seconds in bare.items():
        bench.note(
            f"bare_{processes}x{threads}", len(rest) / min(seconds), f"receipts/s, {processes} x {threads} threads"
        )
    for runner, seconds in ours.items():
        rate = len(rest) / (min(seconds) - min(start[runner]))
        what = f"receipts/s over the bare loop ({rate:.3f}/s; whole run {len(bench.receipts) / min(seconds):.3f}/s)"
        ratio = rate / best_bare
        bench.note(f"receipts_{runner}", ratio, what, ">= 0.95", ratio >= 0.95)


def folder_of(bench: Bench, files: Sequence[Path], name: str) -> Path:
    folder = bench.fresh(name)
    for file in files:
        os.link(file, folder / file.name)
    return folder


def bare_loop(processes: int, threads: int, files: Sequence[Path]) -> float:
    """Seconds for the files, dealt out to the processes, from when all of them are warm to when the last is done."""
    running = []
    for number in range(processes):
        share = [str(file) for file in files[number::processes]]
        command = [sys.executable, "-c", BARE_OCR_LOOP, str(threads), *share]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in running:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the bare OCR loop did not start")
    started = time.perf_counter()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        process.communicate()
    return time.perf_counter() - started


# --- from cold ------------------------------------------------------------------------------------------------------


def cold(bench: Bench, repeats: int) -> None:
    """One receipt: docflow with nothing cached, against a bare RapidOCR script."""
    one = bench.receipts[0]
    ours, bare = [], []
    for _ in range(repeats):
        bare.append(timed([sys.executable, "-c", BARE_OCR, str(CORES), str(one)]))
        ours.append(bench.extract(one))
    seconds, script = statistics.median(ours), statistics.median(bare)
    ratio = seconds / script
    what = f"one receipt from cold over a bare script ({seconds:.2f} s / {script:.2f} s, medians of {repeats})"
    bench.note("cold_direct", ratio, what, "<= 2.0", ratio <= 2.0)
    flow = bench.extract(one, runner="prefect")
    bench.note("cold_flow_seconds", flow, "the same through the flow, on a fresh PREFECT_HOME")


def help_text(bench: Bench, repeats: int) -> None:
    """``docflow --help`` against that of a Typer app with one command."""
    ours, bare = [], []
    for _ in range(repeats):
        bare.append(timed([sys.executable, "-c", BARE_HELP, "--help"]))
        ours.append(timed([*DOCFLOW, "--help"], bench.environment()))
    seconds, plain = statistics.median(ours), statistics.median(bare)
    ratio = seconds / plain
    what = f"--help over that of a small Typer app ({seconds:.3f} s / {plain:.3f} s, medians of {repeats})"
    bench.note("help", ratio, what, "<= 1.5", ratio <= 1.5)


# --- text layers ----------------------------------------------------------------------------------------------------


def text_layers(bench: Bench, repeats: int) -> None:
    """Pages with a text layer: docflow's decoder, and the whole of ``docflow extract``, against a bare loop."""
    files = [str(path) for path in bench.pdfs]
    bare, decoder, whole, few = [], [], [], []
    start = bench.pdfs[:4]
    all_folder, few_folder = folder_of(bench, bench.pdfs, "pdfs"), folder_of(bench, start, "few-pdfs")
    for _ in range(repeats):
        bare.append(read_pages(BARE_PDF, files))
        decoder.append(read_pages(DOCFLOW_PDF, files))
        whole.append(bench.extract(all_folder, program="invoice"))
        few.append(bench.extract(few_folder, program="invoice"))
    pages, words, seconds = min(bare, key=lambda figures: figures[2])
    our_pages, our_words, our_seconds = min(decoder, key=lambda figures: figures[2])
    if our_pages != pages:
        raise SystemExit(f"docflow found {our_pages} pages, pypdfium2 {pages}")
    ratio = seconds / our_seconds
    what = f"pages/s decoded over a bare pypdfium2 loop ({pages / our_seconds:.0f}/s / {pages / seconds:.0f}/s; "
    what += f"{our_words:.0f} / {words:.0f} words)"
    bench.note("pdf_pages", ratio, what, ">= 0.5", ratio >= 0.5)
    started_pages = pages * len(start) / len(files)
    rate = (pages - started_pages) / (min(whole) - min(few))
    what = f"pages/s of docflow extract over the same loop ({rate:.0f}/s, without start-up)"
    bench.note("pdf_pages_extracted", rate / (pages / seconds), what)


def read_pages(script: str, files: Sequence[str]) -> tuple[float, float, float]:
    """Pages, words and seconds that a script prints."""
    done = subprocess.run([sys.executable, "-c", script, *files], capture_output=True, text=True, check=True)
    pages, words, seconds = map(float, done.stdout.split())
    return pages, words, seconds


# --- memory ---------------------------------------------------------------------------------------------------------


def memory(bench: Bench, documents: int) -> None:
    """The most memory that docflow and its processes hold at ten times as many documents, against a tenth."""
    peaks: dict[str, list[float]] = {}
    for runner in ("direct", "prefect"):
        for count in (documents // 10, documents):
            folder = bench.fresh("small")
            for number in range(count):
                (folder / f"{number:05}.pdf").write_bytes(small_pdf(number))
            out = bench.fresh("out")
            command = [*DOCFLOW, "extract", str(folder), "--out", str(out), "--program", "invoice", "--runner", runner]
            peaks.setdefault(runner, []).append(peak_memory([*command, "--quiet"], bench.environment(), bench.room))
            if count_rows(out) != count:
                raise SystemExit(f"{count_rows(out)} rows of {count} documents")
        few, many = peaks[runner]
        ratio = many / few
        what = f"peak memory at {documents} documents over that at {documents // 10} ({many:.0f} / {few:.0f} MiB)"
        bench.note(f"memory_{runner}", ratio, what, "<= 1.2", ratio <= 1.2)


FONTS = "/Resources << /Font << /F1 5 0 R >> >>"


def small_pdf(number: int) -> bytes:
    """A page with a few lines of text, another one for every number."""
    lines = ["Green Garden Ltd", f"Invoice number {number:06}", "Date 12.03.2024", f"Total {number / 100:.2f} EUR"]
    text = "BT /F1 12 Tf 72 720 Td 18 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R {FONTS} >>",
        f"<< /Length {len(text)} >>\nstream\n{text}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data = b"%PDF-1.4\n"
    places = []
    for index, content in enumerate(objects, 1):
        places.append(len(data))
        data += f"{index} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer << /Size {len(objects) + 1} /Root 1 0 R >>\n"
    )
    return data + f"{end}startxref\n{len(data)}\n%%EOF\n".encode()


def peak_memory(command: Sequence[str], environment: dict[str, str], folder: Path) -> float:
    """The most memory of a command and all below it at one time, in MiB (resident, shared pages counted in part)."""
    peak = 0.0
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not ended.wait(0.1):
            peak = max(peak, sum(memory_of(pid) for pid in family(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    ended.set()
    watcher.join()
    if code not in (0, 1):
        raise SystemExit(f"{command} ended with {code}")
    return peak / 1024


def family(pid: int) -> Iterator[int]:
    """A process and all that it started, and they."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def memory_of(pid: int) -> float:
    """KiB of one process; what it shares with others is counted in part, so that a sum counts it once."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1])
    except OSError:  # it ended meanwhile
        pass
    return 0.0


# --- what to measure with -------------------------------------------------------------------------------------------


def gather(data: Path, room: Path, receipts: int, pdfs: int) -> tuple[list[Path], list[Path]]:
    """Copies of the images and text-layer PDFs under DATA, as many as asked for, no two with the same bytes."""
    found = sorted(path for path in data.rglob("*") if path.suffix.lower() in IMAGES)
    images = [path for path in found if path.parent.name in ("img", "receipts")] or [
        path for path in found if "receipt" in path.name.lower()
    ]
    images = images or found
    if not images:
        raise SystemExit(f"{data} holds no image")
    layered = [path for path in sorted(data.rglob("*.pdf")) if path.parent.name == "invoices"]
    layered = layered or [path for path in sorted(data.rglob("*.pdf")) if has_text_layer(path)]
    if not layered:
        (room / "small.pdf").write_bytes(small_pdf(1))
        layered = [room / "small.pdf"]
    return distinct(images, receipts, room / "receipts"), distinct(layered, pdfs, room / "invoices")


def has_text_layer(path: Path) -> bool:
    import pypdfium2

    try:
        with contextlib.closing(pypdfium2.PdfDocument(path)) as pdf:
            return len(pdf) > 0 and all(page.get_textpage().count_chars() > 50 for page in pdf)
    except pypdfium2.PdfiumError:
        return False


def distinct(files: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """So many copies; where there are too few files, further ones with a comment after their end."""
    folder.mkdir()
    copies = []
    for number in range(count):
        source = files[number % len(files)]
        copy = folder / f"{number:03}-{source.name}"
        copy.write_bytes(source.read_bytes() + (b"\n%% %d\n" % number if number >= len(files) else b""))
        copies.append(copy)
    return copies


SECTIONS: dict[str, Callable[[Bench, argparse.Namespace], None]] = {
    "receipts": lambda bench, asked: throughput(bench, asked.repeats),
    "cold": lambda bench, asked: cold(bench, 5),
    "help": lambda bench, asked: help_text(bench, 9),
    "pdf": lambda bench, asked: text_layers(bench, 3),
    "memory": lambda bench, asked: memory(bench, 1_000),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    samples = Path(__file__).resolve().parents[2] / "samples"
    parser.add_argument("data", nargs="?", type=Path, default=samples, metavar="DATA")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure misses its target")
    parser.add_argument("--quick", type=int, default=60, metavar="N", help="so many receipts in place of 60")
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="how often the receipts are gone through")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="only these figures")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="docflow-bench-") as name:
        room = Path(name)
        bench = Bench(*gather(asked.data.resolve(), room, asked.quick, 60), room)
        print(f"{len(bench.receipts)} receipts of {asked.data}, {CORES} cores")
        for section in asked.only:
            print(f"{section}:", flush=True)
            SECTIONS[section](bench, asked)
    result: dict[str, Any] = {**bench.figures, "cores": CORES, "receipts": len(bench.receipts), "missed": bench.missed}
    print(json.dumps(result))
    if asked.check and bench.missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
