"""How models are named: a file, a folder, or ``OWNER/NAME`` on the Hub; and what stands beside them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from docflow.engines.local.model import ModelConfig
from docflow.engines.specs import EngineSpec, is_folder
from docflow.errors import ConfigError

_MARK = "mmproj"
_PRECISION = re.compile(r"b?f\d+|i?q\d+|k|[smlx]{1,3}|\d?")


def shown_name(model_id: str) -> str:
    """A model's name as rows record it: of a GGUF file its stem, of a folder its last part, of the Hub all of it."""
    if model_id.lower().endswith(".gguf"):
        return Path(model_id).stem
    if not is_folder(model_id):
        return model_id
    return Path(os.path.abspath(os.path.expanduser(model_id))).name


def config_of(spec: EngineSpec) -> ModelConfig:
    """How the model that an engine's spec names is loaded. Raises ConfigError where two projectors lie beside it."""
    given = dict(spec.parameters)
    default = ModelConfig(spec.target)
    projector = given.get("projector", "")
    if spec.name == "llama_cpp" and not projector:
        projector = _projector_beside(Path(os.path.expanduser(spec.target)))
    local = spec.name == "llama_cpp" or is_folder(spec.target)
    return ModelConfig(
        model_id=os.path.expanduser(spec.target) if local else spec.target,
        projector=os.path.expanduser(projector),
        context=int(given.get("context", default.context)),
        device=given.get("device", default.device),
        dtype=given.get("dtype", default.dtype),
        quantization=given.get("quantization", default.quantization),
        tensor_parallel_size=int(given.get("tensor_parallel_size", default.tensor_parallel_size)),
        gpu_memory_utilization=float(given.get("gpu_memory_utilization", default.gpu_memory_utilization)),
        gpu_layers=int(given.get("gpu_layers", default.gpu_layers)),
        threads=int(given.get("threads", default.threads)),
        max_batch=int(given.get("max_batch", default.max_batch)),
    )


def _projector_beside(model: Path) -> str:
    """The file that reads images for a GGUF model, where one lies in its folder.

    Where there are other models too, a projector belongs to the one that it is called after. Raises ConfigError where
    several belong to this one.
    """
    beside = sorted(model.parent.glob("*.gguf")) if model.parent.is_dir() else []
    projectors = [path for path in beside if _MARK in path.name.lower()]
    alone = all(path in projectors or path.name == model.name for path in beside)
    found = [path for path in projectors if alone or _words(path) <= _words(model)]
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} projectors lie beside {model.name}", hint="Name the one to take with ?projector=FILE."
        )
    return str(found[0]) if found else ""


def _words(path: Path) -> set[str]:
    """The words of a model's name but those of its precision."""
    words = set(re.split(r"[^a-z0-9]+", path.stem.lower()))
    return {word for word in words if not _PRECISION.fullmatch(word)} - {_MARK}
