"""Pages -> words with real OCR: what is read, where it stands, and what happens when a worker fails."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from docflow.documents.model import Box, Page, Word
from docflow.errors import ConfigError, ReadingError
from docflow.reading import Reader, is_readable
from docflow.reading.ocr import _KEEP_MEMORY
from docflow.settings import ReadingSettings
from tests.unit.reading.photographs import RECEIPT, page_with, photograph


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader(ReadingSettings(), None, workers=1, threads=2) as reader:
        yield reader


def texts(words: tuple[Word, ...]) -> list[str]:
    return [word.text for word in words]


def find(words: tuple[Word, ...], text: str) -> Word:
    return next(word for word in words if word.text == text)


EXPECTED = " ".join(RECEIPT).split()


def test_the_words_of_a_page_come_in_reading_order_with_scores(reader: Reader) -> None:
    words = reader.words(page_with(photograph()))
    assert texts(words) == EXPECTED
    assert all(0.8 < word.score <= 1 for word in words)
    assert [word.segment for word in words] == sorted(word.segment for word in words)


def test_a_word_stands_in_the_unit_of_its_page(reader: Reader) -> None:
    image = photograph()
    ink = Box(*_ink(image, 6))  # the line of the total
    pixels = reader.words(page_with(image))
    points = reader.words(page_with(image, unit_scale=0.36))
    total = find(pixels, "20.50").box
    assert abs(total.x1 - ink.x1) < 8
    assert total.y0 < ink.center[1] < total.y1
    assert abs(find(pixels, "TOTAL").box.x0 - ink.x0) < 8
    assert find(points, "20.50").box.x1 == pytest.approx(total.x1 * 0.36, abs=0.5)
    assert find(points, "20.50").box.y0 == pytest.approx(total.y0 * 0.36, abs=0.5)


def _ink(image: Image.Image, line: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is black in one of the receipt's lines."""
    top = 46 * (line + 1)
    box = (
        image.crop((0, top, image.width, top + 44))
        .convert("L")
        .point(lambda value: 255 if value < 128 else 0)
        .getbbox()
    )
    assert box is not None
    return box[0], box[1] + top, box[2], box[3] + top


def test_a_page_larger_than_max_side_keeps_its_own_coordinates() -> None:
    image = photograph(size=60)
    with Reader(ReadingSettings(max_side=700), None, workers=1, threads=2) as small:
        words = small.words(page_with(image))
    total = find(words, "20.50")
    assert total.box.x1 > 700
    assert texts(words) == EXPECTED


def test_the_letters_of_a_long_receipt_stay_large() -> None:
    sides = []
    image = photograph([f"Item {number} of a long receipt" for number in range(40)], size=20)
    page = page_with(image.crop((0, 0, image.width // 2, image.height)))
    draw = page.renderer

    def render(of: Page, max_side: int | None, max_pixels: int | None) -> Image.Image:
        sides.append(max_side)
        return draw(of, max_side, max_pixels)

    page.renderer = render
    with Reader(ReadingSettings(max_side=800), None, workers=1, threads=2) as reader:
        words = reader.words(page)
    shape = page.height / page.width
    assert sides == [round(800 * min(2.5, shape / 2.5))]
    assert sides[0] > 800
    assert {"Item", "39", "long"} <= set(texts(words))


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_page_photographed_sideways_or_upside_down_reads_upright(reader: Reader, turn: int) -> None:
    image = photograph(turn=turn)
    words = reader.words(page_with(image))
    assert texts(words) == EXPECTED
    total, date = find(words, "TOTAL"), find(words, "14:55")
    assert total.levelled is not None
    assert total.level_box.y0 > date.level_box.y1, "on the levelled page the total stands below the date"
    assert find(words, "20.50").level_box.x0 > total.level_box.x1
    # On the page itself it stands where the photograph shows it.
    upright = find(reader.words(page_with(photograph())), "TOTAL").box
    width, height = photograph().size
    x, y = upright.center
    expected = {90: (height - y, x), 180: (width - x, height - y), 270: (y, width - x)}[turn]
    assert total.box.center == pytest.approx(expected, abs=8)


@pytest.mark.parametrize("turn", [-12, -3, 3, 8])
def test_a_skewed_page_has_level_lines(reader: Reader, turn: int) -> None:
    words = reader.words(page_with(photograph(turn=turn)))
    assert texts(words) == EXPECTED
    label, amount = find(words, "TOTAL"), find(words, "20.50")
    assert abs(label.level_box.center[1] - amount.level_box.center[1]) < 0.3 * label.level_box.height
    across = label.box.center[0] - amount.box.center[0]
    fall = (label.box.center[1] - amount.box.center[1]) / across
    assert fall == pytest.approx(turn * 3.14159 / 180, abs=0.02), "boxes stay where the photograph shows the words"


def test_an_upright_page_has_no_second_set_of_boxes(reader: Reader) -> None:
    assert all(word.levelled is None for word in reader.words(page_with(photograph())))


def test_a_single_narrow_digit_is_read_as_it_stands(reader: Reader) -> None:
    words = reader.words(
        page_with(
            photograph(
                (
                    "Qty        Item        Price",
                    "1             Bread          4.50",
                    "7             Juice           3.25",
                )
            )
        )
    )
    assert {"1", "7"} <= set(texts(words))


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3), (640, 480)])
def test_a_page_without_text_has_no_words(reader: Reader, size: tuple[int, int]) -> None:
    page = page_with(Image.new("RGB", size, "white"))
    assert reader.words(page) == ()
    assert page.legibility == 1.0


def test_a_text_layer_is_never_read_again(reader: Reader) -> None:
    def refuse(_page: Page, _side: int | None, _pixels: int | None) -> Image.Image:
        raise AssertionError("rendered")

    word = Word("Total", Box(1, 2, 3, 4))
    page = Page("d" * 64, 1, 100, 100, "pt", refuse, text_layer=True, layer_words=(word,))
    assert reader.words(page) == (word,)


CYRILLIC_FONTS = [
    path
    for path in ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "/System/Library/Fonts/Supplemental/Arial.ttf")
    if Path(path).exists()
]


@pytest.mark.skipif(not CYRILLIC_FONTS, reason="no font with Cyrillic letters")
def test_a_page_in_a_script_that_the_model_lacks_is_not_readable(reader: Reader) -> None:
    lines = (
        "Кассовый чек",
        "Москва, улица Ленина, дом 12",
        "Хлеб пшеничный   45,00",
        "Сыр российский   320,50",
        "Спасибо за покупку",
    )
    foreign, known = page_with(photograph(lines, font=CYRILLIC_FONTS[0])), page_with(photograph(font=CYRILLIC_FONTS[0]))
    for page in (foreign, known):
        page.reader = reader.words
    assert not is_readable(foreign)
    assert is_readable(known)


def test_pages_are_read_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'):\n"
        f"        open({str(tmp_path / 'attempts')!r}, 'a').write(event)\n"
        "        raise OSError('the network is shut')\n"
        "sys.addaudithook(refuse)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    probe = [sys.executable, "-c", "import urllib.request; urllib.request.urlopen('http://localhost:9')"]
    assert b"the network is shut" in subprocess.run(probe, env=environment, capture_output=True, check=False).stderr
    (tmp_path / "attempts").unlink()
    script = (
        "from docflow.reading import Reader; from docflow.settings import ReadingSettings\n"
        "from tests.unit.reading.photographs import page_with, photograph\n"
        "with Reader(ReadingSettings(), None, 1, 2) as reader:\n"
        "    print([word.text for word in reader.words(page_with(photograph()))])\n"
    )
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == str(EXPECTED), run.stderr
    assert not (tmp_path / "attempts").exists()


def test_a_worker_that_is_killed_loses_its_page_only() -> None:
    with Reader(ReadingSettings(), None, workers=1, threads=2) as reader:
        before = reader.words(page_with(photograph()))
        _soon(lambda: os.kill(_pid(reader), signal.SIGSTOP), lambda: os.kill(_pid(reader), signal.SIGKILL))
        with pytest.raises(ReadingError, match="died") as caught:
            reader.words(page_with(_large()))
        assert caught.value.retryable
        assert reader.words(page_with(photograph())) == before


def test_a_worker_that_is_killed_between_two_pages_loses_none() -> None:
    with Reader(ReadingSettings(), None, workers=1, threads=2) as reader:
        before = reader.words(page_with(photograph()))
        killed = _pid(reader)
        os.kill(killed, signal.SIGKILL)
        os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
        assert reader.words(page_with(photograph())) == before


def test_a_worker_that_has_read_its_pages_is_replaced_and_none_is_lost() -> None:
    pages = [page_with(photograph((f"Invoice number {number}",))) for number in range(4711, 4716)]
    with Reader(ReadingSettings(ocr_recycle_after=2), None, workers=1, threads=2) as reader:
        reader.warm()
        first = _pid(reader)
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(reader.words, pages))
        assert [texts(words)[2] for words in found] == ["4711", "4712", "4713", "4714", "4715"]
        assert _pid(reader) != first
        assert not _alive(first)
        assert len(reader._idle) == 1


FRAGMENTED = """
from docflow.reading.worker import _give_memory_back, _resident
before = _resident()
tensors, kept = [], []
for _ in range(200):
    tensors.append(b"." * (1 << 20))
    kept.append(b"." * 4096)
tensors.clear()
between = _resident() - before
_give_memory_back()
print(between >> 20, (_resident() - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no malloc_trim")
def test_a_worker_gives_back_the_memory_between_what_it_uses() -> None:
    command = [sys.executable, "-c", FRAGMENTED]
    child = subprocess.run(command, env=os.environ | _KEEP_MEMORY, capture_output=True, text=True, check=True)
    kept, after = map(int, child.stdout.split())
    assert kept > 150
    assert after < 20


def test_a_worker_that_cannot_be_started_is_an_error_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    with Reader(ReadingSettings(), None, workers=1, threads=2) as reader:
        monkeypatch.setattr(subprocess, "Popen", refuse)
        reader.warm()
        with pytest.raises(ReadingError, match="no OCR process can be started"):
            reader.words(page_with(photograph()))


def test_a_worker_that_hangs_is_replaced() -> None:
    with Reader(ReadingSettings(ocr_seconds=5), None, workers=1, threads=2) as reader:
        before = reader.words(page_with(photograph()))
        hung = _pid(reader)
        os.kill(hung, signal.SIGSTOP)
        with pytest.raises(ReadingError, match="took longer than 5 s"):
            reader.words(page_with(photograph()))
        assert reader.words(page_with(photograph())) == before
        assert _pid(reader) != hung
        assert not _alive(hung)


def test_pixels_that_cannot_be_read_leave_the_worker_well() -> None:
    with Reader(ReadingSettings(), None, workers=1, threads=2) as reader:
        before = reader.words(page_with(photograph()))
        worker = _pid(reader)
        # An image whose size and bytes do not agree is an error inside the worker, not of its pipe.
        with pytest.raises(ReadingError, match="OCR failed"):
            reader._read(b"\0" * 10, 100, 100)
        assert _pid(reader) == worker
        assert reader.words(page_with(photograph())) == before


def test_workers_end_when_their_parent_is_killed() -> None:
    script = (
        "import time; from docflow.reading import Reader; from docflow.settings import ReadingSettings\n"
        "reader = Reader(ReadingSettings(), None, 2, 1)\n"
        "reader.warm()\n"
        "print(*[worker._process.pid for worker in reader._idle], flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def test_several_threads_may_read_at_once() -> None:
    pages = [page_with(photograph((f"Invoice number {number}", "Total amount 12.50"))) for number in range(4711, 4717)]
    with Reader(ReadingSettings(), None, workers=2, threads=1) as reader, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(reader.words, pages))
    assert [texts(words)[2] for words in found] == ["4711", "4712", "4713", "4714", "4715", "4716"]


def test_closing_frees_whoever_waits() -> None:
    reader = Reader(ReadingSettings(), None, workers=1, threads=1)
    reader.words(page_with(photograph()))
    errors: list[BaseException] = []

    def read() -> None:
        try:
            reader.words(page_with(_large()))
        except ReadingError as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    _until(lambda: len(reader._busy) == 1)
    reader.close()
    for thread in threads:
        thread.join(20)
    assert len(errors) == 2


def test_known_pages_are_not_read_again(tmp_path: Path) -> None:
    page = page_with(photograph())
    with Reader(ReadingSettings(), tmp_path, workers=1, threads=2) as reader:
        first = reader.words(page)
    with Reader(ReadingSettings(), tmp_path, workers=1, threads=2) as reader:
        assert reader.words(page) == first
        assert not reader._idle, "no worker was started"
        assert reader.forget(page.document_id) == 1
    with Reader(ReadingSettings(cache=False), tmp_path, workers=1, threads=2) as reader:
        assert reader.words(page) == first
    assert not list(tmp_path.rglob("*.words"))


def test_other_settings_read_the_page_again(tmp_path: Path) -> None:
    page = page_with(photograph(("Total 12.50",), size=16))
    for side in (2000, 300):
        with Reader(ReadingSettings(max_side=side), tmp_path, workers=1, threads=2) as reader:
            reader.words(page)
    assert len(list(tmp_path.rglob("*.words"))) == 2


def test_an_incomplete_folder_of_models_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "det.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"has no rec\.onnx and no dict\.txt") as caught:
        Reader(ReadingSettings(ocr_model=tmp_path), None, workers=1, threads=1)
    assert "dict.txt" in caught.value.hint


def test_models_that_cannot_be_loaded_are_said(tmp_path: Path) -> None:
    for name in ("det.onnx", "rec.onnx", "dict.txt"):
        (tmp_path / name).write_bytes(b"no model")
    with (
        Reader(ReadingSettings(ocr_model=tmp_path), None, workers=1, threads=1) as reader,
        pytest.raises(ReadingError, match="OCR cannot be loaded") as caught,
    ):
        reader.words(page_with(photograph()))
    assert not caught.value.retryable


def test_a_folder_of_models_is_used(tmp_path: Path) -> None:
    import rapidocr

    built_in = Path(rapidocr.__file__).parent / "models"
    for name, path in (("det.onnx", "PP-OCRv6_det_small.onnx"), ("rec.onnx", "PP-OCRv6_rec_small.onnx")):
        (tmp_path / name).symlink_to(built_in / path)
    (tmp_path / "dict.txt").write_text("a\nb\n")
    with Reader(ReadingSettings(ocr_model=tmp_path), None, workers=1, threads=2) as reader:
        assert texts(reader.words(page_with(photograph()))) == EXPECTED


def _large() -> Image.Image:
    """A page that takes OCR a while."""
    return photograph(["Some words that fill the page"] * 60, size=30)


def _pid(reader: Reader) -> int:
    return next(iter(reader._idle or reader._busy))._process.pid


def _soon(*actions: object) -> None:
    """Do these one after the other, beginning in a moment."""

    def act() -> None:
        for action in actions:
            time.sleep(0.2)
            action()  # type: ignore[operator]

    threading.Thread(target=act).start()


def _until(done: object) -> None:
    deadline = time.monotonic() + 20
    while not done() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
