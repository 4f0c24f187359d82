"""Pages as images for a model: fitted to whole cells, made once, and boxes taken back to the page."""

from __future__ import annotations

import base64
import gc
import io
import math
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from docflow.documents.model import Box, Page
from docflow.engines import images
from docflow.engines.images import CELL, PageImage, fitted_size, page_image
from tests.unit.pages import page_of

SIDES = st.floats(8, 20_000)
BUDGETS = st.integers(16, 16_384)


def as_the_processor_resizes(width: int, height: int, max_tokens: int) -> tuple[int, int]:
    """What Qwen2-VL's image processor makes of an image's size; a ratio above 200 it refuses."""
    assert max(width, height) <= 200 * min(width, height)
    wide, high = round(width / 28) * 28, round(height / 28) * 28
    if wide * high > max_tokens * 784:
        shrink = math.sqrt(width * height / (max_tokens * 784))
        return max(28, math.floor(width / shrink / 28) * 28), max(28, math.floor(height / shrink / 28) * 28)
    if wide * high < 3136:
        grow = math.sqrt(3136 / (width * height))
        return math.ceil(width * grow / 28) * 28, math.ceil(height * grow / 28) * 28
    return wide, high


@given(SIDES, SIDES, BUDGETS)
@example(8, 8, 16)
@example(8, 20_000, 16)
@example(20_000, 8, 16_384)
def test_the_server_takes_every_page_as_it_is(width: float, height: float, max_tokens: int) -> None:
    wide, high = fitted_size(width, height, max_tokens)
    assert wide % CELL == high % CELL == 0
    assert 4 <= wide * high / CELL**2 <= max_tokens
    assert as_the_processor_resizes(wide, high, max_tokens) == (wide, high)


@given(SIDES, SIDES, BUDGETS)
def test_a_page_lying_and_standing_are_fitted_alike(width: float, height: float, max_tokens: int) -> None:
    assert fitted_size(height, width, max_tokens) == fitted_size(width, height, max_tokens)[::-1]


@given(st.floats(200, 8000), st.floats(1 / 4, 4), st.integers(256, 16_384))
def test_ordinary_pages_keep_their_shape_and_use_the_budget(width: float, ratio: float, max_tokens: int) -> None:
    height = width * ratio
    wide, high = fitted_size(width, height, max_tokens)
    least = min(wide, high) / CELL
    assert abs(math.log(high / wide / ratio)) <= 0.5 / least + 0.02
    assert wide * high <= width * height * (1 + 2 / least)  # as good as never larger than the page itself
    possible = min(width * height, max_tokens * CELL**2)
    assert wide * high >= possible * (1 - 2.5 / least)


@pytest.mark.parametrize(
    ("size", "max_tokens", "fitted"),
    [
        ((2480, 3508), 1280, (840, 1176)),  # A4 at 300 dpi
        ((3508, 2480), 1280, (1176, 840)),
        ((2480, 3508), 768, (644, 924)),
        ((600, 800), 1280, (588, 784)),  # smaller than the budget: not made larger
        ((10, 10), 1280, (56, 56)),
        ((10, 3000), 1280, (28, 3024)),
    ],
)
def test_sizes_of_known_pages(size: tuple[int, int], max_tokens: int, fitted: tuple[int, int]) -> None:
    assert fitted_size(*size, max_tokens) == fitted


def test_a_pdf_page_fills_the_budget_and_a_small_one_counts_as_scanned() -> None:
    a4 = replace(page_of(["one"]), unit="pt", width=595.0, height=842.0)
    label = replace(a4, width=144.0, height=72.0)
    assert (page_image(a4).width, page_image(a4).height) == (840, 1176)
    assert (page_image(label).width, page_image(label).height) == fitted_size(600, 300)


def test_the_image_is_a_jpeg_of_that_size_in_a_data_uri() -> None:
    page = page_of(["A line of words"] * 9)
    image = page_image(page)
    assert image.tokens == image.width * image.height // 784 <= 1280
    kind, _, content = image.data_uri.partition(";base64,")
    assert (kind, base64.b64decode(content)) == ("data:image/jpeg", image.data)
    with Image.open(io.BytesIO(image.data), formats=["JPEG"]) as opened:
        assert opened.size == (image.width, image.height)


def counted(page: Page, seconds: float = 0) -> list[tuple[int, int]]:
    """The sizes that ``page`` is encoded at from now on."""
    asked: list[tuple[int, int]] = []
    encode = page.encoder

    def count(page: Page, width: int, height: int) -> bytes:
        asked.append((width, height))
        time.sleep(seconds)
        return encode(page, width, height)

    page.encoder = count
    return asked


def test_a_page_is_encoded_once_for_a_budget_whoever_asks() -> None:
    page = replace(page_of(["one"]), width=800, height=600)
    asked = counted(page, 0.05)
    start = threading.Barrier(8)

    def ask(_: int) -> PageImage:
        start.wait()
        return page_image(page)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(ask, range(8)))
    assert all(image is made[0] for image in made)
    assert len(asked) == 1
    small = page_image(page, 100)
    assert small.tokens <= 100
    assert len(asked) == 2
    assert page_image(page) is made[0]


def test_another_page_need_not_wait() -> None:
    slow, quick = page_of(["one"]), page_of(["two"])
    begun, go_on = threading.Event(), threading.Event()
    encode = slow.encoder

    def wait(page: Page, width: int, height: int) -> bytes:
        begun.set()
        go_on.wait(10)
        return encode(page, width, height)

    slow.encoder = wait
    thread = threading.Thread(target=page_image, args=(slow,))
    thread.start()
    assert begun.wait(10)
    assert page_image(quick).data
    go_on.set()
    thread.join()


def test_an_image_goes_with_its_page() -> None:
    page = page_of(["one"])
    image = weakref.ref(page_image(page))
    kept = len(images._kept)
    assert image() is not None
    del page
    gc.collect()
    assert image() is None
    assert len(images._kept) == kept - 1


def test_a_page_that_cannot_be_encoded_is_tried_again() -> None:
    page = page_of(["one"])
    encode = page.encoder

    def fail(page: Page, width: int, height: int) -> bytes:
        raise OSError("no")

    page.encoder = fail
    with pytest.raises(OSError, match="no"):
        page_image(page)
    page.encoder = encode
    assert page_image(page).data


@given(
    st.floats(20, 8000),
    st.floats(20, 8000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(16, 4096),
)
def test_a_box_goes_to_the_model_and_back_within_a_pixel_of_the_image(
    width: float, height: float, left: float, top: float, right: float, bottom: float, max_tokens: int
) -> None:
    wide, high = fitted_size(width, height, max_tokens)
    image = PageImage(b"", "image/jpeg", wide, high, 1, (width, height))
    there = Box(round(left * wide), round(top * high), round(right * wide), round(bottom * high))
    back = image.to_page(there)
    for got, part, side, pixels in zip(
        back, (left, top, right, bottom), (width, height) * 2, (wide, high) * 2, strict=True
    ):
        assert abs(got - part * side) <= 0.5 * side / pixels + 1e-6
    assert image.to_page(Box(0, 0, wide, high)) == pytest.approx(Box(0, 0, width, height))
