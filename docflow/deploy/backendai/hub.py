"""What a model's own files say, asked of the Hub before anything is deployed."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from docflow.errors import ModelAccessError, UsageError

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(.+)", re.ASCII)
_MOST_BYTES = 1 << 20
_SECONDS = 20.0
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "n_ctx")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model. ``context`` 0, ``quantization`` None: not known; ``""``: known not to be quantised."""

    context: int = 0
    quantization: str | None = None
    images: bool = False


def model_id(text: str) -> str:
    """The id in ``org/name``, ``name`` or an address on the Hub. Raises UsageError for anything else."""
    given = text.strip()
    if address := _ADDRESS.fullmatch(given):
        parts = address[1].split("?")[0].split("#")[0].strip("/").split("/")
        given = "/".join(parts[:1] if parts[1:2] == ["tree"] else parts[:2])
    if not _ID.fullmatch(given) or ".." in given:
        raise UsageError(
            f"{text!r} names no model of the Hub",
            hint="Write org/name, such as Qwen/Qwen2-VL-7B-Instruct, or its https://huggingface.co/... address.",
        )
    return given


def facts_of(config: Mapping[str, Any]) -> ModelFacts:
    """The facts in a model's ``config.json``."""
    text = config.get("text_config")
    inner = text if isinstance(text, Mapping) else {}
    places = (inner, config)
    context = next(
        (value for place in places for name in _LENGTHS if isinstance(value := place.get(name), int) and value > 0), 0
    )
    scaling = inner.get("rope_scaling") or config.get("rope_scaling")
    if isinstance(scaling, Mapping):
        kind = scaling.get("rope_type", scaling.get("type"))
        factor = scaling.get("factor")
        if kind in ("linear", "dynamic", "yarn") and isinstance(factor, int | float) and factor > 1:
            original = scaling.get("original_max_position_embeddings")
            context = int((original if isinstance(original, int) else context) * factor)
    method = ""
    if isinstance(quantization := config.get("quantization_config"), Mapping):
        method = str(quantization.get("quant_method", "")).lower()
    return ModelFacts(context, method, isinstance(config.get("vision_config"), Mapping))


def look_up(model: str, token: str) -> tuple[ModelFacts | None, str]:
    """What the Hub says of a model, and a note where it could not be asked (the cluster may still reach it).

    Raises ModelAccessError where the Hub says that there is no such model, or that the token may not read it.
    """
    return asyncio.run(_look_up(model, token))


async def _look_up(model: str, token: str) -> tuple[ModelFacts | None, str]:
    import aiohttp

    base = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    url = f"{base}/{quote(model)}/resolve/main/config.json"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as client,
            client.get(url, headers=headers) as response,
        ):
            status = response.status
            body = await response.content.read(_MOST_BYTES) if status == 200 else b""
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return (
            None,
            f"the Hub could not be asked about {model} ({type(error).__name__}): only what docflow knows is checked",
        )
    if status in (401, 403, 404):
        raise no_access(model, bool(token))
    try:
        return facts_of(json.loads(body)), ""
    except (ValueError, AttributeError):
        return None, f"the Hub said nothing of use about {model} (HTTP {status}): only what docflow knows is checked"


def no_access(model: str, token_given: bool) -> ModelAccessError:
    """The error for a model that is not there, or not for this token."""
    hint = (
        f"Check the id, and accept the model's licence at https://huggingface.co/{model} with the token's account."
        if token_given
        else f"Check the id. For a private or gated model set HF_TOKEN, or pass --huggingface-token; gated ones want "
        f"their licence accepted at https://huggingface.co/{model} first."
    )
    return ModelAccessError(f"Repository not found or private: {model}", hint=hint)
