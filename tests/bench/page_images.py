"""What it costs the client to make pages ready for a model: docflow's way beside the plain one.

    python tests/bench/page_images.py [FOLDER] [--pages N] [--page-tokens 1280] [--rounds 3]

Over the JPEG scans of FOLDER, and over the project's samples. "docflow" opens each document in a decoder process, fits
the page to the model's grid and encodes it there; the CPU of both processes counts, opening and checking among it.
"plain" decodes the whole image with Pillow, converts it to RGB, resizes it bicubically to the same size and saves the
same kind of JPEG, in this process. "decode only" is docflow's way without its processes. The last line is JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from docflow.documents import Decoder, from_bytes
from docflow.documents.pictures import JPEG_QUALITY, Picture
from docflow.documents.wire import Limits
from docflow.engines.images import fitted_size, page_image

LIMITS = Limits(pixels=100_000_000, pages=100, page_points=14_400, words=200_000, decode_memory_mb=2_048)


def cpu_seconds() -> float:
    """CPU time of this process, of its living children, and of those it has waited for."""
    me = psutil.Process()
    times = me.cpu_times()
    total: float = times.user + times.system + times.children_user + times.children_system
    for child in me.children(recursive=True):
        here = child.cpu_times()
        total += here.user + here.system
    return total


def plain(data: bytes, max_tokens: int) -> int:
    with Image.open(io.BytesIO(data)) as image:
        pixels = image.convert("RGB")
    size = fitted_size(*pixels.size, max_tokens)
    buffer = io.BytesIO()
    pixels.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return len(buffer.getvalue())


def decode_only(data: bytes, max_tokens: int) -> int:
    picture = Picture(data, "image/jpeg", LIMITS, None)
    return len(picture.encoded(0, *fitted_size(*picture.sizes[0], max_tokens)))


def with_decoder(decoder: Decoder) -> Callable[[bytes, int], int]:
    def make(data: bytes, max_tokens: int) -> int:
        return sum(len(page_image(page, max_tokens).data) for page in decoder.open(from_bytes(data)).pages)

    return make


def measured(make: Callable[[bytes, int], int], files: Iterable[bytes], pages: int, args: Any) -> dict[str, float]:
    """CPU and wall milliseconds a page and kilobytes an image, the best of several rounds."""
    cpu, wall, size = [], [], 0
    for _ in range(args.rounds):
        began, clock = cpu_seconds(), time.perf_counter()
        size = sum(make(data, args.page_tokens) for data in files)
        cpu.append(1000 * (cpu_seconds() - began) / pages)
        wall.append(1000 * (time.perf_counter() - clock) / pages)
    return {"cpu_ms": round(min(cpu), 2), "wall_ms": round(min(wall), 2), "kB": round(size / pages / 1000, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--pages", type=int, default=60, help="about so many files of a folder, evenly spread")
    parser.add_argument("--page-tokens", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    samples = Path(__file__).parents[2] / "samples" / "documents"
    sets = {"JPEG samples": sorted(samples.glob("*.jpg")), "PDF samples": sorted(samples.glob("*.pdf"))}
    if args.folder is not None:
        sets = {f"scans of {args.folder.name}": sorted(args.folder.glob("*.jpg")), **sets}

    table = Table(
        "pages", "count", "kB a file", "way", "CPU ms a page", "wall ms a page", "kB an image", "CPU, of plain"
    )
    found: dict[str, Any] = {}
    with Decoder(workers=1, page_tokens=args.page_tokens) as decoder:
        decoder.open(from_bytes(_first_good(decoder, sets["JPEG samples"])))  # starting a process is not a page's cost
        for name, paths in sets.items():
            files = {path: path.read_bytes() for path in paths[:: max(1, len(paths) // args.pages)]}
            counts = {path: _pages(decoder, data) for path, data in files.items()}
            good = [data for path, data in files.items() if counts[path]]
            pages = sum(counts.values())
            ways: dict[str, Callable[[bytes, int], int]] = {"docflow": with_decoder(decoder)}
            if not name.startswith("PDF"):
                ways |= {"decode only": decode_only, "plain": plain}
            rows = {way: measured(make, good, pages, args) for way, make in ways.items()}
            if "plain" in rows:
                for row in rows.values():
                    row["ratio"] = round(row["cpu_ms"] / rows["plain"]["cpu_ms"], 3)
            per_file = statistics.mean(len(data) for data in good) / 1000
            for way, row in rows.items():
                ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
                figures = f"{row['cpu_ms']:.1f}", f"{row['wall_ms']:.1f}", f"{row['kB']:.0f}", ratio
                table.add_row(name, str(pages), f"{per_file:.0f}", way, *figures)
            found[name] = {"pages": pages, "kB_a_file": round(per_file, 1), **rows}
    Console(width=120).print(table)
    print(json.dumps({"page_tokens": args.page_tokens, "sets": found}))


def _pages(decoder: Decoder, data: bytes) -> int:
    """The pages of a document; 0 for one that cannot be opened (some samples are damaged on purpose)."""
    from docflow.errors import DocumentError

    try:
        return len(decoder.open(from_bytes(data)).pages)
    except DocumentError:
        return 0


def _first_good(decoder: Decoder, paths: Iterable[Path]) -> bytes:
    return next(data for data in (path.read_bytes() for path in paths) if _pages(decoder, data))


if __name__ == "__main__":
    main()
