"""What a loaded model answered, as OpenAI's protocol writes it."""

from __future__ import annotations

import base64
import math
import struct
import time
import uuid
from typing import Any

from docflow.engines.base import Usage
from docflow.engines.chat import Reply, Step
from docflow.engines.local.model import Embedded

_IMPOSSIBLE = -9999.0
"""The log-probability of what cannot be; JSON has no infinity."""


def usage(used: Usage) -> dict[str, Any]:
    """The tokens of an answer."""
    return {
        "prompt_tokens": used.prompt,
        "completion_tokens": used.output,
        "total_tokens": used.prompt + used.output,
        "prompt_tokens_details": {"cached_tokens": used.cached},
    }


def completion(model: str, reply: Reply) -> dict[str, Any]:
    """A text completion."""
    choice = {"index": 0, "text": _text(reply.text), "logprobs": None, "finish_reason": reply.stop}
    return {**_head("cmpl", "text_completion", model), "choices": [choice], "usage": usage(reply.usage)}


def chat_completion(model: str, reply: Reply, logprobs: bool = False) -> dict[str, Any]:
    """A chat completion; with ``logprobs`` each token's probability and its alternatives'."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": _text(reply.text), "refusal": None},
        "logprobs": {"content": [_token(step) for step in reply.steps]} if logprobs else None,
        "finish_reason": reply.stop,
    }
    return {**_head("chatcmpl", "chat.completion", model), "choices": [choice], "usage": usage(reply.usage)}


class Chunks:
    """The events of one streamed answer, which have its id in common."""

    def __init__(self, model: str, *, chat: bool) -> None:
        self._chat = chat
        self._head = (
            _head("chatcmpl", "chat.completion.chunk", model) if chat else _head("cmpl", "text_completion", model)
        )

    def first(self) -> dict[str, Any]:
        """That an answer begins."""
        return self._event({"role": "assistant", "content": ""} if self._chat else "", None)

    def piece(self, text: str) -> dict[str, Any]:
        """A piece of its text."""
        return self._event({"content": _text(text)} if self._chat else _text(text), None)

    def last(self, reply: Reply, logprobs: bool) -> dict[str, Any]:
        """Why it ended, with the probabilities of all its tokens where those are wanted."""
        event = self._event({} if self._chat else "", reply.stop)
        if logprobs:
            event["choices"][0]["logprobs"] = {"content": [_token(step) for step in reply.steps]}
        return event

    def counted(self, reply: Reply) -> dict[str, Any]:
        """What it cost."""
        return {**self._head, "choices": [], "usage": usage(reply.usage)}

    def _event(self, said: Any, reason: str | None) -> dict[str, Any]:
        name = "delta" if self._chat else "text"
        choice = {"index": 0, name: said, "logprobs": None, "finish_reason": reason}
        return {**self._head, "choices": [choice]}


def embeddings(model: str, embedded: Embedded, *, packed: bool = False) -> dict[str, Any]:
    """Vectors; ``packed`` as base64 of 32-bit floats, little-endian."""
    data = [
        {"object": "embedding", "index": number, "embedding": _packed(vector) if packed else list(vector)}
        for number, vector in enumerate(embedded.vectors)
    ]
    used = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
    return {"object": "list", "data": data, "model": model, "usage": used}


def _packed(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _head(prefix: str, kind: str, model: str) -> dict[str, Any]:
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _token(step: Step) -> dict[str, Any]:
    top = [_prob(token, prob) for token, prob in sorted(step.top.items(), key=lambda one: -one[1])]
    return {**_prob(step.token, step.top.get(step.token, 0.0)), "top_logprobs": top}


def _prob(token: bytes, prob: float) -> dict[str, Any]:
    logprob = math.log(prob) if prob > 0 else _IMPOSSIBLE
    return {"token": token.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(token)}


def _text(text: str) -> str:
    """Text that JSON can carry: half of a surrogate pair cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
