"""Draw the README's picture: what `docflow show` prints of the sample documents, as SVG.

    python docs/make_pictures.py

Runs docflow on `samples/documents`, so that the picture shows what really comes out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
WIDTH = 118


def main() -> None:
    """Extract the samples' receipts and draw the table of them."""
    docflow = [sys.executable, "-m", "docflow"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        sources = sorted(map(str, (ROOT / "samples" / "documents").glob("receipt-0[0-2]*")))
        subprocess.run([*docflow, "extract", *sources, "--out", out, "-p", "receipt", "--quiet"], check=False, cwd=ROOT)
        environment = {**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        shown = subprocess.run(
            [*docflow, "show", out, "--limit", "12"], check=True, capture_output=True, text=True, env=environment
        ).stdout
        sample = "receipt-019.jpg"
        evidence = subprocess.run(
            [*docflow, "show", out, "--evidence", sample], check=True, capture_output=True, text=True, env=environment
        ).stdout
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
    for command, output in (("docflow show out", shown), (f"docflow show out --evidence {sample}", evidence)):
        console.print(Text(f"$ {command}", style="bold"))
        console.print(Text.from_ansi(output))
    svg = console.export_svg(title="docflow")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no font is fetched from anywhere
    target = ROOT / "docs" / "images" / "show.svg"
    target.parent.mkdir(exist_ok=True)
    target.write_text(svg, encoding="utf-8")
    print(target.relative_to(ROOT))  # noqa: T201 (a script that says what it wrote)


if __name__ == "__main__":
    main()
