"""The contract of a model that is loaded in this process, whatever runs it.

A backend loads a model and gives a LocalModel; the engine that programs use and the manager that serves models by name
both stand on it. What comes back is a Reply, as from a server: text, why it ended, its tokens with their probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from docflow.engines.base import Role
from docflow.engines.chat import Reply


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model writes. ``temperature`` 0 takes the likeliest token; ``top_k`` 0 sets no bound.

    ``top`` is how many alternatives are told for each token, beside its own probability; with ``seed`` the same request
    is answered the same.
    """

    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: texts, and images as the bytes of a JPEG or PNG, in their order."""

    role: Role
    parts: tuple[str | bytes, ...]

    @property
    def images(self) -> tuple[bytes, ...]:
        return tuple(part for part in self.parts if isinstance(part, bytes))

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class JsonForm:
    """The answer is JSON of this schema, which is one that ``wire_schema`` gave: grammars know no more."""

    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RegexForm:
    """The answer matches this regular expression as a whole."""

    pattern: str


Form = JsonForm | RegexForm


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector for each text, in their order, and the tokens that were read."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """How a model is loaded. What a backend has no use for it leaves alone, and says so in its page of the docs.

    ``model_id`` is a file, a folder, or a name of the Hub. ``projector`` is the file that reads images for GGUF models.
    ``context`` is the tokens of a conversation with its answer (0: as many as the model has, within reason), ``device``
    is ``auto``, ``cpu`` or ``cuda``. ``gpu_memory_utilization`` is the share of a GPU that vLLM takes. ``max_batch`` is
    how many requests are answered at once. ``trust_remote_code`` lets code that comes with a model run: off unless it
    is wanted.
    """

    model_id: str
    projector: str = ""
    context: int = 0
    device: str = "auto"
    dtype: str = "auto"
    quantization: str = ""
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    swap_space: float | None = None
    enforce_eager: bool = False
    gpu_layers: int = -1
    threads: int = 0
    max_batch: int = 8
    trust_remote_code: bool = False


class LocalModel(Protocol):
    """A model that is loaded. Safe to call from several threads; one that can batches what comes at once."""

    @property
    def backend(self) -> str:
        """``llama_cpp``, ``transformers`` or ``vllm``."""
        ...

    @property
    def name(self) -> str:
        """The model, as it is recorded in rows."""
        ...

    @property
    def context(self) -> int:
        """Tokens of a conversation with its answer."""
        ...

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        form: Form | None = None,
        begun: str = "",
        on_text: Callable[[str], bool] | None = None,
    ) -> Reply:
        """The answer to a conversation, which goes on after ``begun`` (that is no part of the Reply).

        ``on_text`` gets each piece as it is written; where it gives False, nobody waits for more, and writing ends
        with the stop reason ``abort``. Raises EngineRefused where the conversation does not fit the context or the
        model takes no images, EngineError else.
        """
        ...

    def complete(self, prompt: str, sampling: Sampling, *, on_text: Callable[[str], bool] | None = None) -> Reply:
        """What follows a text, without any template. Raises as ``chat``."""
        ...

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Texts as vectors. Raises CannotEmbed from a model that has none."""
        ...

    def close(self) -> None:
        """Give back the model's memory."""
        ...


class Backend(Protocol):
    """What loads models of a kind. A module-level object in docflow.engines.local, found by name."""

    name: str

    def missing(self) -> str:
        """The package that is not installed, or "" where everything is there."""
        ...

    def memory_needed(self, config: ModelConfig) -> int:
        """Bytes that the model will take at least, from its files, without loading it. Raises ModelNotFound."""
        ...

    def load(self, config: ModelConfig) -> LocalModel:
        """Load a model. Raises ModelNotFound, BrokenModel, NotEnoughMemory, EngineUnavailable (package missing)."""
        ...
