"""How well files of several documents are split: ``python tests/bench/split.py [--count N] [--seed S] [--check]``.

Makes bundles of two to six documents each (see samples/maker/bundles.py) with a seed that was never used, and finds
their documents with the embedded engine. A bundle is right when every document has just its pages; precision and recall
are those of the places where a document begins after another one. Prints a table, and one JSON object as its last line.
With ``--check`` the exit code is 1 when a figure is below what it must be.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "samples"))

from maker.bundles import Bundle, bundle

from docflow.documents import Decoder
from docflow.documents.sources import from_bytes
from docflow.engines import create
from docflow.extraction.splitting import Part, find_parts
from docflow.reading import Reader
from docflow.settings import DecodeLimits, ExtractionSettings, ReadingSettings

LEAST = {"all/f1": 0.95, "scanned/f1": 0.90}


def main() -> int:
    options = _options()
    started = time.perf_counter()
    groups: dict[str, Counter[str]] = {"all": Counter(), "text": Counter(), "scanned": Counter()}
    wrong = []
    for made, parts in _split(options.seed, options.count):
        found = [(part.pages[0].number, part.pages[-1].number) for part in parts]
        counts = _counted(made, found)
        for name in ("all", "scanned" if made.scanned else "text"):
            groups[name].update(counts)
        if not counts["right bundles"]:
            wrong.append(
                f"{made.name}: {found} for {list(made.parts)}, surest {max(part.confidence for part in parts)}"
            )
    figures: dict[str, Any] = {name: _scores(counts) for name, counts in groups.items() if counts["bundles"]}
    missed = [
        key
        for key, least in LEAST.items()
        if (group := figures.get(key.split("/")[0])) is not None and group[key.split("/")[1]] < least
    ]
    figures |= {"seed": options.seed, "seconds": round(time.perf_counter() - started, 1), "missed": missed}
    print(f"{'':8} {'bundles':>8} {'right':>6} {'borders':>8} {'precision':>10} {'recall':>7} {'f1':>6}")
    for name in groups:
        if name in figures:
            one = figures[name]
            print(
                f"{name:8} {one['bundles']:8} {one['right_bundles']:6.2f} {one['borders']:8} "
                f"{one['precision']:10.3f} {one['recall']:7.3f} {one['f1']:6.3f}"
            )
    print("\n".join(wrong))
    print(json.dumps(figures))
    return 1 if missed and options.check else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, metavar="N", help="bundles")
    never_used = random.SystemRandom().randrange(10**6, 10**9)
    parser.add_argument("--seed", type=int, default=never_used, help="of the bundles (a new one each time)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a figure is not what it must be")
    return parser.parse_args()


def _split(seed: int, count: int) -> list[tuple[Bundle, list[Part]]]:
    engine, settings = create("embedded"), ExtractionSettings()
    reading = ReadingSettings()
    decoder = Decoder(DecodeLimits(), workers=1, pdf_dpi=reading.pdf_dpi, max_side=reading.max_side)
    found = []
    with tempfile.TemporaryDirectory(prefix="docflow-split-") as cache:
        reader = Reader(reading, Path(cache), 1, threads=1)
        try:
            for number in range(count):
                made = bundle(seed, number)
                document = decoder.open(from_bytes(made.content)).read_with(reader.words)
                found.append((made, find_parts(document, engine, settings)[0]))
        finally:
            reader.close()
            decoder.close()
    return found


def _counted(made: Bundle, found: Sequence[tuple[int, int]]) -> Counter[str]:
    true, said = {first for first, _ in made.parts[1:]}, {first for first, _ in found[1:]}
    return Counter(
        {
            "bundles": 1,
            "right bundles": int(list(made.parts) == list(found)),
            "borders": len(true),
            "right": len(true & said),
            "said": len(said),
        }
    )


def _scores(counts: Counter[str]) -> dict[str, Any]:
    precision = counts["right"] / counts["said"] if counts["said"] else 0.0
    recall = counts["right"] / counts["borders"] if counts["borders"] else 0.0
    return {
        "bundles": counts["bundles"],
        "right_bundles": round(counts["right bundles"] / counts["bundles"], 3),
        "borders": counts["borders"],
        "precision": round(precision, 4),
        "recall": round(recall, 4),
        "f1": round(2 * precision * recall / (precision + recall), 4) if precision + recall else 0.0,
    }


if __name__ == "__main__":
    raise SystemExit(main())
