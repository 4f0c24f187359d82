"""The programs are plain SGLang functions: for a document of one page upstream's own backend runs them too."""

from __future__ import annotations

from docflow.documents.model import Page


def test_smoke(sglang_url: str, vllm_url: str, page: Page) -> None:
    assert sglang_url
    assert page.width
