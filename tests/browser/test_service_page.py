from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.looking import choose, every, one, press, selected, text, wait
from tests.integration.serving import serving

DOCUMENTS = Path(__file__).parents[2] / "samples" / "documents"
INVOICE = DOCUMENTS / "invoice-012.pdf"
KEY = "0123456789abcdef-page"
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service"), serve__upload_bytes=2_000_000) as address:
        yield address


@pytest.fixture
def page(browser: Chrome, address: str) -> Chrome:
    """The page, once it knows the programs."""
    browser.get(address)
    wait(browser, lambda: every(browser, "#program option"))
    return browser


def drop(page: Chrome, *files: Path) -> None:
    page.find_element(By.ID, "files").send_keys("\n".join(map(str, files)))


def states(page: Chrome) -> dict[str, str]:
    """What stands at each document of the list; asked at once, because lines are drawn anew."""
    script = """return [...document.querySelectorAll('#queue .entry')].map(
        (line) => [line.querySelector('.source').textContent, line.className.split(' ')[1]])"""
    return dict(page.execute_script(script))


def finished(page: Chrome, count: int) -> dict[str, str]:
    """The documents, once all of them are through."""

    def through() -> dict[str, str] | None:
        found = states(page)
        return found if len(found) >= count and not {"waiting", "busy"} & set(found.values()) else None

    end = time.monotonic() + 120  # the engine and OCR may have to start
    while time.monotonic() < end:
        if found := through():
            return found
        time.sleep(0.1)
    raise AssertionError(states(page))


def test_a_document_that_is_dropped_is_shown_with_its_boxes_and_its_record(page: Chrome) -> None:
    drop(page, INVOICE)
    assert finished(page, 1) == {"invoice-012.pdf": "valid"}
    wait(page, lambda: page.execute_script("return document.querySelector('#page img').naturalWidth") > 500)
    boxes = {box.get_attribute("data-path") for box in every(page, ".box")}
    values = {leaf.get_attribute("data-path") for leaf in every(page, ".values [data-path]")}
    assert len(boxes) > 5
    assert boxes <= values
    path = str(one(page, ".box").get_attribute("data-path"))
    ActionChains(page).move_to_element(one(page, f'.values [data-path="{path}"]')).perform()
    assert "hover" in str(one(page, f'.box[data-path="{path}"]').get_attribute("class"))
    ActionChains(page).move_to_element(one(page, f'.box[data-path="{path}"]')).perform()
    assert "hover" in str(one(page, f'.values [data-path="{path}"]').get_attribute("class"))
    choose(page, path)
    first = selected(page)
    press(page, "j")
    assert selected(page) != first
    press(page, "k")
    assert selected(page) == first


def test_several_documents_at_once_and_what_is_wrong_with_one_is_said_kindly(page: Chrome, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.4 nothing more")
    text_file = tmp_path / "letter.pdf"
    text_file.write_text("Dear Sir or Madam")
    large = tmp_path / "large.png"
    large.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2_000_001))
    drop(page, broken, INVOICE, text_file, large)
    found = finished(page, 4)
    assert found == {"broken.pdf": "failed", "invoice-012.pdf": "valid", "letter.pdf": "failed", "large.png": "failed"}
    assert "cut off" in text(page, ".messages")
    press(page, "nn")
    wait(page, lambda: "its content is text" in text(page, ".messages"))
    press(page, "n")
    wait(page, lambda: "larger than this service takes" in text(page, ".messages"))
    assert not every(page, ".box")


def test_keys_alone_are_enough(page: Chrome) -> None:
    drop(page, INVOICE, DOCUMENTS / "form-009.pdf")
    finished(page, 2)
    lines = every(page, "#queue .entry")
    page.execute_script("arguments[0].focus()", lines[1])
    press(page, Keys.ENTER)
    wait(page, lambda: text(page, "#title") == "form-009.pdf")
    press(page, "p")
    wait(page, lambda: text(page, "#title") == "invoice-012.pdf")
    before = one(page, "#page").rect["width"]
    press(page, "+")
    assert one(page, "#page").rect["width"] > before
    press(page, "?")
    assert one(page, "#help").is_displayed()
    press(page, Keys.ESCAPE)


def test_the_json_is_copied(page: Chrome) -> None:
    drop(page, INVOICE)
    finished(page, 1)
    page.execute_script(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text; }}})"
    )
    one(page, "#copy").click()
    copied = json.loads(wait(page, lambda: page.execute_script("return window.copied")))
    assert copied["program"] == "invoice"
    assert copied["record"]["amount"] is not None
    assert "view" not in copied


def test_a_schema_takes_the_place_of_a_program(page: Chrome) -> None:
    one(page, '#program option[value$="schema"]').click()
    schema = (
        '{"type": "object", "properties": {"invoice number": {"type": "string"}, "<b>total</b>": {"type": "number"}}}'
    )
    page.execute_script("arguments[0].value = arguments[1]", one(page, "#schema"), schema)
    one(page, "#schema-form button").click()
    drop(page, INVOICE)
    assert set(finished(page, 1).values()) <= {"valid", "invalid"}
    wait(page, lambda: every(page, '.values [data-path="invoice number"]'))
    assert "<b>total</b>" in text(page, ".values")  # a name from outside is text like any other


def test_hostile_text_stays_text(page: Chrome, tmp_path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas

    path = tmp_path / "a<b>.pdf"
    canvas = Canvas(str(path), pagesize=(595, 842))
    for line, words in enumerate(["INVOICE", f"Invoice number: {HOSTILE}", f"Supplier: {HOSTILE}", "Total: 12.50 EUR"]):
        canvas.drawString(40, 780 - 30 * line, words)
    canvas.save()
    drop(page, path)
    finished(page, 1)
    time.sleep(0.3)  # an image that fails to load would run its handler about now
    assert page.title == "docflow"
    assert len(every(page, "script")) == 3
    assert not every(page, ".values img, .inspector img, .messages img, #queue img, #queue b")


def test_a_key_is_asked_for_and_forgotten_with_the_page(browser: Chrome, tmp_path: Path) -> None:
    with serving(tmp_path, serve__keys=f"page={KEY}") as address:
        browser.get(address)
        wait(browser, lambda: one(browser, "#key-dialog").is_displayed())
        one(browser, "#key").send_keys("wrong", Keys.ENTER)
        wait(browser, lambda: "not known" in text(browser, "#key-said"))
        one(browser, "#key").send_keys(KEY, Keys.ENTER)
        wait(browser, lambda: every(browser, "#program option"))
        drop(browser, INVOICE)
        assert finished(browser, 1) == {"invoice-012.pdf": "valid"}
        wait(browser, lambda: browser.execute_script("return document.querySelector('#page img').naturalWidth") > 500)
        kept = browser.execute_script("return JSON.stringify([localStorage, sessionStorage, document.cookie])")
        assert KEY not in kept
        browser.refresh()
        wait(browser, lambda: one(browser, "#key-dialog").is_displayed())
    browser.get_log("browser")  # 401 is an error to the browser, and what this test is about


def test_a_service_that_has_gone_is_said(browser: Chrome, tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        browser.get(address)
        wait(browser, lambda: every(browser, "#program option"))
    drop(browser, INVOICE)
    finished(browser, 1)
    assert "cannot be reached" in text(browser, ".messages")
    browser.get_log("browser")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_page_fits_a_desk_and_a_phone(page: Chrome, width: int, height: int) -> None:
    page.set_window_size(width, height)
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    try:
        drop(page, INVOICE)
        finished(page, 1)
        assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        for selector in ("#choose", "#program", "#copy", "#page", ".values .leaf"):
            drawn = one(page, selector).rect
            assert drawn["x"] >= 0
            assert drawn["x"] + drawn["width"] <= width + 1 or selector == "#page"
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_asked_of_any_other_address(page: Chrome, address: str) -> None:
    drop(page, INVOICE)
    finished(page, 1)
    asked = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(asked) > 4
    assert {address} == {"/".join(one.split("/")[:3]) for one in asked if not one.startswith("blob:")}


def test_a_picture_for_the_documentation(page: Chrome, tmp_path: Path, pictures: Path | None) -> None:
    if pictures is None:  # one document that needs no OCR is enough to prove that the picture can be made
        drop(page, INVOICE)
        finished(page, 1)
        pictures = tmp_path
    else:
        names = ("receipt-007.jpg", "invoice-008.pdf", "form-009.pdf", "receipt-022.pdf")
        drop(page, *(DOCUMENTS / name for name in names))
        finished(page, len(names))
        press(page, "n")
    page.set_window_size(1440, 940)
    wait(page, lambda: page.execute_script("return document.querySelector('#page img').naturalWidth") > 100)
    press(page, "jjj")
    time.sleep(0.5)
    assert page.save_screenshot(str(pictures / "service.png"))
    with Image.open(pictures / "service.png") as picture:
        assert picture.width > 1_000
