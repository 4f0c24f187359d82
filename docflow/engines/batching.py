"""Single requests gathered into batches, for an engine that answers many at once: vLLM in this process, for one.

Servers need none of this: they batch what they get as it comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from docflow.errors import BadAnswer

P = TypeVar("P", contravariant=True)
S = TypeVar("S", contravariant=True)
Prompt = TypeVar("Prompt")
Params = TypeVar("Params")


class Completion(Protocol):
    """One of the texts that an engine wrote for a request."""

    @property
    def text(self) -> str: ...


class Output(Protocol):
    """What an engine wrote for a request."""

    @property
    def outputs(self) -> Sequence[Completion]: ...


class BatchEngine(Protocol[P, S]):
    """An engine that takes many prompts at once, as ``vllm.LLM`` does. Called from one thread at a time."""

    def generate(self, prompts: Sequence[P], sampling_params: Sequence[S]) -> Sequence[Any]:
        """An Output for each prompt, in their order; each prompt has parameters of its own."""
        ...


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Prompt, Params]):
    prompt: Prompt
    params: Params
    answer: asyncio.Future[str]
    since: float


class BatchProcessor(Generic[Prompt, Params]):
    """Hands requests to an engine in batches: the oldest first, ``max_batch_size`` at most.

    A batch goes once it is full, or ``max_wait_time`` seconds after its first request came, and when the engine is done
    with the one before it. For one event loop.
    """

    def __init__(
        self, engine: BatchEngine[Prompt, Params], max_batch_size: int = 32, max_wait_time: float = 0.1
    ) -> None:
        """Raises ValueError for a size below 1 or a time below 0."""
        if max_batch_size < 1 or max_wait_time < 0:
            raise ValueError("a batch holds one request at least, and waits no less than no time")
        self._engine, self._most, self._wait = engine, max_batch_size, max_wait_time
        self._queue: deque[_Waiting[Prompt, Params]] = deque()
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")

    async def add_request(self, prompt: Prompt, sampling_params: Params) -> str:
        """The text of the first completion of this prompt. Raises what the engine raised, and BadAnswer."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(prompt, sampling_params, loop.create_future(), loop.time())
        async with self._lock:
            self._queue.append(waiting)
            if self._worker is None:
                self._worker = asyncio.create_task(self._work())
        self._changed.set()
        try:
            return await waiting.answer
        finally:
            self._changed.set()  # where the caller was cancelled, its place in the batch is another's

    async def close(self) -> None:
        """Cancel whoever waits; what the engine is doing it does to its end."""
        async with self._lock:
            worker, self._worker = self._worker, None
            for waiting in self._queue:
                waiting.answer.cancel()
            self._queue.clear()
        if worker is not None:
            worker.cancel()
            await asyncio.wait((worker,))
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        """Send batches until nobody waits."""
        while True:
            await self._ripe()
            async with self._lock:
                batch = self._take()
                if not batch:
                    self._worker = None
                    return
            await self._send(batch)  # without the lock: others come meanwhile, and are the next batch

    async def _ripe(self) -> None:
        """Wait until a batch is full, its first request has waited long enough, or nobody waits."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            self._drop_cancelled()
            if not self._queue or len(self._queue) >= self._most:
                return
            left = self._queue[0].since + self._wait - loop.time()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _take(self) -> list[_Waiting[Prompt, Params]]:
        self._drop_cancelled()
        return [self._queue.popleft() for _ in range(min(self._most, len(self._queue)))]

    def _drop_cancelled(self) -> None:
        if any(waiting.answer.done() for waiting in self._queue):
            self._queue = deque(waiting for waiting in self._queue if not waiting.answer.done())

    async def _send(self, batch: Sequence[_Waiting[Prompt, Params]]) -> None:
        prompts, params = [one.prompt for one in batch], [one.params for one in batch]
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._engine.generate, prompts, params
            )
            if len(outputs) != len(batch):
                raise BadAnswer(f"the engine gave {len(outputs)} answers to {len(batch)} prompts")
        except asyncio.CancelledError:
            for one in batch:
                one.answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 (whatever an engine raises is its callers', each of whom waits)
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        for one, output in zip(batch, outputs, strict=True):
            if one.answer.done():
                continue
            if output.outputs:
                one.answer.set_result(output.outputs[0].text)
            else:
                one.answer.set_exception(BadAnswer("the engine gave no completion"))
