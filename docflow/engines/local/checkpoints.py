"""A model's folder in the form of the Hub: found or downloaded, and looked at before anything is loaded.

Only weights in safetensors are loaded: the other form is a pickle, which runs whatever code it holds. What the header
of each file says gives the memory that the weights take, and shows a file that is damaged or cut off.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from docflow.engines.local.model import ModelConfig
from docflow.engines.specs import is_folder, is_hub_name
from docflow.errors import BrokenModel, ModelNotFound

_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken", "*.jinja")
_NOT_WANTED = ("original/*", "onnx/*", "openvino/*", "*.onnx*")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_MOST_HEADER = 100_000_000
_WIDTHS = {
    "F64": 64,
    "I64": 64,
    "U64": 64,
    "F32": 32,
    "I32": 32,
    "U32": 32,
    "F16": 16,
    "BF16": 16,
    "I16": 16,
    "U16": 16,
}
_FLOATS = {"F64", "F32", "F16", "BF16"}
_BYTES_OF = {"float32": 4, "float16": 2, "bfloat16": 2}


def folder_of(model_id: str) -> Path:
    """The folder of a model: itself, or what was downloaded from the Hub. Raises ModelNotFound, BrokenModel."""
    if is_folder(model_id):
        folder = Path(os.path.expanduser(model_id))
        if not folder.is_dir():
            raise ModelNotFound(f"there is no folder {model_id}", hint="Name the folder that has the config.json.")
        return folder
    if not is_hub_name(model_id):
        raise ModelNotFound(f"{model_id[:200]!r} is neither a folder nor a name of the Hub (OWNER/NAME)")
    return _from_hub(model_id)


def _from_hub(model_id: str) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError as error:
        raise ModelNotFound(
            f"there is no folder {model_id}, and {error.name} is not installed, which gets models from the Hub",
            hint='pip install "docflow[transformers]"',
        ) from error
    try:
        return Path(
            huggingface_hub.snapshot_download(model_id, allow_patterns=list(_WANTED), ignore_patterns=list(_NOT_WANTED))
        )
    except errors.GatedRepoError as error:
        raise ModelNotFound(
            f"the Hub gives {model_id} to those only who accepted its terms",
            hint=f"Accept them at https://huggingface.co/{model_id}, and set HF_TOKEN.",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"there is no folder {model_id}, and the Hub has no such model that it shows",
            hint="Look for a slip in the name; for a private model set HF_TOKEN.",
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, *_transport_errors()) as error:
        raise _unreachable(model_id) from error
    except OSError as error:
        raise ModelNotFound(f"{model_id} cannot be downloaded: {error.strerror or type(error).__name__}") from error


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the Hub's client raises where it cannot be reached: its versions use different HTTP libraries."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(base for base in HfHubHTTPError.__mro__ if base.__name__ in ("HfHubHTTPError", "HTTPError"))


def _unreachable(model_id: str) -> ModelNotFound:
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    return ModelNotFound(
        f"{model_id} is not on this machine, and the Hub "
        + ("is not asked, as HF_HUB_OFFLINE is set" if offline else "cannot be reached"),
        hint="Name a folder that has the model, or let this machine reach the Hub.",
        retryable=not offline,
    )


def check(folder: Path) -> dict[str, Any]:
    """The model's configuration, once its files were looked at. Raises ModelNotFound, BrokenModel."""
    config = _json(folder / "config.json")
    if config is None:
        raise ModelNotFound(
            f"{folder} holds no model: there is no config.json in it", hint="Name the folder that has it."
        )
    weights(folder)
    return config


def weights(folder: Path) -> list[Path]:
    """The files with the weights. Raises BrokenModel where one is missing, or where there are pickles only."""
    index = _json(folder / "model.safetensors.index.json")
    if index is not None:
        names = index.get("weight_map")
        if not isinstance(names, dict) or not names:
            raise BrokenModel(f"{folder.name}: model.safetensors.index.json names no files")
        files = [folder / name for name in sorted({str(name) for name in names.values()})]
        for file in files:
            if file.parent != folder:
                raise BrokenModel(f"{folder.name}: model.safetensors.index.json names a file elsewhere")
            if not file.is_file():
                raise BrokenModel(f"{folder.name}: {file.name} is missing", hint="Download the model again.")
        return files
    found = sorted(folder.glob("*.safetensors"))
    if found:
        return found
    if any(next(folder.glob(pattern), None) for pattern in _PICKLED):
        raise BrokenModel(
            f"{folder.name} has its weights as pickles only, which may run any code: they are not loaded",
            hint="Take a model with .safetensors files, or convert this one where you trust it.",
        )
    raise BrokenModel(f"{folder.name} has no weights: no .safetensors file is in it", hint="Download the model again.")


def memory_needed(config: ModelConfig) -> int:
    """Bytes of the weights as they will be loaded. Raises ModelNotFound, BrokenModel.

    Of a model that has to be downloaded first the Hub says how large its files are.
    """
    if not is_folder(config.model_id) and is_hub_name(config.model_id):
        folder = _cached(config.model_id)
        if folder is None:
            return _size_at_hub(config.model_id)
    else:
        folder = folder_of(config.model_id)
    check(folder)
    width = _BYTES_OF.get(config.dtype, 0)
    return sum(_bytes_of(file, width) for file in weights(folder))


def _bytes_of(file: Path, width: int) -> int:
    """Bytes that a file's tensors take; those of floating point at ``width`` bytes each, where it is not 0."""
    total = 0
    for tensor in _header(file).values():
        begin, end = tensor["data_offsets"]
        total += math.prod(tensor["shape"]) * width if width and tensor["dtype"] in _FLOATS else end - begin
    return total


def check_files(folder: Path) -> None:
    """Look at the header of every file with weights. Raises BrokenModel."""
    for file in weights(folder):
        _header(file)


def _header(file: Path) -> dict[str, dict[str, Any]]:
    """What a safetensors file says of its tensors. Raises BrokenModel where it is not what it says."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= min(_MOST_HEADER, size - 8):
                raise ValueError("its header has no length")
            header = json.loads(opened.read(length))
        tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
        for tensor in tensors.values():
            begin, end = tensor["data_offsets"]
            bits = _WIDTHS.get(tensor["dtype"], 8)
            count = math.prod(tensor["shape"])
            if not 0 <= begin <= end <= size - 8 - length:
                raise ValueError("it is cut off")
            if tensor["dtype"] in _WIDTHS and (end - begin) * 8 != count * bits:
                raise ValueError("a tensor has another size than its shape")
    except OSError as error:
        raise BrokenModel(f"{file.name} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        why = str(error) if type(error) is ValueError else "its header is not readable"
        raise BrokenModel(f"{file.name} is damaged: {why}", hint="Download the model again.") from error
    return tensors


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BrokenModel(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BrokenModel(f"{path.name} is damaged: it is no JSON", hint="Download the model again.") from error
    if not isinstance(found, dict):
        raise BrokenModel(f"{path.name} is damaged: it is no JSON object", hint="Download the model again.")
    return found


def _cached(model_id: str) -> Path | None:
    """Where a model of the Hub lies on this machine, if it does."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError:
        return None
    found = try_to_load_from_cache(model_id, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def _size_at_hub(model_id: str) -> int:
    """Bytes of a model's weights, as the Hub says. Raises ModelNotFound."""
    try:
        from huggingface_hub import HfApi, errors
    except ModuleNotFoundError as error:
        raise ModelNotFound(f"{model_id} is not on this machine", hint='pip install "docflow[transformers]"') from error
    try:
        files = HfApi().model_info(model_id, files_metadata=True).siblings or []
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFound(
            f"there is no folder {model_id}, and the Hub has no such model that it shows",
            hint="Look for a slip in the name; for a private or gated model set HF_TOKEN.",
        ) from error
    except (errors.OfflineModeIsEnabled, *_transport_errors()) as error:
        raise _unreachable(model_id) from error
    return sum(
        file.size or 0 for file in files if file.rfilename.endswith(".safetensors") and "/" not in file.rfilename
    )
