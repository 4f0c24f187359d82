"""How models are named: a file, a folder, or ``OWNER/NAME`` on the Hub; and what stands beside them."""

from __future__ import annotations

import os
from pathlib import Path

from docflow.engines.local.model import ModelConfig
from docflow.engines.specs import EngineSpec, is_folder
from docflow.errors import ConfigError


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
    """The file that reads images for a GGUF model, where one lies in its folder."""
    if not model.parent.is_dir():
        return ""
    beside = (path for path in model.parent.iterdir() if path.suffix.lower() == ".gguf" and path != model)
    found = sorted(str(path) for path in beside if "mmproj" in path.name.lower())
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} projectors lie beside {model.name}", hint="Name the one to take with ?projector=FILE."
        )
    return found[0] if found else ""
