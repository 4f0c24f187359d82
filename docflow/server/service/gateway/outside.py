"""An upstream that is a model of somebody else's, asked through the package litellm.

litellm takes its keys from the usual variables of each provider (``OPENAI_API_KEY`` and so on). What a request says
reaches it by a list of names only: it also takes addresses and keys by name, and those are nobody's to send.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import orjson

from docflow.engines.base import Health
from docflow.engines.transport import retry_after
from docflow.errors import ConfigError, EngineError, EngineTimeout, EngineUnavailable
from docflow.server.service.gateway.call import Call, Opened
from docflow.server.service.gateway.upstreams import Upstream
from docflow.settings import GatewaySettings

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
_TAKEN = frozenset(
    [
        "messages",
        "prompt",
        "input",
        "temperature",
        "top_p",
        "n",
        "stream",
        "stream_options",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "user",
        "response_format",
        "seed",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "suffix",
        "echo",
        "best_of",
        "dimensions",
        "encoding_format",
    ]
)
"""The fields that a request may bring, as the OpenAI protocol has them."""


class LitellmUpstream:
    """A model behind litellm. Nothing is looked at: each request shows how it is."""

    def __init__(self, spec: Upstream, gateway: GatewaySettings) -> None:
        """Raises ConfigError where the package or the provider's key is missing."""
        self._spec, self._gateway = spec, gateway
        self._litellm = _package(spec)
        self._litellm.suppress_debug_info = True  # else each failure prints an invitation to report it
        missing = _missing_keys(self._litellm, spec)
        if missing:
            raise ConfigError(
                f"upstream {spec.name!r} wants the environment variable {' and '.join(missing)}",
                hint="It holds the key of the model's provider.",
            )

    @property
    def models(self) -> tuple[dict[str, Any], ...]:
        return ({"id": self._spec.name, "object": "model", "created": 0, "owned_by": "litellm"},)

    def health(self) -> Health:
        return Health(ok=True, model=self._spec.target)

    def close(self) -> None:
        """Nothing is kept open."""

    async def open(self) -> None:
        """Nothing needs to be readied."""

    async def end(self) -> None:
        """Nothing is kept open."""

    async def send(self, call: Call, model: str) -> Opened:
        calls: dict[str, Callable[..., Any]] = {
            "chat": self._litellm.acompletion,
            "completion": self._litellm.atext_completion,
            "embeddings": self._litellm.aembedding,
        }
        given = {name: value for name, value in call.body.items() if name in _TAKEN}
        if call.stream and call.uncounted:
            given["stream_options"] = {"include_usage": True}
        seconds = self._gateway.answer_seconds
        given |= {"model": self._spec.target, "timeout": seconds, "num_retries": 0, "drop_params": True}
        try:
            async with asyncio.timeout(seconds):
                answer = await calls[call.kind](**given)
                if not call.stream:
                    return Opened(200, JSON, _json(answer))
                events = aiter(answer)
                first = await anext(events)
        except Exception as error:
            refused = self._refused(error)
            if refused is not None:
                return refused
            raise self._failure(error) from error
        return Opened(200, EVENTS, _event(first), self._rest(events))

    async def _rest(self, events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        try:
            while True:
                async with asyncio.timeout(self._gateway.silence_seconds):
                    try:
                        event = await anext(events)
                    except StopAsyncIteration:
                        break
                yield _event(event)
        except Exception as error:
            raise self._failure(error) from error
        yield b"data: [DONE]\n\n"

    def _refused(self, error: Exception) -> Opened | None:
        """The provider's refusal of the request itself, which is told to the client; None for what others may do."""
        status = getattr(error, "status_code", None)
        if status not in (400, 404, 413, 422):
            return None
        # The provider's words may hold addresses and parts of keys: the kind of error says enough.
        said = {"message": f"{self._spec.name} refused the request", "type": "invalid_request_error", "param": None}
        return Opened(status, JSON, orjson.dumps({"error": {**said, "code": type(error).__name__}}))

    def _failure(self, error: Exception) -> EngineError:
        name = self._spec.name
        if isinstance(error, TimeoutError) or getattr(error, "status_code", None) == 408:
            return EngineTimeout(f"{name} did not answer in time")
        failure = EngineUnavailable(f"{name} did not answer ({type(error).__name__})")
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        failure.retry_after = retry_after({"Retry-After": str(headers.get("retry-after", ""))})
        failure.no_room = getattr(error, "status_code", None) == 429
        return failure


def _package(spec: Upstream) -> Any:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches a list of prices when imported
    try:
        return importlib.import_module("litellm")
    except ModuleNotFoundError as error:
        if error.name != "litellm":
            raise
        raise ConfigError(
            f"upstream {spec.name!r} needs the package litellm", hint='pip install "docflow[litellm]"'
        ) from error


def _missing_keys(package: ModuleType, spec: Upstream) -> list[str]:
    """The variables that the model's provider wants and that are not set. Raises ConfigError for no model of theirs."""
    try:
        found = package.validate_environment(model=spec.target)
    except Exception as error:  # another package's border
        raise ConfigError(f"upstream {spec.name!r}: litellm knows no model {spec.target!r}") from error
    return [] if found.get("keys_in_environment") else [str(key) for key in found.get("missing_keys") or ()]


def _json(answer: Any) -> bytes:
    text: str = answer.model_dump_json()
    return text.encode()


def _event(chunk: Any) -> bytes:
    text: str = chunk.model_dump_json(exclude_none=True)
    return b"data: " + text.encode() + b"\n\n"
