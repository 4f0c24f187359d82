"""What bad input gets: a clear error for the one document, and neighbours that never notice."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from docflow.documents import Decoder, find, from_bytes
from docflow.documents.process import DecoderProcess
from docflow.errors import (
    BrokenDocument,
    DecoderDied,
    DocumentError,
    EncryptedDocument,
    LimitExceeded,
    SourceUnreadable,
    UnsupportedDocument,
    UsageError,
)
from docflow.settings import DecodeLimits
from tests.unit.documents.made import drawn, image_bytes, pdf_of, pdf_page


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(workers=2) as decoder:
        yield decoder


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    )


def bmp_header(width: int, height: int) -> bytes:
    return struct.pack("<2sIHHI", b"BM", 100, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0
    )


def numbered(number: int) -> bytes:
    return drawn(lambda canvas: canvas.drawString(20, 150, f"Number {number}"))


GOOD = drawn(lambda canvas: canvas.drawString(20, 150, "Total 12.50"))
PHOTO = image_bytes(Image.effect_noise((600, 400), 90), "JPEG")

BAD: dict[str, tuple[bytes, type[DocumentError], str]] = {
    "empty.pdf": (b"", BrokenDocument, "empty"),
    "truncated.jpg": (PHOTO[: len(PHOTO) // 2], BrokenDocument, "cut off"),
    "truncated.pdf": (GOOD[: len(GOOD) // 2], BrokenDocument, "cut off"),
    "a letter.jpg": (b"Dear Sir,\n" * 20, UnsupportedDocument, r"named \.jpg, but its content is text"),
    "program.exe": (b"MZ\x90\0\3\0\0\0\4" + bytes(100), UnsupportedDocument, "unknown kind"),
    "archive.tif": (b"PK\x03\x04" + bytes(100), UnsupportedDocument, "ZIP"),
    "encrypted.pdf": (
        drawn(lambda canvas: canvas.drawString(20, 20, "x"), encrypt="secret"),
        EncryptedDocument,
        "password",
    ),
    "no pages.pdf": (
        pdf_of([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"]),
        BrokenDocument,
        "0 pages",
    ),
    "9 million points.pdf": (
        pdf_page(b"", box=b"[0 0 9000000 9000000]"),
        LimitExceeded,
        r"9,000,000 x 9,000,000 points.*limits\.page_points",
    ),
    "no area.pdf": (pdf_page(b"", box=b"[0 0 3 3]"), UnsupportedDocument, "3 x 3 points"),
    "bomb.png": (png_header(60_000, 60_000), LimitExceeded, r"limits\.pixels"),
    "bomb.bmp": (bmp_header(60_000, 60_000), LimitExceeded, r"limits\.pixels"),
    "bomb of one row.png": (png_header(2_000_000_000, 1), LimitExceeded, r"limits\.pixels"),
    "1 x 1.png": (image_bytes(Image.new("L", (1, 1)), "PNG"), UnsupportedDocument, "1 x 1"),
    "only a signature.png": (b"\x89PNG\r\n\x1a\n", BrokenDocument, "damaged"),
    "only a signature.pdf": (b"%PDF-1.7\n", BrokenDocument, "cut off"),
    "nonsense.pdf": (b"%PDF-1.7\n" + bytes(200) + b"startxref\n0\n%%EOF", BrokenDocument, "damaged"),
    "nonsense.webp": (b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(200), BrokenDocument, "damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_are_an_error_that_says_why(decoder: Decoder, name: str) -> None:
    data, kind, message = BAD[name]
    with pytest.raises(kind, match=message) as caught:
        decoder.open(from_bytes(data, name=name))
    assert caught.value.stage == "decode"
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert not caught.value.retryable


def test_bad_documents_in_a_folder_touch_none_of_their_neighbours(tmp_path: Path, decoder: Decoder) -> None:
    for name, (data, _, _) in BAD.items():
        (tmp_path / name).write_bytes(data)
    for number in range(20):
        (tmp_path / f"{number:02} good.pdf").write_bytes(numbered(number))
    pid_before = _pids(decoder)

    def opened(item: object) -> str:
        try:
            return decoder.open(item).pages[0].words[1].text  # type: ignore[arg-type]
        except DocumentError as error:
            return type(error).__name__

    with ThreadPoolExecutor(4) as threads:
        found = list(find(tmp_path))
        answers = dict(zip([item.source for item in found], threads.map(opened, found), strict=True))
    assert [answers[f"{number:02} good.pdf"] for number in range(20)] == [str(number) for number in range(20)]
    taken = {name: kind.__name__ for name, (_, kind, _) in BAD.items() if name != "program.exe"}
    assert {name: answer for name, answer in answers.items() if name in BAD} == taken
    assert _pids(decoder) >= pid_before  # no decoder had to be replaced


def test_a_blank_page_is_a_document_without_words(decoder: Decoder) -> None:
    blank = drawn(Canvas.showPage)
    (page,) = decoder.open(from_bytes(blank)).pages
    assert (page.text_layer, page.words) == (False, ())
    assert page.render(max_side=100).getextrema() == ((255, 255),) * 3
    (page,) = decoder.open(from_bytes(image_bytes(Image.new("L", (200, 300), 255), "PNG"))).pages
    assert (page.text_layer, page.words) == (False, ())


def test_a_pdf_that_only_its_owner_may_change_is_read(decoder: Decoder) -> None:
    data = drawn(lambda canvas: canvas.drawString(20, 20, "open"), encrypt=StandardEncryption("", ownerPassword="x"))
    assert [word.text for word in decoder.open(from_bytes(data)).pages[0].words] == ["open"]


def test_a_large_page_is_rendered_within_the_pixel_limit() -> None:
    data = pdf_page(b"", box=b"[0 0 14000 14000]")
    with Decoder(DecodeLimits(pixels=1_000_000), workers=1) as decoder:
        image = decoder.open(from_bytes(data)).pages[0].render()
    assert image.size == (1_000, 1_000)


def test_a_document_with_too_many_pages_is_refused_by_name_of_the_limit() -> None:
    def draw(canvas: Canvas) -> None:
        for _ in range(4):
            canvas.showPage()

    limits = DecodeLimits(pages=3)
    with Decoder(limits, workers=1) as decoder, pytest.raises(LimitExceeded, match=r"4 pages.*limits\.pages"):
        decoder.open(from_bytes(drawn(draw)))


def test_a_file_that_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "large.pdf"
    with path.open("wb") as file:
        file.truncate(3 << 40)
    with Decoder(workers=1) as decoder:
        with pytest.raises(LimitExceeded, match=r"limits\.file_mb"):
            decoder.open(next(find(path)))
        with pytest.raises(LimitExceeded, match=r"limits\.file_mb"):
            Decoder(DecodeLimits(file_mb=0.001)).open(from_bytes(bytes(2_000)))


def test_a_document_that_needs_more_memory_than_allowed_is_lost_alone() -> None:
    # 100 million pixels of RGBA take 400 MB before anything is done with them.
    bomb = image_bytes(Image.new("RGBA", (10_000, 9_000)), "PNG")
    with Decoder(DecodeLimits(decode_memory_mb=300), workers=1) as decoder:
        with pytest.raises((LimitExceeded, DecoderDied)):
            decoder.open(from_bytes(bomb))
        assert decoder.open(from_bytes(GOOD)).pages[0].words[0].text == "Total"


# --- files that cannot be opened


def test_a_file_that_vanished_is_unreadable(tmp_path: Path, decoder: Decoder) -> None:
    (tmp_path / "a.pdf").write_bytes(GOOD)
    (item,) = find(tmp_path)
    (tmp_path / "a.pdf").unlink()
    with pytest.raises(SourceUnreadable, match="No such file") as caught:
        decoder.open(item)
    assert caught.value.stage == "source"
    assert caught.value.retryable


def test_a_pipe_does_not_hang(tmp_path: Path, decoder: Decoder) -> None:
    os.mkfifo(tmp_path / "pipe.pdf")
    (item,) = find(tmp_path / "pipe.pdf")
    with pytest.raises(UnsupportedDocument, match="no regular file"):
        decoder.open(item)


def test_what_may_not_be_read_is_reported_file_by_file(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "locked").mkdir(parents=True)
    (docs / "locked" / "inside.pdf").write_bytes(GOOD)
    (docs / "mine.pdf").write_bytes(GOOD)
    (docs / "secret.pdf").write_bytes(GOOD)
    (docs / "secret.pdf").chmod(0)
    (docs / "locked").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o755)
    script = (
        "import os, sys\n"
        "from docflow.documents import Decoder, find\n"
        "from docflow.errors import DocumentError\n"
        "with Decoder(workers=1) as decoder:\n"
        "    decoder.warm()\n"
        "    if os.geteuid() == 0: os.seteuid(65534)\n"
        "    for item in find(sys.argv[1]):\n"
        "        try: print(item.source, len(decoder.open(item).pages))\n"
        "        except DocumentError as error: print(item.source, type(error).__name__)\n"
        "    os.seteuid(os.getuid())\n"
    )
    try:
        done = subprocess.run([sys.executable, "-c", script, str(docs)], capture_output=True, text=True, check=True)
    finally:
        (docs / "locked").chmod(0o755)
    assert done.stdout.splitlines() == ["mine.pdf 1", "secret.pdf SourceUnreadable", "locked/ SourceUnreadable"]


def test_names_with_odd_characters_and_invalid_utf8_are_read(tmp_path: Path, decoder: Decoder) -> None:
    names = [b"caf\xe9.pdf", "영수증 #1?.pdf".encode(), b"new\nline.pdf", b"-rf.pdf", b"%41.pdf", b" .pdf"]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(GOOD)
    documents = [decoder.open(item) for item in find(tmp_path)]
    assert sorted(document.source for document in documents) == sorted(
        ["caf%E9.pdf", "영수증 #1?.pdf", "new%0Aline.pdf", "-rf.pdf", "%2541.pdf", " .pdf"]
    )
    assert len({document.id for document in documents}) == 1


def test_a_folder_that_links_to_itself_is_read_once(tmp_path: Path, decoder: Decoder) -> None:
    (tmp_path / "a.pdf").write_bytes(GOOD)
    (tmp_path / "again").symlink_to(tmp_path)
    assert [decoder.open(item).source for item in find(tmp_path)] == ["a.pdf"]


def test_a_large_file_that_changes_between_opening_and_rendering_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "scan.bmp"
    image_bytes_before = image_bytes(Image.new("RGB", (1_500, 1_000)), "BMP")
    path.write_bytes(image_bytes_before)
    with Decoder(workers=1, max_side=100) as decoder:
        (page,) = decoder.open(next(find(path))).pages
        assert page.render(max_side=50).size == (50, 33)
        path.write_bytes(image_bytes(Image.new("RGB", (1_500, 1_000), "red"), "BMP"))
        for number in range(10):  # so many that the decoder lets the first go
            decoder.open(from_bytes(numbered(number)))
        with pytest.raises(BrokenDocument, match="changed"):
            page.render(max_side=50)


# --- decoders that hang or die


def _processes(decoder: Decoder) -> list[DecoderProcess]:
    return list(decoder._idle)


def _pids(decoder: Decoder) -> set[int]:
    return {process.pid for process in _processes(decoder)}


def test_a_decoder_that_hangs_is_stopped_in_time_and_its_neighbours_go_on() -> None:
    with Decoder(DecodeLimits(decode_seconds=1), workers=2) as decoder:
        decoder.warm()
        for process in _processes(decoder)[1:]:  # the one that is taken first
            os.kill(process.pid, signal.SIGSTOP)
        started = time.monotonic()
        with ThreadPoolExecutor(4) as threads:
            results = [threads.submit(decoder.open, from_bytes(GOOD)) for _ in range(12)]
            errors = [error for result in results if (error := result.exception()) is not None]
        assert time.monotonic() - started < 10
        assert [type(error) for error in errors] == [DecoderDied]
        assert "limits.decode_seconds" in str(errors[0])
        assert errors[0].retryable  # type: ignore[attr-defined]


def test_a_decoder_that_hangs_while_it_is_sent_a_large_document_is_stopped_too() -> None:
    with Decoder(DecodeLimits(decode_seconds=0.5), workers=1) as decoder:
        decoder.warm()
        os.kill(_processes(decoder)[0].pid, signal.SIGSTOP)
        with pytest.raises(DecoderDied, match="decode_seconds"):
            decoder.open(from_bytes(image_bytes(Image.effect_noise((3_000, 3_000), 90), "BMP")))


def test_a_decoder_that_is_killed_in_the_middle_of_a_document_loses_that_one_alone() -> None:
    def draw(canvas: Canvas) -> None:
        for number in range(300):
            canvas.drawString(20, 100, f"page {number}")
            canvas.showPage()

    large = drawn(draw)
    with Decoder(workers=2) as decoder:
        decoder.warm()
        victim = _processes(decoder)[-1]
        os.kill(victim.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(2) as threads:
            lost = threads.submit(decoder.open, from_bytes(large))
            while victim in _processes(decoder):  # until the document is the victim's
                time.sleep(0.01)
            kept = [threads.submit(decoder.open, from_bytes(GOOD)) for _ in range(5)]
            os.kill(victim.pid, signal.SIGKILL)
            with pytest.raises(DecoderDied, match="killed"):
                lost.result()
            assert {result.result().source for result in kept} == {kept[0].result().source}
        assert len(decoder.open(from_bytes(large)).pages) == 300


def test_decoders_killed_between_documents_cost_nothing(decoder: Decoder) -> None:
    for _ in range(3):
        decoder.open(from_bytes(GOOD))
        for pid in _pids(decoder):
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
    assert len(decoder.open(from_bytes(GOOD)).pages) == 1


def test_rendering_goes_on_in_another_decoder_when_the_first_has_died() -> None:
    with Decoder(workers=1) as decoder:
        (page,) = decoder.open(from_bytes(GOOD)).pages
        before = page.render(max_side=200)
        os.kill(_processes(decoder)[0].pid, signal.SIGKILL)
        time.sleep(0.05)
        assert page.render(max_side=200).tobytes() == before.tobytes()


def test_a_closed_decoder_says_so() -> None:
    decoder = Decoder(workers=1)
    decoder.close()
    with pytest.raises(UsageError, match="closed"):
        decoder.open(from_bytes(GOOD))
