"""A dataset as one HTML file to mail: the review page, to read only, with its data and pictures inside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docflow.buckets import Place
from docflow.errors import DocumentError
from docflow.server.index import Entry, Index
from docflow.server.originals import Originals
from docflow.server.static_files import SCRIPTS, static_file
from docflow.server.views import document_view
from docflow.settings import Settings
from docflow.storage.parts import write_whole

_SIDE, _QUALITY = 1_000, 60
"""Pixels and JPEG quality of a page: about 80 kB, and still legible."""
_PAGES = 5
"""Pages of one document that are shown: those with values on them first."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What a report holds: documents and pages shown, documents of the dataset, bytes, and sources without pictures."""

    documents: int
    of: int
    pages: int
    size: int
    without_picture: int


def write_report(
    out: Place,
    file: Place,
    *,
    limit: int,
    program: str | None,
    status: str | None,
    folder: Path | None,
    settings: Settings,
) -> Reported:
    """Write the ``limit`` documents that docflow is least sure of. Raises UsageError or StorageError."""
    index = Index(out)
    matching = [entry for entry in index if program in (None, entry.program) and status in (None, entry.status)]
    shown = matching[:limit]
    documents: list[dict[str, Any]] = []
    images: dict[str, dict[int, str]] = {}
    missing = 0
    with Originals(out, settings, folder) as originals:
        for entry in shown:
            view = document_view(entry, index.row(entry), index.corrections)
            documents.append(view)
            try:
                images[entry.key] = {page: _picture(originals, entry, page) for page in _pages(view)}
            except DocumentError:
                missing += 1
    counted = [entry for entry in shown if entry.status != "failed"]
    queue = {
        "name": out.absolute().name,
        "matching": len(matching),
        "documents": len(counted),
        "reviewed": sum(entry.state == "done" for entry in counted),
        "marked": any(entry.needs_review is not None for entry in counted),
        "programs": Counter(entry.program for entry in shown),
        "statuses": Counter(entry.status for entry in shown),
    }
    content = _html({"queue": queue, "documents": documents, "images": images}).encode()
    write_whole(file, content)
    return Reported(len(shown), len(matching), sum(map(len, images.values())), len(content), missing)


def _picture(originals: Originals, entry: Entry, page: int) -> str:
    jpeg = originals.image(entry.document_id, entry.sources, page, _SIDE, _QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _pages(view: dict[str, Any]) -> list[int]:
    """The pages to show, in order: the first one, then those that values were found on."""
    leaves = [leaf for group in view["groups"] for leaf in group.get("leaves", ())]
    leaves += [leaf for group in view["groups"] for row in group.get("rows", ()) for leaf in row["leaves"]]
    found = Counter(place["page"] for leaf in leaves for place in leaf["boxes"])
    numbers = [page["number"] for page in view["pages"]]
    best = sorted(numbers, key=lambda number: (number != numbers[0], -found[number], number))
    return sorted(best[:_PAGES])


def _html(data: dict[str, Any]) -> str:
    """The page with everything in it. Its policy lets it run its own script and style, and ask for nothing."""
    style = static_file("review.css")
    script = "\n".join(static_file(name).replace('"use strict";\n', "", 1) for name in SCRIPTS)
    script = f'"use strict";\n{script}'
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    # Inside a script element only these characters could end it, or begin a comment.
    text = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    page = static_file("review.html")
    page = page.replace("<title>", f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<title>', 1)
    page = page.replace('<link rel="stylesheet" href="static/review.css">', f"<style>{style}</style>", 1)
    start, end = page.index('<script src="'), page.rindex("</script>") + len("</script>")
    data_script = f'<script type="application/json" id="report-data">{text}</script>'
    return f"{page[:start]}{data_script}\n<script>{script}</script>{page[end:]}"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
