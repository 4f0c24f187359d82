"""What to change at a server: its flags, and versions that nobody should run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

CONTEXT_ROOM = 2048
"""Tokens beside the pages: the instructions of a built-in program and an answer of usual length."""


class Remedy(Enum):
    """What can be wrong with a server."""

    VISION = auto()
    IMAGES = auto()
    GRAMMAR = auto()
    COMPACT = auto()
    PROBABILITIES = auto()
    NEWER = auto()
    CACHE = auto()
    CACHE_REPORT = auto()
    CONTEXT = auto()
    PIXELS = auto()
    SCHEDULE = auto()


_VISION = "a model that sees images, such as Qwen/Qwen2.5-VL-7B-Instruct"

_REMEDIES = {
    "sglang": {
        Remedy.VISION: _VISION,
        Remedy.IMAGES: "--limit-mm-data-per-request '{\"image\": 16}', or without that flag",
        Remedy.GRAMMAR: "--grammar-backend xgrammar",
        Remedy.COMPACT: "--constrained-json-disable-any-whitespace",
        Remedy.PROBABILITIES: "a newer SGLang",
        Remedy.NEWER: "a newer SGLang",
        Remedy.CACHE: "without --disable-radix-cache",
        Remedy.CACHE_REPORT: "--enable-cache-report",
        Remedy.CONTEXT: "a longer --context-length, or fewer tokens a page (extraction.page_tokens)",
        Remedy.PIXELS: "a larger max_pixels in the model's preprocessor_config.json (pixels: 784 a token)",
        Remedy.SCHEDULE: "--schedule-policy lpm",
    },
    "vllm": {
        Remedy.VISION: _VISION,
        Remedy.IMAGES: "--limit-mm-per-prompt '{\"image\": 16}'",
        Remedy.GRAMMAR: '--structured-outputs-config \'{"backend": "xgrammar"}\', and vLLM 0.12 or newer',
        Remedy.COMPACT: '--structured-outputs-config \'{"backend": "xgrammar", "disable_any_whitespace": true}\'',
        Remedy.PROBABILITIES: "--max-logprobs 20",
        Remedy.NEWER: "a newer vLLM",
        Remedy.CACHE: "--enable-prefix-caching",
        Remedy.CACHE_REPORT: "--enable-prompt-tokens-details, and not --no-enable-prefix-caching",
        Remedy.CONTEXT: "a longer --max-model-len, or fewer tokens a page (extraction.page_tokens)",
        Remedy.PIXELS: "--mm-processor-kwargs '{\"max_pixels\": 1003520}' (784 a token)",
        Remedy.SCHEDULE: "",
    },
}

_SAFE_FROM = {
    "sglang": ((0, 5, 10), "lets others on its network run code on the machine (CVE-2026-3059, CVE-2026-3060)"),
    "vllm": (
        (0, 30, 0),
        "can be brought down by a request to a Qwen2.5-VL model (PYSEC-2026-4353), among other faults",
    ),
}


def remedy_for(kind: str, remedy: Remedy) -> str:
    """What to start the server with, in the words of its kind."""
    return _REMEDIES[kind][remedy]


def warnings_for(kind: str, version: str) -> Iterator[str]:
    """Why this version should not be run, if it should not."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])
    safe, fault = _SAFE_FROM[kind]
    if not numbers:
        yield "the server does not say which version it is"
    elif numbers < safe:
        yield f"version {version} {fault}: update to {'.'.join(map(str, safe))} or newer"
