"""llama.cpp in this process: GGUF models, which read images where their projector is named.

One request at a time: a context of llama.cpp holds one conversation. What two requests begin with is read once, as on
the servers: the second goes on where the first one's conversation parts from its own.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from docflow.engines.base import Usage
from docflow.engines.chat import Reply, Step
from docflow.engines.local import llama_trial
from docflow.engines.local.backends import has_gpu
from docflow.engines.local.gguf_file import GgufFile, read_gguf, read_parts
from docflow.engines.local.llama_eyes import Chunk
from docflow.engines.local.llama_grammar import grammar_of
from docflow.engines.local.llama_library import PACKAGE, library, missing_package
from docflow.engines.local.llama_memory import bytes_needed, context_of, embeds, ranks
from docflow.engines.local.llama_opened import Opened, Opening
from docflow.engines.local.llama_prompt import Part, Text, prompt_of
from docflow.engines.local.model import Embedded, Form, Message, ModelConfig, Sampling
from docflow.errors import BrokenModel, CannotEmbed, EngineRefused, EngineUnavailable, NotEnoughMemory
from docflow.machine import main_memory, usable_cores
from docflow.sizes import shown_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from docflow.engines.base import StopReason

_ALL_LAYERS = 999


class LlamaBackend:
    """Loads GGUF files."""

    name = "llama_cpp"

    def missing(self) -> str:
        """The package that is not installed, or ""."""
        return "" if importlib.util.find_spec("llama_cpp") else PACKAGE

    def memory_needed(self, config: ModelConfig) -> int:
        """Bytes for the weights, the cache of a whole context and the work. Raises ModelNotFound, BrokenModel."""
        parts, projector = _files(config)
        return bytes_needed(parts, projector, config.context)

    def load(self, config: ModelConfig) -> LlamaModel:
        """Load a model. Raises ModelNotFound, BrokenModel, NotEnoughMemory, EngineUnavailable."""
        if self.missing():
            raise missing_package(PACKAGE)
        parts, projector = _files(config)
        layers = _gpu_layers(config)
        if layers == 0:
            _check_memory(config, bytes_needed(parts, projector, config.context))
        opening = Opening(
            model=config.model_id,
            projector=config.projector,
            context=context_of(parts[0], config.context),
            embeds=embeds(parts[0]),
            gpu_layers=layers,
            threads=config.threads or usable_cores(),
        )
        llama_trial.check(opening)
        return LlamaModel(parts[0], Opened(opening))


BACKEND = LlamaBackend()


def _files(config: ModelConfig) -> tuple[tuple[GgufFile, ...], GgufFile | None]:
    parts = read_parts(Path(config.model_id))
    if parts[0].architecture == "clip":
        raise BrokenModel(
            f"{config.model_id} is a projector, no model", hint="Name the model's own file, and this as its projector."
        )
    projector = read_gguf(Path(config.projector)) if config.projector else None
    if projector is not None and projector.architecture != "clip":
        raise BrokenModel(
            f"{config.projector} is a model, no projector",
            hint="A projector's file is most often called mmproj-...gguf.",
        )
    return parts, projector


def _check_memory(config: ModelConfig, needed: int) -> None:
    free, _ = main_memory()
    if needed > free:
        raise NotEnoughMemory(
            f"{config.model_id} needs about {shown_size(needed)}, and {shown_size(free)} are free",
            hint="Load it with less context, take a smaller file of the model, or unload another one.",
        )


def _gpu_layers(config: ModelConfig) -> int:
    """Layers on a GPU: -1 for as many as there are, and none where there is no GPU."""
    if config.device == "cpu":
        return 0
    if config.device == "auto" and not (has_gpu() and library().llama.llama_supports_gpu_offload()):
        return 0
    return _ALL_LAYERS if config.device == "cuda" and config.gpu_layers < 0 else config.gpu_layers


class LlamaModel:
    """A GGUF model that is loaded. Threads wait for one another."""

    backend = "llama_cpp"

    def __init__(self, file: GgufFile, opened: Opened) -> None:
        self._name = file.path.stem
        self._embeds, self._ranks = embeds(file), ranks(file)
        self._opened: Opened | None = opened
        self._lock = threading.Lock()
        self._read: list[Chunk] = []  # what the context holds, in order
        self._barred: NDArray[np.bool_] | None = None
        self._context = opened.context

    @property
    def name(self) -> str:
        """The file's name, without its ending."""
        return self._name

    @property
    def context(self) -> int:
        """Tokens of a conversation with its answer."""
        return self._context

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        form: Form | None = None,
        begun: str = "",
        on_text: Callable[[str], bool] | None = None,
    ) -> Reply:
        """The answer to a conversation. Raises EngineRefused, SchemaError, EngineError."""
        grammar = grammar_of(form) if form is not None else ""
        with self._lock:
            opened = self._writer()
            parts = prompt_of(opened.template, messages, begun, opened.names())
            return self._answer(opened, parts, sampling, grammar, on_text)

    def complete(self, prompt: str, sampling: Sampling, *, on_text: Callable[[str], bool] | None = None) -> Reply:
        """What follows a text; names of special tokens in it are those tokens. Raises EngineRefused, EngineError."""
        with self._lock:
            return self._answer(self._writer(), [Text(prompt, True)], sampling, "", on_text)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Texts as vectors of length 1. Raises CannotEmbed, EngineRefused, EngineError."""
        vectors: list[tuple[float, ...]] = []
        tokens = 0
        with self._lock:
            opened = self._usable()
            if not self._embeds or self._ranks:
                raise CannotEmbed(
                    f"{self._name} gives no embeddings",
                    hint="Load a model that was made for them (bge, nomic-embed, Qwen3-Embedding ...).",
                )
            for text in texts:
                read = opened.tokens_to_embed(text)
                if len(read) > self._context:
                    raise EngineRefused(
                        f"a text of {len(read)} tokens does not fit the {self._context} that {self._name} reads",
                        hint="Cut the text into pieces.",
                    )
                tokens += len(read)
                vectors.append(_of_length_one(opened.vector(read)))
        return Embedded(tuple(vectors), tokens)

    def close(self) -> None:
        """Give back the model's memory, once it answers nobody. May be called twice."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
            self._opened = None
            self._read = []

    # --- answering

    def _usable(self) -> Opened:
        if self._opened is None:
            raise EngineUnavailable(f"{self._name} was closed", retryable=False)
        return self._opened

    def _writer(self) -> Opened:
        opened = self._usable()
        if self._embeds:
            raise EngineRefused(f"{self._name} gives embeddings, and no text", hint="Choose a model that writes.")
        return opened

    def _answer(
        self,
        opened: Opened,
        parts: Sequence[Part],
        sampling: Sampling,
        grammar: str,
        on_text: Callable[[str], bool] | None,
    ) -> Reply:
        with opened.chunks_of(parts) as chunks:
            prompt = sum(chunk.tokens for chunk in chunks)
            if prompt >= self._context:
                raise EngineRefused(
                    f"the conversation takes {prompt} tokens, and {self._name} has room for {self._context}",
                    hint="Send fewer or smaller pages, or load the model with more context.",
                )
            if not chunks or chunks[-1].image is not None:
                raise EngineRefused("there is nothing to answer: the conversation ends without a text")
            try:
                cached = self._read_prompt(opened, chunks)
                room = min(sampling.max_tokens, self._context - prompt)
                text, stop, steps = self._write(opened, sampling, grammar, room, on_text)
            except BaseException:
                self._forget(opened, 0)  # what llama.cpp holds now nobody can tell
                raise
        # Pointers to images end with their chunks; what they were stays known by their keys.
        self._read = [Chunk(one.key, one.tokens, one.positions, one.token) for one in self._read]
        return Reply(text, stop, tuple(steps), Usage(prompt, cached, len(steps), 1))

    def _read_prompt(self, opened: Opened, chunks: Sequence[Chunk]) -> int:
        """Read what the context does not hold yet; the tokens that it did."""
        same = 0
        # The last one is always read: its scores are wanted.
        for mine, theirs in zip(self._read, chunks[:-1], strict=False):
            if mine.key != theirs.key:
                break
            same += 1
        self._forget(opened, same)
        cached = sum(chunk.tokens for chunk in self._read)
        position = sum(chunk.positions for chunk in self._read)
        at = len(self._read)
        while at < len(chunks):
            until = at
            while until < len(chunks) and chunks[until].image is None:
                until += 1
            if until > at:
                opened.read_tokens([chunk.token for chunk in chunks[at:until]], position)
            else:
                until = at + 1
                opened.read_image(chunks[at], position)
            self._read += chunks[at:until]
            position += sum(chunk.positions for chunk in chunks[at:until])
            at = until
        return cached

    def _forget(self, opened: Opened, kept: int) -> None:
        """Forget what the context holds after its first ``kept`` chunks."""
        position = sum(chunk.positions for chunk in self._read[:kept])
        whole = opened.forget_from(position)
        self._read = self._read[:kept] if whole else []

    def _write(
        self,
        opened: Opened,
        sampling: Sampling,
        grammar: str,
        room: int,
        on_text: Callable[[str], bool] | None,
    ) -> tuple[str, StopReason, list[Step]]:
        from docflow.engines.local.llama_writing import Picker, Written, next_tokens, step_of

        picker, written = Picker(sampling), Written(sampling.stop, on_text)
        position = sum(chunk.positions for chunk in self._read)
        steps: list[Step] = []
        stop: StopReason = "length"
        bounds = opened.grammar(grammar) if grammar else None
        barred = self._barred_tokens(opened) if grammar else None
        try:
            while len(steps) < room:
                following = next_tokens(opened.scores(), bounds, barred)
                if not len(following.tokens):
                    stop = "abort"  # the grammar allows what no token of the model can say
                    break
                place = picker.pick(following)
                token = int(following.tokens[place])
                steps.append(step_of(following, place, sampling.top, opened.told))
                if opened.is_end(token):
                    stop = "stop"
                    break
                written.add(opened.written(token))
                if written.stopped or written.left:
                    stop = "stop" if written.stopped else "abort"
                    break
                if len(steps) < room:
                    if bounds is not None:
                        bounds.accept(token)
                    opened.read_tokens([token], position)
                    self._read.append(Chunk(token, 1, 1, token))
                    position += 1
        finally:
            if bounds is not None:
                bounds.close()
        return written.end(stop), stop, steps

    def _barred_tokens(self, opened: Opened) -> NDArray[np.bool_]:
        """Special tokens, whose names a grammar would take for text, except those that end an answer."""
        import numpy as np

        if self._barred is None:
            found = [opened.is_control(token) and not opened.is_end(token) for token in range(opened.vocabulary_size)]
            self._barred = np.array(found)
        return self._barred


def _of_length_one(vector: Sequence[float]) -> tuple[float, ...]:
    length = math.sqrt(math.fsum(value * value for value in vector))
    return tuple(value / length for value in vector) if length and math.isfinite(length) else tuple(vector)
