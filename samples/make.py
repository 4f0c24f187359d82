"""Make sample documents with their truth: ``python samples/make.py DIR --count N --seed S [--kinds receipt,invoice]``.

The same seed gives the same documents. Needs reportlab (dependency group ``test``) beside docflow's own dependencies.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from maker.collection import KINDS, STARTER, orders, write


def main() -> None:
    parser = argparse.ArgumentParser(description="Make sample documents with their truth.")
    parser.add_argument("folder", type=Path, help="where documents/ and truth/ are written")
    parser.add_argument("--count", type=int, default=48, help="how many documents (48)")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other documents (1)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"comma-separated, of {', '.join(KINDS)} (all)")
    parser.add_argument("--starter", action="store_true", help="the few documents that come with the package")
    options = parser.parse_args()
    kinds = [kind for kind in options.kinds.split(",") if kind]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"no such kind: {', '.join(unknown)}")
    wanted = STARTER if options.starter else orders(options.seed, options.count, kinds)
    paths = write(options.folder, options.seed, wanted)
    print(f"{len(paths)} documents in {options.folder / 'documents'}")


if __name__ == "__main__":
    main()
