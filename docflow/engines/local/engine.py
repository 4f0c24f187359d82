"""Models that run in this process, as engines: a Request becomes a conversation, a Reply an Answer.

The model is loaded when it is first needed, once for all threads. A request waits in its caller's thread while the
model writes in another: so one that takes too long, or that nobody waits for any more, is given up at once, and the
model ends its writing at the next piece of text.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress

from docflow.engines.abandoning import Abandoned, current_call
from docflow.engines.asking import Asking
from docflow.engines.base import Answer, Health, Request, Turn, WantChoice, WantJson, WantText
from docflow.engines.chat import Reply, choice_regex
from docflow.engines.images import page_image
from docflow.engines.local.backends import backend, unavailable, why_not
from docflow.engines.local.model import Backend, Form, JsonForm, LocalModel, Message, ModelConfig, RegexForm, Sampling
from docflow.engines.local.names import config_of, shown_name
from docflow.engines.specs import EngineSpec
from docflow.engines.wire import wire_schema
from docflow.errors import EngineError, EngineTimeout, EngineUnavailable, NotEnoughMemory

_LOOK_SECONDS = 0.5
"""How often whoever waits for the model looks whether the engine was closed meanwhile."""


class LocalEngine:
    """A model in this process. Safe to share among threads."""

    def __init__(self, loader: Backend, config: ModelConfig) -> None:
        """Nothing is loaded yet."""
        self._loader, self._config = loader, config
        self._asking = Asking(loader.name)
        self._lock = threading.Lock()
        self._loading: Future[LocalModel] | None = None
        self._closed = threading.Event()

    @classmethod
    def of(cls, spec: EngineSpec) -> LocalEngine:
        """The engine that a spec names. Raises EngineUnavailable where its package is missing, ConfigError."""
        if why_not(spec.name):
            raise unavailable(spec.name)
        return cls(backend(spec.name), config_of(spec))

    @property
    def name(self) -> str:
        return self._loader.name

    @property
    def model(self) -> str:
        return shown_name(self._config.model_id)

    def answer(self, request: Request) -> Answer:
        """Answer one request; the first one waits until the model is loaded, which is not counted to its time."""
        model = self._model()
        deadline = time.monotonic() + request.limits.timeout_seconds

        def ask(question: Request, top: int) -> Reply:
            return self._ask(model, question, top, deadline)

        return self._asking.answer(request, ask, model=self.model, shown=self._shown)

    def health(self) -> Health:
        """Whether the model is there; loads it where that was not done yet."""
        try:
            model = self._model()
        except EngineError as error:
            return Health(False, self.model, error.message, hint=error.hint, gone=not error.retryable)
        return Health(True, self.model, f"context {model.context}")

    def close(self) -> None:
        """Give up what is under way and give back the model's memory. Waits for a load that is under way."""
        self._closed.set()
        with self._lock:
            loading, self._loading = self._loading, None
        if loading is not None:
            with suppress(EngineError):
                loading.result().close()

    @property
    def _shown(self) -> str:
        return f"{self.name} with {self.model}"

    # --- loading ------------------------------------------------------------------------------------------------

    def _model(self) -> LocalModel:
        """The model, loaded by the first who asks; others wait for it. Raises EngineError."""
        with self._lock:
            if self._closed.is_set():
                raise self._was_closed()
            loading, mine = self._loading, self._loading is None
            if loading is None:
                loading = self._loading = Future()
        if mine:
            self._load(loading)
        try:
            return loading.result()
        except EngineError as error:
            if mine:
                raise
            raise type(error)(error.message, hint=error.hint, retryable=error.retryable) from error

    def _load(self, loading: Future[LocalModel]) -> None:
        try:
            loading.set_result(self._loader.load(self._config))
        except BaseException as error:  # noqa: BLE001 (it is raised where somebody waits for the model)
            with self._lock:
                # What cannot change is remembered; the next request tries again where memory or a network was missing.
                if self._loading is loading and not (isinstance(error, EngineError) and not error.retryable):
                    self._loading = None
            if isinstance(error, MemoryError):
                error = NotEnoughMemory(f"there is not enough memory for {self.model}")
            loading.set_exception(error)

    # --- asking -------------------------------------------------------------------------------------------------

    def _ask(self, model: LocalModel, request: Request, top: int, deadline: float) -> Reply:
        limits = request.limits
        messages = [_message(turn, limits.page_tokens) for turn in request.turns]  # pages are made in this thread
        sampling = Sampling(
            max_tokens=limits.max_tokens,
            temperature=limits.temperature,
            top_p=limits.top_p,
            stop=limits.stop,
            seed=limits.seed,
            top=top,
        )
        writing: Future[Reply] = Future()

        def is_wanted(_: str) -> bool:
            return not (writing.done() or self._closed.is_set())

        def write() -> None:
            try:
                reply = model.chat(messages, sampling, form=_form(request), begun=request.begun, on_text=is_wanted)
            except BaseException as error:  # noqa: BLE001 (it is raised where somebody waits for it)
                with suppress(InvalidStateError):
                    writing.set_exception(error)
            else:
                with suppress(InvalidStateError):
                    writing.set_result(reply)

        call = current_call()
        if call is not None:
            call.check()
        threading.Thread(target=write, name=f"{self.name}-request", daemon=True).start()
        try:
            if call is not None:
                call.waits_for(writing)
            return self._wait(writing, request, deadline)
        except CancelledError:
            raise Abandoned from None
        finally:
            writing.cancel()  # where it was not done, nobody wants it any more

    def _wait(self, writing: Future[Reply], request: Request, deadline: float) -> Reply:
        while True:
            left = deadline - time.monotonic()
            try:
                reply = writing.result(max(0.0, min(left, _LOOK_SECONDS)))
            except TimeoutError:
                if writing.done():
                    raise  # the model's own
                if self._closed.is_set():
                    raise self._was_closed() from None
                if left <= 0:
                    raise EngineTimeout(
                        f"{self._shown} did not answer within {request.limits.timeout_seconds:g} s"
                    ) from None
            else:
                if reply.stop == "abort" and self._closed.is_set():
                    raise self._was_closed()
                return reply

    def _was_closed(self) -> EngineUnavailable:
        return EngineUnavailable(f"{self._shown} was closed", retryable=False)


def _message(turn: Turn, page_tokens: int) -> Message:
    """A turn with its pages as images. Raises DocumentError where a page cannot be shown."""
    parts = (part if isinstance(part, str) else page_image(part, page_tokens).data for part in turn.parts)
    return Message(turn.role, tuple(parts))


def _form(request: Request) -> Form | None:
    want = request.want
    if isinstance(want, WantJson):
        return JsonForm(wire_schema(want.schema))
    if isinstance(want, WantChoice):
        return RegexForm(choice_regex(want.choices))
    assert isinstance(want, WantText)
    return None if want.regex is None else RegexForm(want.regex)
