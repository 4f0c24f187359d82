"""docflow engines check against the real servers: what is there is seen to work, what is turned off is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from docflow.engines.check import Report, check
from tests.engines.kit.servers import CONTEXT, IMAGES, MODEL_NAME, Server


def missing(report: Report) -> dict[str, str]:
    return {ability.name: ability.remedy for ability in report.abilities if not ability.works}


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
def test_a_server_with_the_right_flags_can_do_everything_that_is_needed(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    report = check(url, page_tokens=400)
    assert report.kind == kind
    assert report.model == MODEL_NAME
    assert report.context == CONTEXT
    assert report.warnings == ()
    assert set(missing(report)) <= {"order by prefix"}
    seen = {ability.name: ability.detail for ability in report.abilities}
    assert seen["several images"] == f"{IMAGES} a request, not {2 * IMAGES}"
    assert seen["pages in full size"].startswith("a page of 3")


def test_a_server_that_makes_pages_smaller_is_found_out(vllm_url: str) -> None:
    # The tiny model takes 512 tokens an image at most; with a budget of 1,280 a page is more.
    report = check(vllm_url)
    assert report.complete
    assert "max_pixels" in missing(report)["pages in full size"]


def test_a_server_without_the_flags_is_told_which(server_factory: Callable[..., Server]) -> None:
    server = server_factory(
        "vllm",
        *("--max-model-len", "2048", "--no-enable-prompt-tokens-details"),
        *(
            "--limit-mm-per-prompt",
            '{"image": 1, "video": 0}',
            "--structured-outputs-config",
            '{"backend": "xgrammar"}',
        ),
    )
    lacks = missing(check(server.url))
    assert "--limit-mm-per-prompt" in lacks["several images"]
    assert "--enable-prompt-tokens-details" in lacks["cached tokens reported"]
    assert "--max-model-len" in lacks["room for a page"]
    assert "disable_any_whitespace" in lacks["JSON without blanks"]


def test_the_command_prints_json_and_no_credentials(sglang_url: str) -> None:
    place = urlsplit(sglang_url).netloc
    command = [sys.executable, "-m", "docflow", "engines", "check", f"http://me:s3cret@{place}", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["url"] == sglang_url
    assert "s3cret" not in done.stdout + done.stderr
