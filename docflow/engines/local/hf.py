"""Transformers in this process: models of the Hub that write and read images, that write only, or that embed.

Requests that come at once are answered in one batch: each token of all of them is computed in one step. Each keeps its
own grammar, sampling and end, so a batch is what its requests would be alone, but for rounding.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docflow.engines.local import checkpoints
from docflow.engines.local.hf_embedding import EmbeddingModel
from docflow.engines.local.hf_writing import WritingModel
from docflow.engines.local.model import LocalModel, ModelConfig
from docflow.engines.local.names import shown_name
from docflow.errors import BrokenModel, EngineUnavailable, NotEnoughMemory, first_line

PACKAGES = ("transformers", "torch", "llguidance")
MOST_CONTEXT = 32_768
"""Tokens of a conversation where the configuration names none and the model has more: its memory grows with them."""


class TransformersBackend:
    """Loads models in the form of the Hub."""

    name = "transformers"

    def missing(self) -> str:
        """The package that is not installed, or ""."""
        return next((package for package in PACKAGES if importlib.util.find_spec(package) is None), "")

    def memory_needed(self, config: ModelConfig) -> int:
        """Bytes of the weights; the cache of the conversations comes on top. Raises ModelNotFound, BrokenModel."""
        return checkpoints.memory_needed(config)

    def load(self, config: ModelConfig) -> LocalModel:
        """Load a model. Raises ModelNotFound, BrokenModel, NotEnoughMemory, EngineUnavailable.

        What a checkpoint says of its quantisation holds; ``quantization`` of the configuration is for others.
        """
        if package := self.missing():
            raise EngineUnavailable(
                f"Transformers cannot be used: the package {package} is not installed",
                hint='pip install "docflow[transformers]"',
                retryable=False,
            )
        folder = checkpoints.folder_of(config.model_id)
        checkpoints.check(folder)
        checkpoints.check_files(folder)
        name = shown_name(config.model_id)
        with _said_plainly(name):
            return _load(folder, name, config)


BACKEND = TransformersBackend()


def _load(folder: Path, name: str, config: ModelConfig) -> LocalModel:
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if config.threads:
        torch.set_num_threads(config.threads)
    device = _device(config.device)
    common = {"trust_remote_code": config.trust_remote_code, "local_files_only": True}
    described = transformers.AutoConfig.from_pretrained(folder, **common)
    kind = _kind(transformers, folder, described)
    maker = {
        "sees": transformers.AutoModelForImageTextToText,
        "writes": transformers.AutoModelForCausalLM,
        "embeds": transformers.AutoModel,
    }[kind]
    placed = {}
    if device != "cpu" and importlib.util.find_spec("accelerate"):
        placed = {"device_map": {"": device}}  # straight to where it belongs, not through the main memory
    loaded, found = maker.from_pretrained(
        folder,
        config=described,
        dtype="auto" if config.dtype == "auto" else getattr(torch, config.dtype),
        use_safetensors=True,
        output_loading_info=True,
        **placed,
        **common,
    )
    if not placed and getattr(loaded, "hf_quantizer", None) is None:
        loaded = loaded.to(device)
    lacking = [key for key in found.get("missing_keys", ()) if "pooler" not in key]  # what only classifiers need
    if lacking:
        raise BrokenModel(
            f"{name} is not whole: its files lack {len(lacking)} of the weights, as {sorted(lacking)[0]}",
            hint="Download the model again, or name the kind of model that its config.json describes.",
        )
    loaded.eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **common)
    if kind == "embeds":
        return EmbeddingModel(name, loaded, tokenizer, folder, config)
    processor = transformers.AutoProcessor.from_pretrained(folder, **common) if kind == "sees" else None
    context = config.context or min(_longest(described), MOST_CONTEXT)
    return WritingModel(name, loaded, tokenizer, processor, context, config.max_batch)


def _kind(transformers: Any, folder: Path, described: Any) -> str:
    """What a model is for: a folder made for sentence-transformers embeds, whatever class its weights are of."""
    if (folder / "modules.json").is_file():
        return "embeds"
    if type(described) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return "sees"
    architecture = next(iter(described.architectures or ()), "")
    headless = architecture.endswith(("Model", "ForMaskedLM"))
    if type(described) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and not headless:
        return "writes"
    if type(described) in transformers.MODEL_MAPPING:
        return "embeds"
    raise BrokenModel(
        f"{folder.name} is a {described.model_type}, which neither writes nor embeds",
        hint="Models that read images and write (Qwen2-VL), that write, or that embed texts are loaded.",
    )


def _device(wanted: str) -> str:
    import torch

    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise EngineUnavailable(
            "there is no GPU that torch can use", hint="Leave device out, or say cpu.", retryable=False
        )
    return "cuda" if there and wanted != "cpu" else "cpu"


def _longest(described: Any) -> int:
    text = described.get_text_config()
    return int(getattr(text, "max_position_embeddings", 0) or MOST_CONTEXT)


@contextmanager
def _said_plainly(name: str) -> Iterator[None]:
    """What Transformers raises of a model, as docflow's errors."""
    import torch
    from safetensors import SafetensorError

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemory(
            f"{name} does not fit the GPU's memory", hint="Unload another model, or take a smaller or quantised one."
        ) from error
    except MemoryError as error:
        raise NotEnoughMemory(f"{name} does not fit the memory of this machine") from error
    except SafetensorError as error:
        raise BrokenModel(f"{name} is damaged: {error}", hint="Download the model again.") from error
    except ImportError as error:
        raise EngineUnavailable(
            f"{name} needs a package that is not installed: {first_line(error)}", retryable=False
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" in str(error):
            raise NotEnoughMemory(f"{name} does not fit the memory of this machine") from error
        raise BrokenModel(
            f"{name} cannot be loaded: {first_line(error)}",
            hint="Transformers of another version may know it; models that need code of their own are not loaded.",
        ) from error
