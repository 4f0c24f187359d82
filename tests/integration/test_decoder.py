"""Decoder processes: light, limited, replaced in time, gone with their parent."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from docflow.documents import Decoder, find, from_bytes, from_image
from docflow.engines.images import page_image
from docflow.errors import UnsupportedDocument
from docflow.settings import DecodeLimits
from tests.unit.documents.made import drawn


def numbered(number: int) -> bytes:
    return drawn(lambda canvas: canvas.drawString(20, 150, f"Number {number}"))


def pages_numbered(count: int) -> bytes:
    def draw(canvas: Canvas) -> None:
        for number in range(count):
            canvas.setFillGray(0 if number % 2 else 0.5)
            canvas.rect(0, 0, 300, 200, fill=1)
            canvas.drawString(20, 100, f"page {number}")
            canvas.showPage()

    return drawn(draw)


def test_a_decoder_process_imports_nothing_but_pillow_and_pdfium() -> None:
    script = "import docflow.documents.worker, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    third_party = set(done.stdout.split()) - set(sys.stdlib_module_names)
    assert {"docflow", "PIL", "pypdfium2", "pypdfium2_raw"} <= third_party
    heavy = {"pydantic", "pydantic_settings", "numpy", "sglang", "prefect", "pyarrow", "rapidocr", "typer", "rich"}
    assert not third_party & heavy


def test_a_decoder_takes_its_limits_before_any_document(tmp_path: Path) -> None:
    with Decoder(DecodeLimits(decode_memory_mb=700), workers=1) as decoder:
        decoder.open(from_bytes(numbered(1)))
        limits = Path(f"/proc/{decoder._idle[0].pid}/limits").read_text(encoding="ascii").splitlines()
    soft = {line[:25].strip(): line[26:].split()[0] for line in limits}
    assert soft["Max address space"] == str(700 << 20)
    assert soft["Max file size"] == "0"
    assert soft["Max core file size"] == "0"


def test_a_decoder_knows_no_secret_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    with Decoder(workers=1) as decoder:
        decoder.open(from_bytes(numbered(1)))
        assert b"SOME_API_KEY" not in Path(f"/proc/{decoder._idle[0].pid}/environ").read_bytes()


def test_a_file_in_the_working_directory_is_not_taken_for_a_module(in_tmp: Path) -> None:
    (in_tmp / "json.py").write_text("raise SystemExit('taken')", encoding="utf-8")
    (in_tmp / "PIL.py").write_text("raise SystemExit('taken')", encoding="utf-8")
    with Decoder(workers=1) as decoder:
        assert len(decoder.open(from_bytes(numbered(1))).pages) == 1


def test_many_threads_get_each_their_own_document() -> None:
    with Decoder(workers=2) as decoder, ThreadPoolExecutor(8) as threads:
        decoder.warm()

        def read(number: int) -> tuple[str, tuple[int, int]]:
            page = decoder.open(from_bytes(numbered(number))).pages[0]
            return page.words[1].text, page.render(max_side=100 + number).size

        answers = list(threads.map(read, range(60)))
    assert answers == [(str(n), (100 + n, (100 + n) * 2 // 3)) for n in range(60)]


def test_pages_are_rendered_one_by_one_and_in_any_order() -> None:
    with Decoder(workers=2) as decoder:
        document = decoder.open(from_bytes(pages_numbered(300)))
        assert [page.number for page in document.pages] == list(range(1, 301))
        greys = [document.pages[i].render(max_side=60).getpixel((50, 10)) for i in (299, 0, 150, 1)]
    assert [grey[0] // 100 for grey in greys] == [0, 1, 1, 0]  # type: ignore[index]


def test_a_decoder_is_replaced_after_so_many_documents() -> None:
    with Decoder(DecodeLimits(recycle_after=3), workers=1) as decoder:
        pids = []
        for number in range(6):
            decoder.warm()
            pids.append(decoder._idle[0].pid)
            decoder.open(from_bytes(numbered(number)))
    assert pids[0] == pids[1] == pids[2] != pids[3] == pids[4] == pids[5]


def test_identical_bytes_have_one_id_whatever_their_name(tmp_path: Path) -> None:
    data = numbered(1)
    for name in ("a.pdf", "b.jpg"):
        (tmp_path / name).write_bytes(data)
    with Decoder(workers=1) as decoder:
        one, other = [decoder.open(item) for item in find(tmp_path)]
    assert one.id == other.id
    assert (one.source, other.source) == ("a.pdf", "b.jpg")
    assert one.media_type == other.media_type == "application/pdf"


def test_an_image_document_is_one_page_in_pixels() -> None:
    with Decoder(workers=1) as decoder:
        document = decoder.open(from_image(Image.new("RGB", (640, 480), "red"), name="red"))
        (page,) = document.pages
        assert (document.source, document.media_type) == ("red", "image/png")
        assert (page.unit, page.width, page.height, page.rotation, page.text_layer) == ("px", 640, 480, 0, False)
        assert page.render().size == (640, 480)
        image = page.render(max_side=320, max_pixels=10_000)
        assert (image.mode, image.size) == ("RGB", (115, 86))
        assert image.getpixel((50, 50)) == (255, 0, 0)


def test_a_page_is_encoded_in_a_decoder_the_same_after_that_was_replaced() -> None:
    with Decoder(workers=1) as decoder:
        documents = [
            decoder.open(from_image(Image.new("RGB", (900, 700), "red"))),
            decoder.open(from_bytes(numbered(1))),
        ]
        first = [page_image(document.pages[0]) for document in documents]
        decoder._idle[0].kill()
        again = [
            document.pages[0].encode(image.width, image.height)
            for document, image in zip(documents, first, strict=True)
        ]
    assert [image.data for image in first] == again
    for image in first:
        with Image.open(io.BytesIO(image.data), formats=["JPEG"]) as opened:
            assert opened.size == (image.width, image.height)


def test_decoders_are_up_soon_and_do_not_keep_their_parent_waiting() -> None:
    with Decoder(workers=2) as decoder:
        started = time.perf_counter()
        decoder.warm()
        warm = time.perf_counter() - started
        decoder.open(from_bytes(numbered(1)))
        first = time.perf_counter() - started
    assert warm < 0.25
    assert first < 2  # a tenth of that on an idle machine


def test_decoders_end_with_their_parent() -> None:
    script = (
        "import os, signal\n"
        "from docflow.documents import Decoder\n"
        "decoder = Decoder(workers=2); decoder.warm()\n"
        "print(*[process.pid for process in decoder._idle], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    left = [int(pid) for pid in done.stdout.split()]
    assert len(left) == 2
    while left and time.monotonic() < deadline:
        left = [pid for pid in left if _runs(pid)]
        time.sleep(0.05)
    assert left == []


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_ctrl_c_in_the_terminal_does_not_reach_the_decoders() -> None:
    with Decoder(workers=1) as decoder:
        decoder.warm()
        pid = decoder._idle[0].pid
        assert os.getpgid(pid) != os.getpgrp()
        decoder.open(from_bytes(numbered(1)))
        os.kill(pid, signal.SIGINT)
        time.sleep(0.05)
        decoder.open(from_bytes(numbered(2)))
        assert decoder._idle[0].pid == pid


@pytest.mark.skipif(find_spec("pi_heif") is not None, reason="the extra is installed")
def test_heic_without_its_extra_says_what_to_install() -> None:
    with Decoder(workers=1) as decoder, pytest.raises(UnsupportedDocument, match="HEIC") as caught:
        decoder.open(from_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)))
    assert "docflow[heic]" in caught.value.hint
