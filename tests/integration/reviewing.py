"""A dataset with its documents, to review: pages that Pillow draws, records written by hand."""

from __future__ import annotations

import datetime as dt
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image, ImageDraw

from docflow.documents.model import Box
from docflow.extraction.result import ErrorInfo, Evidence, PageInfo, Result
from docflow.fields import locale_named
from docflow.server.app import review_app
from docflow.server.index import Index
from docflow.server.originals import Originals
from docflow.settings import load_settings
from docflow.storage.store import Store
from tests.unit.storage.results import Results

TOKEN = "t0ken"
WIDTH, HEIGHT = 600, 800
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u202egnp.exe\x07\u0000&amp;"
)
LONG = "Lorem \u05d0\u05d1\u05d2 " * 1_000


def draw(path: Path, pages: int = 1) -> str:
    """A document of so many pages; gives its id."""
    images = []
    for number in range(1, pages + 1):
        image = Image.new("RGB", (WIDTH, HEIGHT), "white")
        ImageDraw.Draw(image).text((60, 60), f"{path.stem}, page {number}: ACME, total 12,50", fill="black")
        images.append(image)
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(path, **({"save_all": True, "append_images": images[1:]} if pages > 1 else {}))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bill(source: str, document_id: str, *, confidence: float = 0.9, pages: int = 1, **changes: Any) -> Result[Any]:
    """A bill whose total stands on its last page, and whose company is of this confidence."""
    company = changes.pop("company", "ACME")
    data = {
        "company": company,
        "date": dt.date(2024, 3, 12),
        "total": Decimal("12.50"),
        "items": changes.pop("items", [{"name": "Tea", "count": Decimal(2)}, {"name": "Cake", "count": Decimal(1)}]),
    }
    evidence = (
        Evidence("company", company, company, 1, Box(60, 50, 200, 80), "exact", confidence),
        Evidence("date", "2024-03-12", "12.3.2024", None, None, "not on the page", 0.95),
        Evidence("total", "12.50", "12,50", pages, Box(300, 50, 400, 80), "normalised", 0.96),
        Evidence("items[0].name", "Tea", "Tea", 1, Box(60, 200, 120, 220), "exact", 0.97),
        Evidence("items[0].count", "2", "2", 1, Box(300, 200, 320, 220), "exact", 0.97),
        Evidence("items[1].name", "Cake", "Cake", 1, Box(60, 230, 120, 250), "exact", 0.97),
        Evidence("items[1].count", "1", "1", 1, Box(300, 230, 320, 250), "exact", 0.97),
    )
    given: dict[str, Any] = {
        "document_id": document_id,
        "pages": tuple(PageInfo(number, WIDTH, HEIGHT, "px", 0, False) for number in range(1, pages + 1)),
        "data": data,
        "evidence": evidence,
    }
    return Results.valid(source, **(given | changes))


def dataset(folder: Path) -> Path:
    """Documents below ``folder/scans``, their rows in ``folder/out``: the least sure is b.png, c.tiff has two pages.

    gone.png was deleted, changed.png is another file now, bad.png failed; evil.png has hostile text in it.
    """
    scans, out = folder / "scans", folder / "out"
    ids = {name: draw(scans / name) for name in ("a.png", "b.png", "gone.png", "changed.png", "evil.png")}
    results = [
        bill("a.png", ids["a.png"]),
        bill("b.png", ids["b.png"], confidence=0.3),
        bill("c.tiff", draw(scans / "c.tiff", 2), pages=2, confidence=0.8),
        bill("gone.png", ids["gone.png"]),
        bill("changed.png", ids["changed.png"]),
        bill("evil.png", ids["evil.png"], company=HOSTILE, items=[{"name": LONG, "count": None}], confidence=0.85),
        Results.failed(
            "bad.png", error=ErrorInfo("decode", "BrokenDocument", f"broken {HOSTILE}", "Get it anew.", False)
        ),
    ]
    store = Store(out, Results.bill, "embedded", "rules", "one")
    store.write([store.row(result)[1] for result in results], ["one"])
    (scans / "gone.png").unlink()
    draw(scans / "changed.png", 1)
    Image.new("RGB", (20, 20), "red").save(scans / "changed.png")
    return out


@contextmanager
def served(out: Path, scans: Path | None) -> Iterator[str]:
    """The review page of a dataset on a server in this process; gives its link."""
    with socket.socket() as listening, Originals(out, load_settings(), scans) as originals:
        listening.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        app = review_app(
            Index(out), originals, token=TOKEN, hosts=frozenset({host}), who="Ann", locale=locale_named("de_DE")
        )
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://{host}/{TOKEN}/"
        finally:
            server.should_exit = True
            thread.join(20)
