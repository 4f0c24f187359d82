"""The manager with Transformers or vLLM, in the environment that has both. Prints one JSON object.

Arguments: the tiny model's folder, which becomes a model of the Hub's cache, and the backend.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from docflow.engines.local import backends
from docflow.errors import DocflowError
from docflow.models import UnifiedModelManager
from docflow.settings import load_settings

HUB = Path("hub")
NAME = "owner/tiny"
SCHEMA = {"type": "object", "properties": {"paid": {"type": "boolean"}, "kind": {"enum": ["receipt", "invoice"]}}}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
ASKED = 4


def main() -> None:
    folder = Path(sys.argv[1])
    snapshot = HUB / "models--owner--tiny" / "snapshots" / "01ab23cd"
    shutil.copytree(folder, snapshot)
    damaged = HUB / "models--owner--damaged" / "snapshots" / "01ab23cd"
    shutil.copytree(folder, damaged)
    with (damaged / "model.safetensors").open("r+b") as file:
        file.truncate(100_000)
    os.environ["HF_HUB_CACHE"] = str(HUB.absolute())
    found: dict[str, Any] = {
        "flags": [backends.TRANSFORMERS_AVAILABLE, backends.VLLM_AVAILABLE, backends.LLAMA_CPP_AVAILABLE]
    }
    found |= asyncio.run(refused() if sys.argv[2] == "refused" else asked(sys.argv[2]))
    print("\n" + json.dumps(found))


def image() -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (112, 84), (200, 30, 30)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


async def asked(mode: str) -> dict[str, Any]:
    aliases = {"short": {"model_id": NAME, "max_tokens": 3, "context": 2048, "dtype": "float32", "enforce_eager": True}}
    settings = load_settings(
        {"models.mode": mode, "models.aliases": aliases, "models.default": "short", "models.device": "cpu"}
    )
    found: dict[str, Any] = {}
    async with UnifiedModelManager(settings) as manager:
        found["active"] = manager.active_backend
        await asyncio.gather(*(manager.load_model("short") for _ in range(3)))
        found["described"] = await manager.describe("short")
        parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": image()}}]
        content: list[dict[str, Any]] = [{"role": "user", "content": parts}]
        found["default"] = await manager.generate_chat_completion(content)
        found["schema"] = await manager.generate_chat_completion(content, response_format=FORM, max_tokens=40)
        found["completion"] = await manager.generate_completion("Once upon", max_tokens=4, logprobs=None)
        stream = [event async for event in manager.stream_chat_completion(content, max_tokens=5)]
        found["stream"] = "".join(
            event["choices"][0]["delta"].get("content", "") for event in stream if event["choices"]
        )
        found["whole"] = (await manager.generate_chat_completion(content, max_tokens=5))["choices"][0]["message"]
        found["embed"] = await error_of(manager.embed("x"))
        found["too long"] = await error_of(manager.generate_completion("word " * 5000))
        found["times"] = await times(manager)
        before = resident()
        await manager.unload_model("short")
        found["memory"] = [before, resident()]
        found["again"] = (await manager.generate_completion("Once upon", max_tokens=4))["choices"]
    return found


async def times(manager: UnifiedModelManager) -> list[float]:
    """Seconds for the same requests one after the other, and at once."""
    questions = [[{"role": "user", "content": f"Question {number}?"}] for number in range(ASKED)]
    started = time.monotonic()
    for question in questions:
        await manager.generate_chat_completion(question, max_tokens=16)
    serial = time.monotonic() - started
    started = time.monotonic()
    await asyncio.gather(*(manager.generate_chat_completion(question, max_tokens=16) for question in questions))
    return [serial, time.monotonic() - started]


async def refused() -> dict[str, Any]:
    found: dict[str, Any] = {}
    settings = load_settings({"models.mode": "transformers", "models.memory_mb": 1})
    async with UnifiedModelManager(settings) as manager:
        found["memory"] = await error_of(manager.load_model(NAME))
    async with UnifiedModelManager(load_settings({"models.mode": "transformers"})) as manager:
        found["damaged"] = await error_of(manager.load_model("owner/damaged"))
        found["absent"] = await error_of(manager.load_model("owner/absent"))
        found["gguf"] = await error_of(manager.load_model("absent.gguf"))
        found["listed"] = {one["id"]: one["problem"] for one in await manager.list_models() if one["present"]}
    return found


async def error_of(work: Any) -> list[str]:
    try:
        await work
    except DocflowError as error:
        return [type(error).__name__, error.message, error.hint]
    return []


def resident() -> int:
    """Bytes of memory of this process and its children that are no file's."""
    import psutil  # type: ignore[import-untyped]

    own = psutil.Process()
    return sum(one.memory_full_info().uss for one in (own, *own.children(recursive=True)))


if __name__ == "__main__":
    main()
