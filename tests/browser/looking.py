"""What the tests do with a page: find, press keys, wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

T = TypeVar("T")


def wait(browser: Chrome, until: Callable[[], T]) -> T:
    """What ``until`` gives once it is true; at most 20 seconds."""

    def tried(_: Chrome) -> Any:
        try:
            return until()
        except Exception:  # the element is being drawn again
            return False

    found: T = WebDriverWait(browser, 20, poll_frequency=0.05).until(tried)
    return found


def one(browser: Chrome, selector: str) -> WebElement:
    return wait(browser, lambda: browser.find_element(By.CSS_SELECTOR, selector))


def every(browser: Chrome, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, selector)


def text(browser: Chrome, selector: str) -> str:
    return one(browser, selector).text


def press(browser: Chrome, keys: str) -> None:
    ActionChains(browser).send_keys(keys).perform()


def selected(browser: Chrome) -> str:
    """The path of the selected value."""
    return text(browser, "#inspector .path")


def open_document(browser: Chrome, source: str) -> None:
    for entry in wait(browser, lambda: every(browser, ".entry")):
        if entry.find_element(By.CLASS_NAME, "source").text == source:
            entry.click()
            wait(browser, lambda: text(browser, "#title") == source)
            return
    raise AssertionError(f"{source} is not in the queue")


def choose(browser: Chrome, path: str) -> None:
    one(browser, f'.values [data-path="{path}"]').click()
    wait(browser, lambda: selected(browser) == path)
