"""A backend whose models write down again what they are shown: real files, real threads, no weights.

A model is a file, or a folder with a config.json; it needs as much memory as its files have bytes (which may be holes).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from docflow.engines.base import Usage
from docflow.engines.chat import Reply, Step
from docflow.engines.local.model import Embedded, Form, JsonForm, Message, ModelConfig, Sampling
from docflow.errors import BrokenModel, CannotEmbed, EngineRefused, ModelNotFound
from docflow.settings import Settings, load_settings


class Words:
    """Loads them. ``go`` holds back loads, ``write`` the words of answers; ``open`` are not closed yet."""

    def __init__(self, name: str = "llama_cpp") -> None:
        self.name = name
        self.go, self.write = threading.Event(), threading.Event()
        self.go.set()
        self.write.set()
        self.loads: list[ModelConfig] = []
        self.open: list[WordsModel] = []
        self.most_at_once = 0
        self.writing = threading.Semaphore(0)  # released by each answer that begins

    def missing(self) -> str:
        return ""

    def memory_needed(self, config: ModelConfig) -> int:
        path = Path(config.model_id)
        if not path.exists():
            raise ModelNotFound(f"there is no {path}")
        return sum(one.stat().st_size for one in ([path] if path.is_file() else path.rglob("*")))

    def load(self, config: ModelConfig) -> WordsModel:
        self.loads.append(config)
        assert self.go.wait(30)
        path = Path(config.model_id)
        if path.is_file() and path.stat().st_size < 1000 and path.read_bytes().startswith(b"broken"):
            raise BrokenModel(f"{config.model_id} is damaged", hint="Get a new copy.")
        model = WordsModel(self, path.stem, config.context or 100)
        self.open.append(model)
        return model


class WordsModel:
    def __init__(self, backend: Words, name: str, context: int) -> None:
        self.backend, self.name, self.context = backend.name, name, context
        self._words = backend
        self._at_once = 0
        self.closed = False

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        form: Form | None = None,
        begun: str = "",
        on_text: Callable[[str], bool] | None = None,
    ) -> Reply:
        assert not self.closed
        if isinstance(form, JsonForm):
            written = {
                name: f"{len(message.images)} images" for message in messages for name in form.schema["properties"]
            }
            return self._say([json.dumps(written)], sampling, on_text)
        return self._say(messages[-1].text.split(" "), sampling, on_text)

    def complete(self, prompt: str, sampling: Sampling, *, on_text: Callable[[str], bool] | None = None) -> Reply:
        assert not self.closed
        return self._say(prompt.split(" "), sampling, on_text)

    def _say(self, words: list[str], sampling: Sampling, on_text: Callable[[str], bool] | None) -> Reply:
        if len(words) > self.context:
            raise EngineRefused(f"{len(words)} words do not fit {self.context}")
        self._at_once += 1
        self._words.most_at_once = max(self._words.most_at_once, self._at_once)
        self._words.writing.release()
        said: list[str] = []
        try:
            for word in words[: sampling.max_tokens]:
                assert self._words.write.wait(30)
                piece = f" {word}" if said else word
                said.append(piece)
                if on_text is not None and not on_text(piece):
                    return self._reply(said, len(words), "abort")
        finally:
            self._at_once -= 1
        return self._reply(said, len(words), "stop" if len(said) == len(words) else "length")

    def _reply(self, said: list[str], prompt: int, stop: Any) -> Reply:
        steps = tuple(Step(piece.encode(), {piece.encode(): 0.5, b"other": 0.25}) for piece in said)
        return Reply("".join(said), stop, steps, Usage(prompt=prompt, output=len(said), calls=1))

    def embed(self, texts: Sequence[str]) -> Embedded:
        if "chat" in self.name:
            raise CannotEmbed(f"{self.name} gives no embeddings", hint="Load one that does.")
        return Embedded(tuple((float(len(text)), 0.5) for text in texts), sum(len(text.split()) for text in texts))

    def close(self) -> None:
        self.closed = True
        self._words.open.remove(self)


def settings_for(folder: Path, **more: Any) -> Settings:
    """Settings whose models are in a folder."""
    return load_settings(
        {"models.folder": folder, "cache_dir": folder / "cache"} | {f"models.{k}": v for k, v in more.items()}
    )


def make_model(folder: Path, name: str, size: int = 4) -> Path:
    """A model of so many bytes, most of them a hole."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(size)
    return path
