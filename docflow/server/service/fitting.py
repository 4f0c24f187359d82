"""Whether the limits of a service fit together: looked at before it starts."""

from __future__ import annotations

from docflow.errors import ConfigError
from docflow.server.service.images import page_tokens
from docflow.settings import ServeSettings

PROMPT_TOKENS = 128
"""Kept for a question beside an image, and for what a model's template adds."""


def check_limits(serve: ServeSettings) -> None:
    """Raises ConfigError where an answer, or an image and an answer, are longer than a conversation may be."""
    if serve.max_tokens >= serve.context:
        raise ConfigError(
            f"an answer may have {serve.max_tokens} tokens (serve.max_tokens), a conversation with its answer"
            f" {serve.context} (serve.context): nothing is left to ask with",
            hint="Set VLLM_MAX_MODEL_LEN higher, to what the server was started with, or MAX_TOKENS_CAP lower.",
        )
    image = page_tokens(serve.image_side)
    needed = image + serve.max_tokens + PROMPT_TOKENS
    if needed > serve.context:
        raise ConfigError(
            f"an image of {serve.image_side} x {serve.image_side} pixels takes {image:,} tokens: with an answer of"
            f" {serve.max_tokens} that is more than the {serve.context:,} of a conversation (serve.context)",
            hint=f"Set VLLM_MAX_MODEL_LEN to {needed} or more, or MAX_IMAGE_SIDE lower.",
        )
