"""The page that shows the API, in a real browser: whole under its strict policy, and from this address alone.

That nothing was kept from it by the policy, the fixture sees to: a page that was refused anything fails its test.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from selenium.webdriver import Chrome

from tests.browser.looking import every, text, wait
from tests.integration.serving import serving


def test_the_api_is_shown_and_nothing_is_asked_of_any_other_address(browser: Chrome, tmp_path: Path) -> None:
    with serving(tmp_path) as address:
        browser.get(f"{address}/docs")
        wait(browser, lambda: every(browser, ".opblock-summary-path"))
        shown = text(browser, "#api")
        assert "/generate" in shown
        assert "/conversations/{conversation_id}" in shown.replace("\u200b", "")
        script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
        asked = {urlsplit(url).netloc for url in browser.execute_script(script) if url.startswith("http")}
        assert asked <= {urlsplit(address).netloc}
