from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.keys import Keys

import docflow
import docflow.samples
from docflow.storage import Dataset
from docflow.storage.store import Store
from tests.browser.looking import choose, every, one, open_document, press, selected, text, wait
from tests.integration.reviewing import bill, dataset, served
from tests.unit.storage.results import Results


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return dataset(tmp_path)


@pytest.fixture
def page(browser: Chrome, out: Path) -> Iterator[Chrome]:
    """The review page, once its first document is drawn."""
    with served(out, out.parent / "scans") as link:
        browser.get(link)
        wait(browser, lambda: selected(browser) == "company")
        yield browser


def corrected(out: Path, source: str) -> dict[str, Any]:
    record: dict[str, Any] = next(
        row["record"] for row in Dataset(out).records(corrected=True) if row["source"] == source
    )
    return record


def test_the_least_sure_document_is_open_with_its_page_and_its_boxes(page: Chrome) -> None:
    assert text(page, "#title") == "b.png"
    assert text(page, "#count") == "0 of 6 reviewed"
    wait(page, lambda: page.execute_script("return document.querySelector('#page img').naturalWidth") == 600)
    assert len(every(page, ".box")) == 6
    sheet, box = one(page, "#page").rect, one(page, '.box[data-path="total"]').rect
    assert (box["x"] - sheet["x"]) / sheet["width"] == pytest.approx(300 / 600, abs=0.02)
    assert (box["y"] - sheet["y"]) / sheet["height"] == pytest.approx(50 / 800, abs=0.02)


def test_a_value_and_its_box_point_at_each_other(page: Chrome) -> None:
    ActionChains(page).move_to_element(one(page, '.values [data-path="total"]')).perform()
    assert "hover" in str(one(page, '.box[data-path="total"]').get_attribute("class"))
    ActionChains(page).move_to_element(one(page, '.box[data-path="items[1].name"]')).perform()
    assert "hover" in str(one(page, '.values [data-path="items[1].name"]').get_attribute("class"))
    one(page, '.box[data-path="items[1].name"]').click()
    assert selected(page) == "items[1].name"


def test_keys_accept_correct_and_mark_absent(page: Chrome, out: Path) -> None:
    press(page, "a")
    wait(page, lambda: selected(page) == "date")
    press(page, "x")
    wait(page, lambda: selected(page) == "total")
    press(page, "e")
    field = one(page, ".editor input")
    assert field.get_attribute("value") == "12.5"
    field.clear()
    field.send_keys("1.234,50", Keys.ENTER)
    wait(page, lambda: selected(page) == "items[0].name")
    press(page, Keys.ENTER)
    wait(page, lambda: selected(page) == "items[0].count")
    record = corrected(out, "b.png")
    assert (record["company"], record["date"], record["total"]) == ("ACME", None, Decimal("1234.5"))
    assert len(every(page, ".leaf.decided")) == 3
    assert "begun" in text(page, ".entry.current .about")


def test_keys_pressed_at_once_are_about_one_value_after_the_other(page: Chrome, out: Path) -> None:
    press(page, "aaxaj")
    wait(page, lambda: selected(page) == "items[1].name")
    said = [cell.get_attribute("data-path") for cell in every(page, ".values .decided")]
    assert said == ["company", "date", "total", "items[0].name"]
    assert corrected(out, "b.png")["total"] is None


def test_what_cannot_be_is_said_beside_the_field_and_not_kept(page: Chrome, out: Path) -> None:
    choose(page, "date")
    press(page, "e")
    field = one(page, ".editor input")
    field.clear()
    field.send_keys("some day", Keys.ENTER)
    assert "'some day' is no date" in text(page, ".wrong")
    field.send_keys(Keys.ESCAPE)
    wait(page, lambda: not every(page, ".editor"))
    assert selected(page) == "date"
    assert not list(out.glob("corrections/*.json"))


def test_rows_are_marked_as_not_there_added_and_taken_back(page: Chrome, out: Path) -> None:
    choose(page, "items[0].name")
    press(page, "X")
    wait(page, lambda: len(every(page, "tr.removed")) == 1)
    press(page, "r")
    one(page, ".editor input").send_keys("Jam", Keys.ENTER)
    wait(page, lambda: len(every(page, "tr.added")) == 1)
    assert [item["name"] for item in corrected(out, "b.png")["items"]] == ["Cake", "Jam"]
    choose(page, "items[0].name")
    press(page, "u")
    wait(page, lambda: not every(page, "tr.removed"))
    assert [item["name"] for item in corrected(out, "b.png")["items"]] == ["Tea", "Cake", "Jam"]


def test_a_document_is_accepted_as_a_whole_and_the_next_one_comes(page: Chrome, out: Path) -> None:
    press(page, "A")
    wait(page, lambda: text(page, "#title") == "c.tiff")
    assert text(page, "#count") == "1 of 6 reviewed"
    press(page, "n")
    wait(page, lambda: text(page, "#title") == "evil.png")
    press(page, "p")
    wait(page, lambda: text(page, "#title") == "c.tiff")
    press(page, "j")
    wait(page, lambda: selected(page) == "date")
    press(page, "k")
    wait(page, lambda: selected(page) == "company")


def test_the_page_turns_to_where_a_value_stands_and_by_keys(page: Chrome) -> None:
    open_document(page, "c.tiff")
    assert text(page, "#page-number") == "1 / 2"
    choose(page, "total")
    assert text(page, "#page-number") == "2 / 2"
    assert len(every(page, ".box")) == 1
    press(page, "[")
    assert text(page, "#page-number") == "1 / 2"
    press(page, "]")
    assert text(page, "#page-number") == "2 / 2"


def test_zoom_keeps_boxes_on_their_words(page: Chrome) -> None:
    before = one(page, "#page").rect["width"]
    press(page, "++")
    sheet, box = one(page, "#page").rect, one(page, '.box[data-path="total"]').rect
    assert sheet["width"] == pytest.approx(before * 1.5625, rel=0.01)
    assert (box["x"] - sheet["x"]) / sheet["width"] == pytest.approx(0.5, abs=0.02)
    press(page, "0")
    assert one(page, "#page").rect["width"] == pytest.approx(before, rel=0.03)


@pytest.mark.parametrize("source", ["evil.png", "bad.png"])
def test_hostile_text_is_shown_and_does_nothing(page: Chrome, source: str) -> None:
    open_document(page, source)
    time.sleep(0.3)  # an image that fails to load would run its handler about now
    assert page.title == "out - docflow review"
    assert len(every(page, "script")) == 3
    assert not every(page, ".values img, .inspector img, .values script, .messages img")
    shown = text(page, ".values" if source == "evil.png" else ".messages")
    assert "<script>document.title='owned'</script>" in shown
    assert "⟨U+202E⟩" in shown
    assert "\u202e" not in shown
    assert "␇␀" in shown
    assert "&amp;" in shown
    # The page keeps its shape, whatever a value's length is.
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert page.execute_script("return document.documentElement.scrollHeight <= window.innerHeight")


def test_ten_thousand_characters_are_cut_in_the_record_and_whole_below(page: Chrome) -> None:
    open_document(page, "evil.png")
    choose(page, "items[0].name")
    assert len(text(page, 'td[data-path="items[0].name"]')) <= 301
    assert len(text(page, "#inspector .big")) > 9_000
    assert one(page, "#inspector").rect["height"] < 500


@pytest.mark.parametrize(("source", "why"), [("gone.png", "not found"), ("changed.png", "has changed")])
def test_a_missing_file_leaves_an_empty_page_with_boxes(page: Chrome, source: str, why: str) -> None:
    open_document(page, source)
    wait(page, lambda: why in text(page, "#page-note"))
    assert not every(page, "#page img")
    assert len(every(page, ".box")) == 6
    sheet = one(page, "#page").rect
    assert sheet["height"] / sheet["width"] == pytest.approx(800 / 600, rel=0.01)


def test_the_queue_is_filtered(page: Chrome) -> None:
    one(page, '#status option[value="failed"]').click()
    wait(page, lambda: [entry.text for entry in every(page, ".entry .source")] == ["bad.png"])
    one(page, '#state option[value="done"]').click()
    wait(page, lambda: one(page, "#queue-empty").is_displayed())


def test_nothing_is_asked_of_any_other_address(page: Chrome) -> None:
    open_document(page, "evil.png")
    asked = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(asked) > 5
    assert {"/".join(address.split("/")[:3]) for address in asked} == {"/".join(page.current_url.split("/")[:3])}


def test_two_thousand_documents_load_quickly_and_come_as_one_scrolls(browser: Chrome, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for part in range(8):
        store = Store(out, Results.bill, "embedded", "rules", f"run{part}")
        names = [f"{part}-{number:03}.png" for number in range(250)]
        results = [bill(name, Results.document_id(name), confidence=0.5) for name in names]
        store.write([store.row(result)[1] for result in results], [str(part)])
    with served(out, None) as link:
        start = time.monotonic()
        browser.get(link)
        wait(browser, lambda: selected(browser) == "company")
        assert time.monotonic() - start < 10  # it takes less than one on an idle machine
        assert text(browser, "#count") == "0 of 2000 reviewed"
        assert len(every(browser, ".entry")) == 100
        browser.execute_script("document.querySelector('nav').scrollTop = 1e6")
        wait(browser, lambda: len(every(browser, ".entry")) == 200)


def test_a_server_that_has_ended_is_said(browser: Chrome, out: Path) -> None:
    with served(out, out.parent / "scans") as link:
        browser.get(link)
        wait(browser, lambda: selected(browser) == "company")
    press(browser, "a")
    assert "no longer running" in text(browser, ".wrong")
    browser.get_log("browser")


def test_a_report_is_read_without_a_server(browser: Chrome, out: Path) -> None:
    from docflow.server.report import write_report
    from docflow.settings import load_settings

    file = out.parent / "report.html"
    scans = out.parent / "scans"
    write_report(out, file, limit=50, program=None, status=None, folder=scans, settings=load_settings())
    browser.get(file.as_uri())
    wait(browser, lambda: selected(browser) == "company")
    wait(browser, lambda: browser.execute_script("return document.querySelector('#page img').naturalWidth") == 600)
    assert not every(browser, ".actions")
    press(browser, "axe")
    assert selected(browser) == "company"
    open_document(browser, "evil.png")
    assert "<script>document.title='owned'</script>" in text(browser, ".values")
    assert browser.title == "out - docflow review"
    one(browser, '#status option[value="failed"]').click()
    wait(browser, lambda: [entry.text for entry in every(browser, ".entry .source")] == ["bad.png"])
    asked = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [address for address in asked if not address.startswith("data:")] == []


def test_pictures_for_the_documentation(browser: Chrome, tmp_path: Path, pictures: Path | None) -> None:
    from docflow.server.report import write_report
    from docflow.settings import load_settings

    docflow.samples.write(tmp_path / "samples")
    if pictures is None:  # one document that needs no OCR is enough to prove that pictures can be made
        docflow.extract(next(tmp_path.rglob("invoice-004.pdf")), program="invoice", out=tmp_path / "out")
        pictures = tmp_path
    else:
        docflow.extract(tmp_path / "samples" / "documents", out=tmp_path / "out")
    browser.set_window_size(1440, 940)
    with served(tmp_path / "out", None) as link:
        browser.get(link)
        wait(browser, lambda: every(browser, ".box"))
        wait(browser, lambda: browser.execute_script("return document.querySelector('#page img').naturalWidth") > 100)
        open_document(browser, "invoice-005.pdf" if len(every(browser, ".entry")) > 1 else "invoice-004.pdf")
        wait(browser, lambda: browser.execute_script("return document.querySelector('#page img').naturalWidth") > 100)
        press(browser, "aaaaa")
        wait(browser, lambda: len(every(browser, ".leaf.decided")) == 5)
        choose(browser, "amount")
        time.sleep(0.5)
        assert browser.save_screenshot(str(pictures / "review.png"))
    file = tmp_path / "report.html"
    write_report(tmp_path / "out", file, limit=50, program=None, status=None, folder=None, settings=load_settings())
    browser.get(file.as_uri())
    wait(browser, lambda: every(browser, ".box"))
    time.sleep(0.5)
    assert browser.save_screenshot(str(pictures / "report.png"))
