"""Read receipts that docflow-tiny never saw, and print what was right: ``python .../evaluate.py ENGINE [--count N]``.

``ENGINE`` is ``vllm=URL``, ``sglang=URL`` or ``transformers=FOLDER``; docflow's own programs do the reading. Prints one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from tiny_reader.evaluation import HELD_OUT, LOOKS, PROGRAMS, evaluate

from docflow.errors import DocflowError


def main() -> int:
    parser = argparse.ArgumentParser(description="Read receipts that docflow-tiny never saw, and print what was right.")
    parser.add_argument("engine", metavar="ENGINE", help="vllm=URL, sglang=URL or transformers=FOLDER")
    parser.add_argument("--count", type=int, default=100, help="how many receipts are read (100)")
    parser.add_argument("--program", choices=tuple(PROGRAMS), default="receipt", help="what is asked (receipt)")
    parser.add_argument("--look", choices=LOOKS, default="grid", help="of the pages (grid)")
    parser.add_argument("--held-out", default=HELD_OUT, metavar="SEED", help="which receipts are read")
    options = parser.parse_args()
    try:
        score = evaluate(options.engine, options.count, options.program, options.look, options.held_out)
    except DocflowError as error:
        print(error, *([error.hint] if error.hint else []), sep="\n", file=sys.stderr)
        return 2
    print(json.dumps(score.as_dict(), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
