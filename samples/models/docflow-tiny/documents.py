"""Receipts that docflow-tiny never saw, as files with their truth: ``python .../documents.py DIR [--count N]``.

For ``docflow extract DIR/documents`` and ``docflow eval OUT DIR/truth``. The receipts are of three countries that write
the day first, so that one ``--locale`` says what their dates mean.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from tiny_reader.evaluation import LOOKS, PROGRAMS, held_out, png


def main() -> None:
    parser = argparse.ArgumentParser(description="Write receipts that docflow-tiny never saw, with their truth.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--program", choices=tuple(PROGRAMS), default="receipt", help="whose fields the truth has")
    parser.add_argument("--look", choices=LOOKS, default="grid")
    parser.add_argument("--held-out", default="documents", metavar="SEED", help="which receipts")
    options = parser.parse_args()
    documents, truth = options.folder / "documents", options.folder / "truth"
    documents.mkdir(parents=True, exist_ok=True)
    truth.mkdir(exist_ok=True)
    _, fields = PROGRAMS[options.program]
    wanted = (receipt for receipt in held_out(10 * options.count, options.held_out) if receipt.country != "en_US")
    for number, receipt in enumerate(itertools.islice(wanted, options.count), 1):
        (documents / f"receipt-{number:03}.png").write_bytes(png(receipt, options.look))
        said = {"program": options.program, "record": {name: receipt.record[name] for name in fields}}
        (truth / f"receipt-{number:03}.json").write_text(json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
