"""A manager for each backend: loads its models, answers with them, and gives them up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from docflow.engines.local.model import Backend, Embedded, LocalModel, ModelConfig, Sampling
from docflow.errors import ModelBusy, ModelNotFound
from docflow.models import replies, requests
from docflow.models.configs import checked
from docflow.models.memory import Memory, Place, give_back, place_of

T = TypeVar("T")

RETRY_SECONDS = 5.0
"""After which to come back, where a model is about to go."""


@dataclass(slots=True, eq=False)
class Loaded:
    """A model that is loaded. ``users`` requests are at it; ``leaving`` marks one that takes no more of them.

    ``needed`` are the bytes it is counted with, in ``place``.
    """

    name: str
    config: ModelConfig
    model: LocalModel
    sampling: Sampling
    needed: int
    place: Place
    seconds: float
    users: int = 0
    leaving: bool = False
    last_used: float = field(default_factory=time.monotonic)
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class Room:
    """What the managers of one process share: its memory, the threads that models work in, and the turn to load."""

    def __init__(self, memory: Memory, requests: int) -> None:
        self.memory = memory
        self.turn = asyncio.Lock()
        self.managers: list[BackendManager] = []
        self._threads = ThreadPoolExecutor(requests, thread_name_prefix="models")
        self._loader = ThreadPoolExecutor(2, thread_name_prefix="models-load")

    def held(self, place: Place) -> list[tuple[str, int]]:
        """Names and bytes of the models that are loaded in one place. Safe to call from any thread."""
        loaded = [one for manager in self.managers for one in list(manager.models.values())]
        return [(one.name, one.needed) for one in loaded if one.place == place]

    def answering(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Work with a model, in a thread."""
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def loading(self, work: Callable[[], T]) -> T:
        """Work on loading and unloading, in a thread of its own: requests never stand in its way."""
        return await asyncio.get_running_loop().run_in_executor(self._loader, work)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)


class BackendManager:
    """The models of one backend. Belongs to one event loop.

    ``models`` are those that are loaded, by name; ``sampling_params`` how each answers where a request does not say;
    ``device`` where they are loaded when nothing else is said: ``cuda`` or ``cpu``.
    """

    kind: ClassVar[str] = ""

    def __init__(self, backend: Backend, room: Room | None = None) -> None:
        self.backend = backend
        self.models: dict[str, Loaded] = {}
        self.sampling_params: dict[str, Sampling] = {}
        self.device: Place = place_of(backend.name, ModelConfig(""))
        self._room = room or Room(Memory(), requests=8)
        self._room.managers.append(self)
        self._loads: dict[str, tuple[ModelConfig, asyncio.Task[None]]] = {}
        self._unloads: dict[str, asyncio.Task[None]] = {}

    # --- loading --------------------------------------------------------------------------------------------------

    @property
    def loading(self) -> tuple[str, ...]:
        """The names of the models that are being loaded, or wait for their turn."""
        return tuple(self._loads)

    async def load_model(
        self, model_name: str, config: ModelConfig | None = None, *, sampling: Sampling | None = None
    ) -> None:
        """Load a model; nothing is done where it is loaded already, and whoever asks meanwhile waits for the same load.

        Raises ModelBusy where it is loaded, or being loaded, in another way; ModelNotFound, BrokenModel,
        NotEnoughMemory, EngineUnavailable; UsageError for settings that cannot be.
        """
        config = checked(config or ModelConfig(model_name))
        if (leaving := self._unloads.get(model_name)) is not None:
            await asyncio.shield(leaving)
        if (loaded := self.models.get(model_name)) is not None:
            if loaded.config != config:
                raise _otherwise(model_name, "loaded")
            return
        begun = self._loads.get(model_name)
        if begun is None:
            task = asyncio.create_task(self._load(model_name, config, sampling or Sampling()))
            begun = self._loads[model_name] = (config, task)
            task.add_done_callback(lambda done: self._loading_ended(model_name, done))
        elif begun[0] != config:
            raise _otherwise(model_name, "being loaded")
        await asyncio.shield(begun[1])

    async def _load(self, name: str, config: ModelConfig, sampling: Sampling) -> None:
        room = self._room
        async with room.turn:
            needed = await room.loading(lambda: self.backend.memory_needed(config))
            place = place_of(self.backend.name, config)
            if place == "cuda" and self.backend.name == "vllm":
                needed = max(needed, self._share_of_gpus(config))
            await room.loading(lambda: room.memory.check(name, needed, place, config, room.held(place)))
            started = time.monotonic()
            try:
                model = await room.loading(lambda: self.backend.load(config))
            except BaseException:
                await room.loading(give_back)
                raise
            self.models[name] = loaded = Loaded(
                name, config, model, sampling, needed, place, time.monotonic() - started
            )
            loaded.idle.set()
            self.sampling_params[name] = sampling

    def _share_of_gpus(self, config: ModelConfig) -> int:
        """What vLLM takes of its GPUs: a share of them, whatever the model needs."""
        _, total = self._room.memory.gpu(config.tensor_parallel_size)
        return int(total * config.gpu_memory_utilization)

    def _loading_ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._loads.pop(name, None)
        if not task.cancelled():
            task.exception()  # looked at: whoever waited may have gone

    async def unload_model(self, model_name: str) -> bool:
        """Unload a model once the requests at it are answered; it takes no more of them. Whether it was loaded.

        Raises ModelBusy while it is being loaded.
        """
        if model_name in self._loads:
            raise ModelBusy(f"{model_name} is being loaded", hint="Unload it when it is there.")
        loaded = self.models.get(model_name)
        if loaded is None:
            return False
        task = self._unloads.get(model_name)
        if task is None:
            loaded.leaving = True
            task = self._unloads[model_name] = asyncio.create_task(self._unload(loaded))
            task.add_done_callback(lambda _: self._unloads.pop(model_name, None))
        await asyncio.shield(task)
        return True

    async def _unload(self, loaded: Loaded) -> None:
        await loaded.idle.wait()
        async with self._room.turn:
            try:
                await self._room.loading(loaded.model.close)
            finally:
                del self.models[loaded.name]
                self.sampling_params.pop(loaded.name, None)
            await self._room.loading(give_back)

    async def close(self) -> None:
        """Unload everything; loads under way are waited for."""
        await asyncio.gather(*(task for _, task in list(self._loads.values())), return_exceptions=True)
        await asyncio.gather(*(self.unload_model(name) for name in list(self.models)))

    # --- answering ------------------------------------------------------------------------------------------------

    def take(self, name: str) -> Loaded:
        """A loaded model, to be used: it stays until it is given back. Raises ModelNotFound, ModelBusy."""
        loaded = self.models.get(name)
        if loaded is None:
            raise ModelNotFound(f"{name} is not loaded", hint=f"docflow models load {name}")
        if loaded.leaving:
            busy = ModelBusy(f"{name} is being unloaded", hint="Send it again in a moment.")
            busy.retry_after = RETRY_SECONDS
            raise busy
        loaded.users += 1
        loaded.idle.clear()
        return loaded

    def give(self, loaded: Loaded) -> None:
        """The end of one use."""
        loaded.users -= 1
        loaded.last_used = time.monotonic()
        if loaded.users == 0:
            loaded.idle.set()

    async def work(self, name: str, what: Callable[[LocalModel], T]) -> T:
        """What a thread gets from a model. The model stays until the thread is through, whoever still waits for it."""
        loaded = self.take(name)
        try:
            future = self._room.answering(lambda: what(loaded.model))
        except BaseException:
            self.give(loaded)
            raise
        future.add_done_callback(lambda done: self._worked(loaded, done))
        return await asyncio.shield(future)

    def _worked(self, loaded: Loaded, done: asyncio.Future[Any]) -> None:
        self.give(loaded)
        if not done.cancelled():
            done.exception()

    async def generate_completion(self, prompt: str, *, model: str, **fields: Any) -> dict[str, Any]:
        """What follows a text, as OpenAI's text completion. ``fields`` are a request's (``max_tokens``, ``stop`` ...).

        Raises UsageError for fields that cannot be, ModelNotFound, EngineError.
        """
        asked = requests.completion_of({"prompt": prompt, **fields})
        sampling = asked.sampling(self.sampling_params.get(model, Sampling()))
        reply = await self.work(model, lambda loaded: loaded.complete(asked.prompt, sampling))
        return replies.completion(model, reply)

    async def generate_chat_completion(
        self, messages: Iterable[dict[str, Any]], *, model: str, **fields: Any
    ) -> dict[str, Any]:
        """The answer to a conversation, as OpenAI's chat completion. Raises as ``generate_completion``."""
        asked = requests.chat_of({"messages": list(messages), **fields})
        sampling = asked.sampling(self.sampling_params.get(model, Sampling()))
        reply = await self.work(
            model,
            lambda loaded: loaded.chat(asked.messages, sampling, form=asked.form, begun=asked.begun),
        )
        return replies.chat_completion(model, reply, asked.logprobs)

    async def embed(self, texts: list[str], *, model: str) -> Embedded:
        """Texts as vectors. Raises CannotEmbed, ModelNotFound, EngineError."""
        return await self.work(model, lambda loaded: loaded.embed(texts))


class LLMManager(BackendManager):
    """Models of llama.cpp: GGUF files."""

    kind = "llama_cpp"


class TransformersManager(BackendManager):
    """Models of Transformers: folders of weights, and what is in the Hub's cache."""

    kind = "transformers"


class VLLMManager(BackendManager):
    """Models of vLLM in this process. vLLM itself is imported when the first of them is loaded."""

    kind = "vllm"


MANAGERS: dict[str, type[BackendManager]] = {one.kind: one for one in (LLMManager, TransformersManager, VLLMManager)}
"""The manager for each backend; another backend gets a BackendManager."""


def _otherwise(name: str, how: str) -> ModelBusy:
    return ModelBusy(
        f"{name} is {how} with other settings", hint=f"docflow models unload {name} first, or give it no settings."
    )
