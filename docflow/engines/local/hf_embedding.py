"""A model of Transformers that gives texts as vectors, of length 1."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docflow.engines.chat import Reply
from docflow.engines.local.model import Embedded, Form, Message, ModelConfig, Sampling
from docflow.errors import EngineRefused, EngineUnavailable

if TYPE_CHECKING:
    import torch

_LONGEST = 8192


class EmbeddingModel:
    """A model that is loaded. Threads wait for one another; the texts of one call go in batches."""

    backend = "transformers"

    def __init__(self, name: str, model: Any, tokenizer: Any, folder: Path, config: ModelConfig) -> None:
        """How tokens are pooled is read from the folder, where it says: their mean otherwise."""
        self._name, self._model, self._tokenizer = name, model, tokenizer
        self._batch = config.max_batch
        self._context = config.context or _longest(folder, model.config)
        pooling = _read(folder / "1_Pooling" / "config.json")
        self._last = bool(pooling.get("pooling_mode_lasttoken"))
        self._first = bool(pooling.get("pooling_mode_cls_token"))
        self._lock = threading.Lock()
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token

    @property
    def name(self) -> str:
        return self._name

    @property
    def context(self) -> int:
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
        """Raises EngineRefused: this model writes nothing."""
        raise self._writes_nothing()

    def complete(self, prompt: str, sampling: Sampling, *, on_text: Callable[[str], bool] | None = None) -> Reply:
        """Raises EngineRefused: this model writes nothing."""
        raise self._writes_nothing()

    def embed(self, texts: Sequence[str]) -> Embedded:
        """A vector for each text. Raises EngineRefused for one that is too long."""
        import torch

        vectors: list[tuple[float, ...]] = []
        tokens = 0
        with self._lock:
            if self._model is None:
                raise EngineUnavailable(f"{self._name} was unloaded", retryable=False)
            for start in range(0, len(texts), self._batch):
                read = self._tokenizer(
                    list(texts[start : start + self._batch]), padding=True, padding_side="right", return_tensors="pt"
                )
                counts = read["attention_mask"].sum(dim=1).tolist()
                if max(counts) > self._context:
                    raise EngineRefused(
                        f"a text of {max(counts)} tokens does not fit the {self._context} that {self._name} reads",
                        hint="Cut the text into pieces.",
                    )
                tokens += sum(counts)
                with torch.inference_mode():
                    states = self._model(**read.to(self._model.device)).last_hidden_state.float()
                pooled = self._pooled(states, read["attention_mask"])
                vectors += map(tuple, torch.nn.functional.normalize(pooled, dim=-1).tolist())
        return Embedded(tuple(vectors), tokens)

    def close(self) -> None:
        """Let go of the model."""
        with self._lock:
            self._model = None

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        import torch

        if self._first:
            return states[:, 0]
        if self._last:
            return states[torch.arange(len(states), device=states.device), mask.sum(dim=1) - 1]
        weights = mask[:, :, None].to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)

    def _writes_nothing(self) -> EngineRefused:
        return EngineRefused(f"{self._name} embeds texts and writes none", hint="Load a model that writes.")


def _longest(folder: Path, described: Any) -> int:
    said = _read(folder / "sentence_bert_config.json").get("max_seq_length")
    return int(said or min(getattr(described, "max_position_embeddings", 0) or _LONGEST, _LONGEST))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
