"""A GGUF model that llama.cpp has opened: the calls of its C interface that are needed, with errors as docflow's."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docflow.engines.local.llama_eyes import Chunk, Eyes, token_chunk
from docflow.engines.local.llama_library import INSTALL, last_words, library, not_opened
from docflow.engines.local.llama_memory import BATCH
from docflow.engines.local.llama_prompt import Part, Text
from docflow.errors import BadAnswer, EngineError, EngineRefused, EngineUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Opening:
    """How a model is opened: its file, its projector ("" for none), tokens of context, layers on a GPU, threads.

    ``embeds`` says that it is one for embeddings, which reads a text in one go.
    """

    model: str
    projector: str
    context: int
    embeds: bool
    gpu_layers: int
    threads: int


class Opened:
    """A model with its context. Not safe to be called from two threads at once."""

    def __init__(self, opening: Opening) -> None:
        self._llama = library().llama
        self._model: Any = None
        self._context: Any = None
        self._batch: Any = None
        self._eyes: Eyes | None = None
        self._pieces: dict[int, bytes] = {}
        last_words()  # what it said of others
        try:
            self._open(opening)
        except BaseException:
            self.close()
            raise

    def _open(self, opening: Opening) -> None:
        llama = self._llama
        if opening.gpu_layers > 0 and not llama.llama_supports_gpu_offload():
            raise EngineUnavailable(
                "llama.cpp was built without a GPU",
                hint=f'CMAKE_ARGS="-DGGML_CUDA=on" {INSTALL}, or load the model on the CPU.',
                retryable=False,
            )
        settings = llama.llama_model_default_params()
        settings.n_gpu_layers = opening.gpu_layers
        self._model = llama.llama_model_load_from_file(os.fsencode(opening.model), settings)
        if not self._model:
            raise not_opened(opening.model)
        self._vocabulary = llama.llama_model_get_vocab(self._model)
        self.vocabulary_size = int(llama.llama_vocab_n_tokens(self._vocabulary))
        self._make_context(opening)
        if opening.projector:
            self._eyes = Eyes(opening.projector, self._model, gpu=opening.gpu_layers != 0, threads=opening.threads)

    def _make_context(self, opening: Opening) -> None:
        llama = self._llama
        settings = llama.llama_context_default_params()
        settings.n_ctx = opening.context
        settings.n_batch = settings.n_ubatch = opening.context if opening.embeds else min(BATCH, opening.context)
        settings.n_seq_max = 1
        settings.n_threads = settings.n_threads_batch = opening.threads
        settings.embeddings = opening.embeds
        settings.no_perf = True
        if not opening.embeds:
            settings.n_outputs_max = 1
        if opening.gpu_layers == 0:
            settings.offload_kqv = settings.op_offload = False
        self._context = llama.llama_init_from_model(self._model, settings)
        if not self._context:
            raise not_opened(opening.model)
        self.context = min(opening.context, int(llama.llama_n_ctx(self._context)))
        self.batch = int(llama.llama_n_ubatch(self._context))
        self._batch = llama.llama_batch_init(self.batch, 0, 1)
        self._memory = llama.llama_get_memory(self._context)

    def close(self) -> None:
        """Give everything back. May be called twice."""
        if self._batch is not None:
            self._llama.llama_batch_free(self._batch)
        if self._eyes is not None:
            self._eyes.close()
        if self._context:
            self._llama.llama_free(self._context)
        if self._model:
            self._llama.llama_model_free(self._model)
        self._model = self._context = self._eyes = self._batch = None

    # --- what the model says of itself

    def metadata(self, key: str) -> str:
        """A value of the file's metadata as text, "" where there is none."""
        size = 256
        while True:
            space = ctypes.create_string_buffer(size)
            length = self._llama.llama_model_meta_val_str(self._model, key.encode(), space, size)
            if length < size:
                return space.value.decode("utf-8", "replace") if length >= 0 else ""
            size = length + 1

    @property
    def template(self) -> str:
        return self.metadata("tokenizer.chat_template")

    def names(self) -> dict[str, str]:
        """The special tokens that templates write."""
        found = {
            "bos_token": self._llama.llama_vocab_bos(self._vocabulary),
            "eos_token": self._llama.llama_vocab_eos(self._vocabulary),
        }
        return {
            name: self._piece(token).decode("utf-8", "replace") if token >= 0 else "" for name, token in found.items()
        }

    # --- texts and tokens

    def tokens_of(self, text: str, *, special: bool) -> list[int]:
        """A text as tokens; names of special tokens are those tokens where ``special`` is set."""
        raw = text.encode("utf-8", "replace")
        room = len(raw) + 8
        while True:
            space = (self._llama.llama_token * room)()
            count = self._llama.llama_tokenize(self._vocabulary, raw, len(raw), space, room, False, special)
            if count >= 0:
                return list(space[:count])
            room = -count

    def tokens_to_embed(self, text: str) -> list[int]:
        """A text as tokens, with those around it that the model was trained with."""
        raw = text.encode("utf-8", "replace")
        space = (self._llama.llama_token * (len(raw) + 8))()
        count = self._llama.llama_tokenize(self._vocabulary, raw, len(raw), space, len(space), True, False)
        return list(space[: max(count, 0)])

    def with_beginning(self, tokens: list[int]) -> list[int]:
        """Tokens after the one that begins every text, where the model wants one and it is not there."""
        begin = self._llama.llama_vocab_bos(self._vocabulary)
        wanted = self._llama.llama_vocab_get_add_bos(self._vocabulary) and begin >= 0
        return [begin, *tokens] if wanted and tokens[:1] != [begin] else tokens

    def written(self, token: int) -> bytes:
        """A token as it shows in a text: nothing for a special one."""
        return b"" if self.is_control(token) else self._piece(token)

    def told(self, token: int) -> bytes:
        """A token as probabilities tell of it: as it shows, and one that ends an answer by its name."""
        return self._piece(token) if self.is_end(token) else self.written(token)

    def _piece(self, token: int) -> bytes:
        if token not in self._pieces:
            size = 256
            while True:
                space = ctypes.create_string_buffer(size)
                length = self._llama.llama_token_to_piece(self._vocabulary, token, space, size, 0, True)
                if length >= 0:
                    break
                size = -length
            self._pieces[token] = space.raw[:length]
        return self._pieces[token]

    def is_end(self, token: int) -> bool:
        return bool(self._llama.llama_vocab_is_eog(self._vocabulary, token))

    def is_control(self, token: int) -> bool:
        return bool(self._llama.llama_vocab_is_control(self._vocabulary, token)) or self.is_end(token)

    # --- reading

    @contextmanager
    def chunks_of(self, parts: Sequence[Part]) -> Iterator[list[Chunk]]:
        """A prompt as chunks, as long as the context lasts. Raises EngineRefused for an image that cannot be shown."""
        if not any(isinstance(part, bytes) for part in parts):
            tokens = [token for part in parts if isinstance(part, Text) for token in self._tokens(part)]
            yield [token_chunk(token) for token in self.with_beginning(tokens)]
            return
        if self._eyes is None:
            raise EngineRefused(
                "the model reads no images",
                hint="Name its projector (a second GGUF file, mmproj), or use a model that reads images.",
            )
        with self._eyes.chunks_of(parts, self.with_beginning) as chunks:
            yield chunks

    def _tokens(self, part: Text) -> list[int]:
        return self.tokens_of(part.text, special=part.special)

    def read_tokens(self, tokens: Sequence[int], position: int) -> None:
        """Read tokens from a position on; the scores after the last are then to be had. Raises EngineError."""
        for start in range(0, len(tokens), self.batch):
            some = tokens[start : start + self.batch]
            batch = self._batch
            batch.n_tokens = len(some)
            for at, token in enumerate(some):
                batch.token[at] = token
                batch.pos[at] = position + start + at
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = 0
                batch.logits[at] = start + at == len(tokens) - 1
            if self._llama.llama_decode(self._context, batch):
                raise EngineError(f"llama.cpp could not read the text: {last_words()}")

    def read_image(self, chunk: Chunk, position: int) -> None:
        """Read an image at a position. Raises EngineError."""
        assert self._eyes is not None
        self._eyes.read(chunk, self._context, position, self.batch)

    def scores(self) -> NDArray[np.float32]:
        """The score of every token to come next, after what was read last."""
        import numpy as np

        found = self._llama.llama_get_logits_ith(self._context, -1)
        if not found:
            raise BadAnswer("llama.cpp gave no scores")
        return np.ctypeslib.as_array(found, shape=(self.vocabulary_size,)).copy()

    def forget_from(self, position: int) -> bool:
        """Forget what was read from a position on; False where the model can only forget everything, and did."""
        if self._llama.llama_memory_seq_rm(self._memory, 0, position, -1):
            return True
        self._llama.llama_memory_clear(self._memory, True)
        return False

    # --- grammars and vectors

    def grammar(self, text: str) -> Grammar:
        """A grammar, at its beginning. Raises EngineRefused where llama.cpp does not take it."""
        made = self._llama.llama_sampler_init_grammar(self._vocabulary, text.encode("utf-8"), b"root")
        if not made:
            raise EngineRefused(f"llama.cpp does not take the grammar: {last_words()}")
        return Grammar(self._llama, made)

    def vector(self, tokens: Sequence[int]) -> list[float]:
        """A text's vector, as the model gives it. Raises EngineError."""
        import numpy as np

        if self._memory:
            self._llama.llama_memory_clear(self._memory, True)
        batch = self._batch
        batch.n_tokens = len(tokens)
        for at, token in enumerate(tokens):
            batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.logits[at] = token, at, 1, True
            batch.seq_id[at][0] = 0
        if self._llama.llama_decode(self._context, batch):
            raise EngineError(f"llama.cpp could not read the text: {last_words()}")
        found = self._llama.llama_get_embeddings_seq(self._context, 0)
        if not found:
            raise BadAnswer("llama.cpp gave no vector")
        width = int(self._llama.llama_model_n_embd_out(self._model))
        return [float(value) for value in np.ctypeslib.as_array(found, shape=(width,))]


class Grammar:
    """Where a grammar stands in a text that is being written."""

    def __init__(self, llama: Any, made: Any) -> None:
        self._llama, self._made = llama, made

    def allowed(self, tokens: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of these tokens may come next."""
        import numpy as np

        layout = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        data = np.zeros(len(tokens), layout)
        data["id"] = tokens
        pointer = data.ctypes.data_as(self._llama.llama_token_data_p)
        candidates = self._llama.llama_token_data_array(pointer, len(tokens), -1, False)
        self._llama.llama_sampler_apply(self._made, ctypes.byref(candidates))
        allowed: NDArray[np.bool_] = np.isfinite(data["logit"])
        return allowed

    def accept(self, token: int) -> None:
        """Go on by a token, which must be one that is allowed: anything else would end the process."""
        self._llama.llama_sampler_accept(self._made, token)

    def close(self) -> None:
        if self._made:
            self._llama.llama_sampler_free(self._made)
            self._made = None
