"""What is known of a model before it is loaded: its context, its weights, what a token costs in the cache."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docflow.deploy.local.environments import FILES
from docflow.errors import BrokenModel, ConfigError, EngineUnavailable, ModelNotFound

DEFAULT_MODEL = "Qwen/Qwen2-VL-2B-Instruct"
_HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?", re.ASCII)
_HUB_URL = re.compile(r"https?://(www\.)?(huggingface\.co|hf\.co)/(?P<id>[\w.-]+/[\w.-]+)/?", re.ASCII)
_FETCH_SECONDS = 120.0
_BYTES = {"float32": 4, "float": 4, "float64": 8, "int8": 1, "fp8": 1, "float8_e4m3fn": 1}


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the user named it: a folder here, or an id of the Hub. ``served`` is what requests call it."""

    given: str
    folder: Path | None
    served: str

    @property
    def target(self) -> str:
        """What the engine is told."""
        return str(self.folder) if self.folder else self.served


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's files say. Each is 0, or empty, where they do not.

    ``context`` is in tokens, ``weights`` in bytes, ``token_bytes`` what one token takes in the cache. ``sees`` says
    whether the model takes images, where its configuration is known.
    """

    architecture: str = ""
    context: int = 0
    weights: int = 0
    token_bytes: int = 0
    sees: bool = True


def model_named(given: str) -> Model:
    """The model of a name: a folder, an id of the Hub or its page's address. Raises ModelNotFound, ConfigError."""
    url = _HUB_URL.fullmatch(given)
    if url:
        given = url["id"]
    path = Path(given).expanduser()
    if given.endswith(".gguf"):
        raise ConfigError(
            f"{given} is a GGUF file, which these servers do not load for pages with images",
            hint="docflow extract --engine llama_cpp=FILE loads it in docflow's own process.",
        )
    if path.is_dir() and (path / "config.json").is_file():
        folder = path.resolve()
        return Model(given, folder, path.absolute().name if path.name not in ("", "..") else folder.name)
    if path.is_dir() and ("/" not in given or given.startswith((".", "/", "~"))):
        raise ModelNotFound(
            f"{given} is a folder without a config.json, so no model",
            hint="Name the folder that holds the model's config.json and *.safetensors.",
        )
    if given.startswith((".", "/", "~")) or given.count("/") > 1:
        raise ModelNotFound(f"there is no folder {given}", hint="Name a model's folder, or an id such as ORG/NAME.")
    if not _HUB_ID.fullmatch(given) or ".." in given:
        raise ConfigError(f"{given!r} is no model's name", hint="Name a model's folder, or an id such as ORG/NAME.")
    return Model(given, None, given)


def facts_of(config: Mapping[str, Any], weights: int = 0) -> ModelFacts:
    """What a model's config.json says. Anything missing or odd in it is passed over: the engine will say so."""
    text = config.get("text_config")
    text = text if isinstance(text, Mapping) else config
    architectures = config.get("architectures")
    layers = _number(text, "num_hidden_layers") or _number(text, "n_layer")
    heads = _number(text, "num_attention_heads") or _number(text, "n_head")
    groups = _number(text, "num_key_value_heads") or heads
    width = _number(text, "hidden_size") or _number(text, "n_embd")
    head = _number(text, "head_dim") or (width // heads if heads else 0)
    kind = text.get("dtype") or text.get("torch_dtype") or config.get("dtype") or config.get("torch_dtype")
    size = min(2, _BYTES.get(str(kind), 2))  # engines compute in 16 bits where the weights have more
    return ModelFacts(
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else "",
        context=_number(text, "max_position_embeddings") or _number(text, "n_positions"),
        weights=weights,
        token_bytes=2 * layers * groups * head * size,
        sees=any(name in config for name in ("vision_config", "vision_start_token_id", "image_token_id", "visual")),
    )


def _number(config: Mapping[str, Any], name: str) -> int:
    found = config.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 < found < 1 << 40 else 0


def facts_here(folder: Path) -> ModelFacts:
    """What the files in a folder say. Raises BrokenModel for a config.json that is none, and where weights lack."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BrokenModel(f"{folder / 'config.json'} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise BrokenModel(f"{folder / 'config.json'} holds no settings of a model")
    files = [file for pattern in ("*.safetensors", "*.bin", "*.pt") for file in folder.glob(pattern)]
    weights = sum(file.stat().st_size for file in files)
    if not weights:
        raise BrokenModel(
            f"{folder} holds no weights (*.safetensors)", hint="Download the model as a whole, and name its folder."
        )
    return facts_of(config, weights)


def facts_from_hub(model: Model, python: str, environment: Mapping[str, str]) -> ModelFacts:
    """What the Hub, or the copy of it here, says of a model, asked by the engine's own environment.

    Raises ModelNotFound for a model that is not there, is closed, or cannot be asked about.
    """
    command = [python, "-I", str(FILES / "model_facts.py"), model.served]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False
        )
        said = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise _out_of_reach(model) from error
    except (OSError, ValueError, IndexError) as error:
        raise EngineUnavailable(
            f"the engine's environment cannot look up {model.served}",
            hint="docflow engines up --rebuild makes it anew.",
        ) from error
    if "config" in said:
        return facts_of(said["config"], int(said.get("weights") or 0))
    raise from_hub_error(model, str(said.get("error")))


def from_hub_error(model: Model, name: str) -> ModelNotFound:
    """The error for what the Hub's client raised, by the name of its exception."""
    if name == "GatedRepoError":
        return ModelNotFound(
            f"{model.served} wants its licence to be accepted on the Hub first",
            hint="Accept it on the model's page, and set HF_TOKEN to a token of that account.",
        )
    if name in ("RepositoryNotFoundError", "HFValidationError", "RevisionNotFoundError"):
        return ModelNotFound(
            f"the Hub has no model {model.served}, or it is private",
            hint="Look at how it is spelled; for a private one set HF_TOKEN. A model's folder may be named as well.",
        )
    if name in ("EntryNotFoundError", "RemoteEntryNotFoundError"):
        return ModelNotFound(
            f"{model.served} has no config.json on the Hub", hint="Name a model in the format of Transformers."
        )
    return _out_of_reach(model)


def _out_of_reach(model: Model) -> ModelNotFound:
    return ModelNotFound(
        f"the Hub cannot be reached, and {model.served} is not here yet",
        hint="Download the model where there is a network, copy its folder here, and name that folder.",
        retryable=True,
    )
