"""Conversations of the service's own routes, answered by the models of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from docflow.engines.base import Answer, Limits, Turn, Usage
from docflow.engines.images import page_image
from docflow.errors import DocflowError, EngineTimeout
from docflow.server.service.managed import Managed, refused


async def answered(
    managed: Managed, name: str, turns_within: Callable[[int], Sequence[Turn]], limits: Limits, context: int
) -> Answer:
    """The answer of a model of this process, which is loaded where it is not.

    ``turns_within`` gives the turns that fit into so many tokens, in a thread; ``context`` counts where the model's own
    is not known. Cancelled, the model ends its writing. Raises Refusal, as the routes that name models do.
    """
    manager = managed.manager
    try:
        with managed.place():
            await manager.load_model(name)  # its time is not the answer's
            loaded = manager.loaded(name)
            room = loaded.model.context if loaded is not None else context
            messages = await asyncio.to_thread(lambda: messages_of(turns_within(room), limits.page_tokens))
            async with asyncio.timeout(limits.timeout_seconds):
                said = await manager.generate_chat_completion(
                    messages,
                    model=name,
                    max_tokens=limits.max_tokens,
                    temperature=limits.temperature,
                    top_p=limits.top_p,
                    seed=limits.seed,
                )
    except TimeoutError as error:
        raise EngineTimeout(f"{name} did not answer within {limits.timeout_seconds:g} s") from error
    except DocflowError as error:
        raise refused(error) from error
    return answer_of(said, loaded.model.backend if loaded is not None else "")


def messages_of(turns: Sequence[Turn], page_tokens: int) -> list[dict[str, Any]]:
    """Turns as OpenAI's protocol writes them."""
    return [{"role": turn.role, "content": [_part(part, page_tokens) for part in turn.parts]} for turn in turns]


def _part(part: Any, page_tokens: int) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": page_image(part, page_tokens).data_uri}}


def answer_of(said: Mapping[str, Any], backend: str) -> Answer:
    """A chat completion as an answer."""
    choice, used = said["choices"][0], said["usage"]
    return Answer(
        choice["message"]["content"],
        usage=Usage(
            used["prompt_tokens"], used["prompt_tokens_details"]["cached_tokens"], used["completion_tokens"], 1
        ),
        stop=choice["finish_reason"],
        engine=backend,
        model=said["model"],
    )
