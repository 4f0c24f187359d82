"""One manager for all models: it finds out who runs a model, loads it, answers with it, and gives it up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from docflow.engines.chat import Reply
from docflow.engines.local import backends
from docflow.engines.local.model import Backend, LocalModel, ModelConfig
from docflow.errors import DocflowError, EngineError, EngineUnavailable, ModelBusy, ModelNotFound
from docflow.models import replies, requests
from docflow.models.catalogue import Catalogue
from docflow.models.configs import Configs
from docflow.models.listing import Listing
from docflow.models.managers import (
    MANAGERS,
    BackendManager,
    LLMManager,
    Loaded,
    Room,
    TransformersManager,
    VLLMManager,
)
from docflow.models.memory import Memory
from docflow.models.routing import Route, Router, error_by_name, nothing_available
from docflow.settings import ModelOptions, Settings
from docflow.sizes import MIB

MOST_IDLE_LOOK_SECONDS = 10.0
"""Between two looks at models that nobody asks anything."""


class UnifiedModelManager:
    """Models by name, whoever runs them. Belongs to one event loop; ``close`` ends it.

    ``llm_manager``, ``transformers_manager`` and ``vllm_manager`` are there where their backend can be used, else
    None; ``managers`` has these and any further one by its backend's name. ``active_backend`` runs what leaves the
    choice open.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        backends_here: Mapping[str, Backend] | None = None,
        memory: Memory | None = None,
        only_to_list: bool = False,
    ) -> None:
        """``backends_here`` are those to use; by default all that can be used on this machine.

        Raises ConfigError for settings that cannot be, EngineUnavailable where no backend can be used, or not the one
        that ``models.mode`` names. With ``only_to_list`` that is no error: ``active_backend`` is "" then, and models
        can be listed, each with its ``problem``.
        """
        chosen = settings.models
        self.settings = chosen
        self.llm_manager: LLMManager | None = None
        self.transformers_manager: TransformersManager | None = None
        self.vllm_manager: VLLMManager | None = None
        if backends_here is None:
            backends_here = {name: backends.backend(name) for name in backends.available()}
        limit = chosen.memory_mb * MIB if chosen.memory_mb is not None else None
        self._room = Room(memory or Memory(limit), chosen.requests)
        self.managers: dict[str, BackendManager] = {}
        for name, backend in backends_here.items():
            self.add(name, backend)
        try:
            self.active_backend = _active(chosen.mode, tuple(self.managers))
        except EngineUnavailable:
            if not only_to_list:
                raise
            self.active_backend = ""
        self.catalogue = Catalogue(chosen.folder or settings.cache_dir / "models")
        self.router = Router(Configs(chosen), self.catalogue, tuple(self.managers), self.active_backend)
        self._listing = Listing(self.router, self.managers, self._room)
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    def add(self, name: str, backend: Backend) -> BackendManager:
        """Add a backend, of whatever kind: its models are loaded, listed and asked like all others."""
        manager = MANAGERS.get(name, BackendManager)(backend, self._room)
        self.managers[name] = manager
        match manager:
            case LLMManager():
                self.llm_manager = manager
            case TransformersManager():
                self.transformers_manager = manager
            case VLLMManager():
                self.vllm_manager = manager
        return manager

    async def close(self) -> None:
        """Unload everything, and end the threads."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        for manager in self.managers.values():
            await manager.close()
        self._room.close()

    async def __aenter__(self) -> UnifiedModelManager:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- loading --------------------------------------------------------------------------------------------------

    async def load_model(
        self,
        model_name: str,
        config: ModelConfig | ModelOptions | None = None,
        backend: str | None = None,
        *,
        wait: bool = True,
    ) -> None:
        """Load a model by its name. A model that is loaded stays as it is.

        ``config`` goes on top of the name's own settings, ``backend`` wins over the routing. Without ``wait``, another
        model's load that is under way is no reason to wait, but ModelBusy. Raises UsageError, ModelNotFound,
        BrokenModel, NotEnoughMemory, EngineUnavailable (nobody here can run it), ModelBusy (it is loaded otherwise).
        """
        await self._load(model_name, config, backends.canonical(backend) if backend else "", wait)

    async def _load(
        self, name: str, config: ModelConfig | ModelOptions | None, backend: str, wait: bool
    ) -> tuple[BackendManager, str]:
        key = self.router.key_of(name)
        for running, manager in self.managers.items():
            if key in manager.models and not manager.models[key].leaving:
                if backend and backend != running:
                    raise ModelBusy(
                        f"{name} is loaded by {running.replace('_', '-')}", hint=f"docflow models unload {name} first."
                    )
                if config is None:
                    return manager, key
        route = await asyncio.to_thread(self.router.route, name, config, backend)
        loading = [one for manager in self.managers.values() for one in manager.loading if one != key]
        if loading and not wait:
            busy = ModelBusy(f"{loading[0]} is being loaded", hint="Load it when that one is there.")
            busy.retry_after = 5.0
            raise busy
        manager = self.managers[route.backend]
        for other in self.managers.values():
            if other is not manager and key in other.loading:
                raise ModelBusy(f"{name} is being loaded by another backend")
        try:
            await manager.load_model(key, route.config, sampling=route.sampling)
        except EngineError as error:
            raise error_by_name(error, route.config, route.model_id) from error
        self._watch_idle()
        return manager, key

    async def _ready(self, model: str | None) -> tuple[BackendManager, str]:
        """The manager of a model that is there now, to be asked before anything else happens; its key."""
        while True:
            try:
                manager, key = await self._load(model or self.settings.default, None, "", True)
            except ModelNotFound as error:
                if model:
                    raise
                raise ModelNotFound(error.message, hint=f"{self.default_named} {error.hint}".rstrip()) from error
            found = manager.models.get(key)
            if found is not None and not found.leaving:  # it may have gone while this was waiting to go on
                return manager, key

    @property
    def default_named(self) -> str:
        """What to tell whoever named no model, where the default is not here."""
        return f"No model was named, and {self.settings.default} is the default (models.default)."

    async def unload_model(self, model_name: str) -> bool:
        """Unload a model once the requests at it are answered, and give its memory back. Whether it was loaded.

        Raises ModelBusy while it is being loaded.
        """
        key = self.router.key_of(model_name)
        found = [await manager.unload_model(key) for manager in self.managers.values()]
        return any(found)

    def loaded(self, model_name: str) -> Loaded | None:
        """The model of this name, if it is loaded. Raises UsageError for a name that is none."""
        key = self.router.key_of(model_name)
        return next((found for manager in self.managers.values() if (found := manager.models.get(key))), None)

    def _watch_idle(self) -> None:
        if self.settings.idle_seconds is not None and self._watch is None and not self._closed:
            self._watch = asyncio.create_task(self._unload_idle(self.settings.idle_seconds))

    async def _unload_idle(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(min(seconds / 4, MOST_IDLE_LOOK_SECONDS))
            now = time.monotonic()
            for manager in self.managers.values():
                for one in list(manager.models.values()):
                    if one.users == 0 and now - one.last_used >= seconds and one.name not in manager.loading:
                        await manager.unload_model(one.name)

    # --- what there is --------------------------------------------------------------------------------------------

    async def list_models(self) -> list[dict[str, Any]]:
        """Every model that can be named: aliases, files and folders of docflow's own folder, and the Hub's cache.

        Each with ``id``, ``alias`` (of which it is one), ``backend``, ``loaded``, ``present`` (whether its files are
        here), ``memory_bytes``, ``fits``, ``settings``, and ``problem`` where it cannot be loaded.
        """
        names = await asyncio.to_thread(self.names)
        return await asyncio.to_thread(lambda: [self._listing.described(name) for name in names])

    async def describe(self, model_name: str) -> dict[str, Any]:
        """One model as ``list_models`` has it. Raises UsageError for a name that is none."""
        return await asyncio.to_thread(self._listing.described, model_name)

    def names(self) -> list[str]:
        """What ``list_models`` lists. Looks at the disk."""
        return self._listing.names()

    def route(self, name: str) -> Route:
        """Where a name leads. Looks at the disk. Raises as ``load_model`` before it loads."""
        return self.router.route(name)

    # --- answering ------------------------------------------------------------------------------------------------

    async def generate_completion(self, prompt: str, *, model: str | None = None, **fields: Any) -> dict[str, Any]:
        """What follows a text, as OpenAI's text completion; the model is loaded where it is not.

        ``fields`` are a request's: ``max_tokens``, ``temperature``, ``top_p``, ``top_k``, ``stop``, ``seed``. Raises
        UsageError for fields that cannot be, EngineRefused, and as ``load_model``.
        """
        asked = requests.completion_of({"prompt": prompt, **fields})
        name, reply = await self._answer(model, asked, None)
        return replies.completion(name, reply)

    async def generate_chat_completion(
        self, messages: Iterable[Mapping[str, Any]], *, model: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """The answer to a conversation, as OpenAI's chat completion. Raises as ``generate_completion``.

        Beside those of a completion ``fields`` take ``response_format``, ``logprobs`` and ``top_logprobs``.
        """
        asked = requests.chat_of({"messages": list(messages), **fields})
        name, reply = await self._answer(model, asked, None)
        return replies.chat_completion(name, reply, asked.logprobs)

    async def stream_chat_completion(
        self, messages: Iterable[Mapping[str, Any]], *, model: str | None = None, **fields: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """The same in pieces, as they are written: OpenAI's chunks, the last one with what it cost."""
        asked = requests.chat_of({"messages": list(messages), **fields})
        async for event in self._stream(model, asked, chat=True):
            yield event

    async def stream_completion(
        self, prompt: str, *, model: str | None = None, **fields: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """``generate_completion`` in pieces."""
        asked = requests.completion_of({"prompt": prompt, **fields})
        async for event in self._stream(model, asked, chat=False):
            yield event

    async def embed(
        self, texts: str | list[str], *, model: str | None = None, encoding_format: str = "float"
    ) -> dict[str, Any]:
        """Texts as vectors, as OpenAI's embeddings. Raises CannotEmbed, and as ``load_model``."""
        asked = requests.embedding_of({"input": texts, "encoding_format": encoding_format})
        name = model or self.settings.default
        manager, key = await self._ready(model)
        config = manager.models[key].config
        try:
            embedded = await manager.embed(asked.texts, model=key)
        except EngineError as error:
            raise error_by_name(error, config, name) from error
        return replies.embeddings(name, embedded, packed=asked.encoding_format == "base64")

    async def _answer(
        self, model: str | None, asked: requests.Asked, on_text: Callable[[str], bool] | None
    ) -> tuple[str, Reply]:
        name = model or self.settings.default
        manager, key = await self._ready(model)
        left = threading.Event()

        def heard(piece: str) -> bool:
            return not left.is_set() and (on_text is None or on_text(piece))

        config = manager.models[key].config
        sampling = asked.sampling(manager.sampling_params[key])

        def work(loaded: LocalModel) -> Reply:
            if asked.messages:
                return loaded.chat(asked.messages, sampling, form=asked.form, begun=asked.begun, on_text=heard)
            return loaded.complete(asked.prompt, sampling, on_text=heard)

        try:
            return name, await manager.work(key, work)
        except EngineError as error:
            raise error_by_name(error, config, name) from error
        finally:
            left.set()  # whoever asked may have gone: then nothing more is written

    async def _stream(self, model: str | None, asked: requests.Asked, *, chat: bool) -> AsyncIterator[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def heard(piece: str) -> bool:
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except RuntimeError:  # the loop has ended, and nobody reads on
                return False
            return True

        answering = asyncio.ensure_future(self._answer(model, asked, heard))
        answering.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            piece = await pieces.get()
            if piece is None and (failed := answering.exception()) is not None:
                raise failed
            chunks = replies.Chunks(model or self.settings.default, chat=chat)
            yield chunks.first()
            while piece is not None:
                if piece:
                    yield chunks.piece(piece)
                piece = await pieces.get()
            _, reply = answering.result()
            yield chunks.last(reply, asked.logprobs)
            yield chunks.counted(reply)
        finally:
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError, DocflowError):
                await answering


def _active(mode: str, available: tuple[str, ...]) -> str:
    """The backend for what leaves the choice open. Raises EngineUnavailable."""
    if mode != "auto":
        name = backends.canonical(mode)
        if name not in available:
            raise backends.unavailable(name)
        return name
    for name in (*backends.TABLE, *available):
        if name in available:
            return name
    raise nothing_available()
