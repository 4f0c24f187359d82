"""The manager with the real libraries: llama.cpp here, Transformers and vLLM in the environment that has them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docflow.engines.local.llama import BACKEND as LLAMA
from docflow.errors import BrokenModel, CannotEmbed, NotEnoughMemory
from docflow.models import UnifiedModelManager
from docflow.settings import load_settings
from tests.engines.conftest import ROOT, WANTED
from tests.engines.kit import llama as kit
from tests.engines.kit.environments import KitError
from tests.engines.local.inside import facts_of

SECONDS = 900.0
Facts = dict[str, Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the tiny models of llama.cpp, which can be imported as long as the tests run."""
    if not WANTED:
        pytest.skip("no llama.cpp: `make test-engines` builds it")
    try:
        folder = shutil.copytree(kit.models(ROOT), tmp_path_factory.mktemp("gguf") / "models")
        with kit.on_the_path(kit.packages(ROOT)):
            yield folder
    except KitError as error:
        pytest.fail(str(error))


@pytest.fixture(scope="module", params=["transformers", "vllm"])
def facts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """What came of it with one of the two."""
    return {"mode": request.param, **of_process(request.param, tmp_path_factory)}


def of_process(what: str, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    if not WANTED:
        pytest.skip("no engines: `make test-engines` has their environments")
    return facts_of(Path(__file__).with_name("on_manager.py"), tmp_path_factory.mktemp("manager"), SECONDS, what)


def llama_manager(files: Path, **more: Any) -> UnifiedModelManager:
    settings = load_settings(
        {"models.folder": files, "models.threads": 1, "models.context": 1024}
        | {f"models.{name}": value for name, value in more.items()}
    )
    return UnifiedModelManager(settings, backends_here={"llama_cpp": LLAMA})


def test_the_manager_answers_by_the_real_libraries(facts: Facts) -> None:
    assert facts["flags"][:2] == [True, True]
    mode, described = facts["mode"], facts["described"]
    assert (facts["active"], described["backend"], described["loaded"]) == (mode, mode, True)
    assert described["context"] == 2048
    assert facts["default"]["model"] == "short"
    assert facts["default"]["usage"]["completion_tokens"] == 3
    assert facts["default"]["usage"]["prompt_tokens"] > 5  # the image is among them
    assert json.loads(facts["schema"]["choices"][0]["message"]["content"])["kind"] in ("receipt", "invoice")
    assert facts["completion"]["usage"]["completion_tokens"] == 4
    assert facts["stream"] == facts["whole"]["content"]
    assert facts["embed"][0] == "CannotEmbed"
    assert facts["too long"][0] == "EngineRefused"
    assert facts["again"][0]["text"] == facts["completion"]["choices"][0]["text"]


def test_unloading_gives_the_memory_back(facts: Facts) -> None:
    before, after = facts["memory"]
    assert after < before


def test_what_the_real_libraries_cannot_load_is_said_by_the_models_name(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    refused = of_process("refused", tmp_path_factory)
    assert refused["memory"][0] == "NotEnoughMemory"
    assert refused["damaged"][:2] == ["BrokenModel", "model.safetensors is damaged: it is cut off"]
    assert refused["absent"][0] == "ModelNotFound"
    assert "docflow models pull owner/absent" in refused["absent"][2]
    assert refused["gguf"][0] == "EngineUnavailable"
    assert refused["gguf"][2] == 'pip install "docflow[llama-cpp]"'
    assert refused["listed"]["owner/tiny"] is None
    assert "damaged" in refused["listed"]["owner/damaged"]


def test_gguf_files_are_chatted_with_embedded_and_given_up(files: Path) -> None:
    async def ask() -> None:
        async with llama_manager(files) as manager:
            listed = {one["id"]: one for one in await manager.list_models() if one["present"]}
            assert set(listed) == {"tiny-text.gguf", "tiny-vl.gguf", "tiny-embed.gguf"}
            assert all(one["fits"] and one["memory_bytes"] > 0 for one in listed.values())
            question = [{"role": "user", "content": "What is the total?"}]
            whole = await manager.generate_chat_completion(
                question, model="tiny-text.gguf", max_tokens=8, logprobs=True
            )
            assert whole["usage"]["completion_tokens"] == len(whole["choices"][0]["logprobs"]["content"])
            events = [one async for one in manager.stream_chat_completion(question, model="tiny-text", max_tokens=8)]
            said = "".join(one["choices"][0]["delta"].get("content", "") for one in events if one["choices"])
            assert said == whole["choices"][0]["message"]["content"]
            vectors = await manager.embed(["one", "two"], model="tiny-embed.gguf")
            assert len(vectors["data"]) == 2
            with pytest.raises(CannotEmbed, match="tiny-text"):
                await manager.embed("one", model="tiny-text.gguf")
            assert set(manager.managers["llama_cpp"].models) == {"tiny-text.gguf", "tiny-embed.gguf"}
            assert await manager.unload_model("tiny-text.gguf")

    asyncio.run(ask())


def test_a_damaged_gguf_and_one_that_does_not_fit_are_refused(files: Path) -> None:
    (files / "cut.gguf").write_bytes((files / "tiny-text.gguf").read_bytes()[:5000])

    async def ask() -> None:
        async with llama_manager(files) as manager:
            with pytest.raises(BrokenModel, match=r"cut\.gguf"):
                await manager.load_model("cut.gguf")
        async with llama_manager(files, memory_mb=1) as manager:
            with pytest.raises(NotEnoughMemory, match="left of models"):
                await manager.load_model("tiny-text.gguf")

    asyncio.run(ask())
    (files / "cut.gguf").unlink()
