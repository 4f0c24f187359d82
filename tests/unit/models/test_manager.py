"""The manager: one load for all who want a model, nothing unloaded under a request, no load without memory for it."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from docflow.engines.local.model import ModelConfig
from docflow.errors import (
    BrokenModel,
    CannotEmbed,
    ConfigError,
    EngineUnavailable,
    ModelBusy,
    ModelNotFound,
    NotEnoughMemory,
    UsageError,
)
from docflow.models import UnifiedModelManager
from docflow.settings import ModelOptions, load_settings
from docflow.sizes import MIB
from tests.unit.models.words import Words, make_model, settings_for

HELLO = [{"role": "user", "content": "say this again"}]
PATIENCE = 30.0


def manager_for(folder: Path, words: Words, **settings: Any) -> UnifiedModelManager:
    return UnifiedModelManager(settings_for(folder, **settings), backends_here={words.name: words})


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


async def held(lock: threading.Semaphore) -> None:
    assert await asyncio.to_thread(lock.acquire, timeout=PATIENCE)


def test_a_chat_loads_its_model_and_has_the_shape_of_openais(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")
    words = Words()

    async def ask() -> dict[str, Any]:
        async with manager_for(tmp_path, words) as manager:
            answer = await manager.generate_chat_completion(HELLO, model="small.gguf", max_tokens=2, logprobs=True)
            assert manager.llm_manager is not None
            assert list(manager.llm_manager.models) == ["small.gguf"]
            return answer

    answer = asyncio.run(ask())
    choice = answer["choices"][0]
    assert (answer["object"], answer["model"]) == ("chat.completion", "small.gguf")
    assert (choice["message"]["content"], choice["finish_reason"]) == ("say this", "length")
    assert answer["usage"]["total_tokens"] == 5
    assert choice["logprobs"]["content"][0]["token"] == "say"
    assert len(choice["logprobs"]["content"][0]["top_logprobs"]) == 2
    assert words.open == []  # closing gave it back


def test_who_wants_a_model_at_the_same_time_waits_for_one_load(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")
    words = Words()
    words.go.clear()

    async def ask() -> None:
        async with manager_for(tmp_path, words, aliases={"mine": {"model_id": "small.gguf"}}) as manager:
            asked: list[asyncio.Task[Any]] = [
                asyncio.create_task(manager.load_model(name)) for name in ("small.gguf", "mine", "small.gguf")
            ]
            asked.append(asyncio.create_task(manager.generate_completion("a b", model="mine")))
            await until(lambda: words.loads)
            words.go.set()
            await asyncio.gather(*asked)
            await manager.load_model("small.gguf")

    asyncio.run(ask())
    assert len(words.loads) == 1


def test_who_stops_waiting_does_not_end_the_load(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")
    words = Words()
    words.go.clear()

    async def ask() -> None:
        async with manager_for(tmp_path, words) as manager:
            gone = asyncio.create_task(manager.load_model("small.gguf"))
            await until(lambda: words.loads)
            gone.cancel()
            staying = asyncio.create_task(manager.load_model("small.gguf"))
            words.go.set()
            await staying
            assert gone.cancelled()
            assert manager.loaded("small.gguf") is not None

    asyncio.run(ask())
    assert len(words.loads) == 1


def test_different_models_are_loaded_one_after_the_other_and_without_waiting_refused(tmp_path: Path) -> None:
    make_model(tmp_path, "a.gguf")
    make_model(tmp_path, "b.gguf")
    words = Words()
    words.go.clear()

    async def ask() -> None:
        async with manager_for(tmp_path, words) as manager:
            first = asyncio.create_task(manager.load_model("a.gguf"))
            await until(lambda: words.loads)
            with pytest.raises(ModelBusy, match=r"a\.gguf is being loaded"):
                await manager.load_model("b.gguf", wait=False)
            second = asyncio.create_task(manager.load_model("b.gguf"))
            await asyncio.sleep(0)
            assert len(words.loads) == 1
            words.go.set()
            await asyncio.gather(first, second)
            assert len(words.open) == 2

    asyncio.run(ask())


def test_a_loaded_model_is_not_loaded_again_in_another_way(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")
    words = Words()

    async def ask() -> None:
        async with manager_for(tmp_path, words) as manager:
            await manager.load_model("small.gguf", ModelOptions(context=7))
            await manager.load_model("small.gguf", ModelOptions(context=7))
            with pytest.raises(ModelBusy, match="other settings"):
                await manager.load_model("small.gguf", ModelOptions(context=8))
            answer = await manager.generate_completion("a b", model="small.gguf")  # as it is loaded
            assert answer["choices"][0]["text"] == "a b"

    asyncio.run(ask())
    assert [config.context for config in words.loads] == [7]


def test_a_model_that_does_not_fit_is_refused_and_says_what_would_give_room(tmp_path: Path) -> None:
    make_model(tmp_path, "a.gguf", 60 * MIB)
    make_model(tmp_path, "b.gguf", 50 * MIB)
    words = Words()

    async def ask() -> None:
        async with manager_for(tmp_path, words, memory_mb=100) as manager:
            await manager.load_model("a.gguf")
            with pytest.raises(NotEnoughMemory, match=r"50\.0 MiB of memory, and 40\.0 MiB are left") as refused:
                await manager.load_model("b.gguf")
            assert refused.value.hint.startswith("docflow models unload a.gguf")
            listed = {one["id"]: one for one in await manager.list_models()}
            assert (listed["a.gguf"]["loaded"], listed["b.gguf"]["fits"]) == (True, False)
            assert await manager.unload_model("a.gguf")
            await manager.load_model("b.gguf")

    asyncio.run(ask())
    assert [Path(config.model_id).name for config in words.loads] == ["a.gguf", "b.gguf"]


def test_a_model_that_is_unloaded_while_it_is_described_is_described(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")

    class Going(dict[str, Any]):
        """Its entries are there for one look."""

        def get(self, key: str, default: Any = None) -> Any:
            return self.pop(key, default)

        def __contains__(self, key: object) -> bool:
            return self.get(str(key)) is not None

    async def ask() -> dict[str, Any]:
        async with manager_for(tmp_path, Words()) as manager:
            await manager.load_model("small.gguf")
            [backend] = manager.managers.values()
            kept = dict(backend.models)
            backend.models = Going(kept)
            try:
                return await manager.describe("small.gguf")
            finally:
                backend.models = kept

    assert asyncio.run(ask())["loaded"] is True


def test_a_model_larger_than_the_machine_is_never_begun(tmp_path: Path) -> None:
    make_model(tmp_path, "huge.gguf", 1 << 43)  # a hole of 8 TiB
    words = Words()

    async def ask() -> None:
        async with manager_for(tmp_path, words) as manager:
            with pytest.raises(NotEnoughMemory, match=r"8,192\.0 GiB"):
                await manager.load_model("huge.gguf")

    asyncio.run(ask())
    assert words.loads == []


def test_a_model_in_use_is_unloaded_after_its_requests_and_takes_no_more(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")
    words = Words()
    words.write.clear()

    async def ask() -> None:
        async with manager_for(tmp_path, words) as manager:
            asked = asyncio.create_task(manager.generate_chat_completion(HELLO, model="small.gguf"))
            await held(words.writing)
            leaving = asyncio.create_task(manager.unload_model("small.gguf"))
            await until(lambda: manager.loaded("small.gguf").leaving)  # type: ignore[union-attr]
            assert words.open
            waiting = asyncio.create_task(manager.generate_completion("x", model="small.gguf"))
            await asyncio.sleep(0.05)
            assert not leaving.done()
            words.write.set()
            assert (await asked)["choices"][0]["message"]["content"] == "say this again"
            assert await leaving
            assert (await waiting)["choices"][0]["text"] == "x"  # by a new load

    asyncio.run(ask())
    assert len(words.loads) == 2


def test_who_goes_away_ends_the_writing_and_frees_the_model(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")
    words = Words()

    async def ask() -> None:
        async with manager_for(tmp_path, words) as manager:
            words.write.clear()
            asked = asyncio.create_task(
                manager.generate_chat_completion([{"role": "user", "content": "word " * 90}], model="small.gguf")
            )
            await held(words.writing)
            asked.cancel()
            await asyncio.wait([asked])
            loaded = manager.loaded("small.gguf")
            assert loaded is not None
            assert loaded.users == 1  # the thread is still at it
            words.write.set()
            await until(lambda: loaded.users == 0)

    asyncio.run(ask())


def test_a_stream_comes_in_pieces_and_ends_with_what_it_cost(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")

    async def ask() -> list[dict[str, Any]]:
        async with manager_for(tmp_path, Words()) as manager:
            return [one async for one in manager.stream_chat_completion(HELLO, model="small.gguf")]

    events = asyncio.run(ask())
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert [delta.get("content") for delta in deltas[1:-1]] == ["say", " this", " again"]
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"]["completion_tokens"] == 3
    assert len({event["id"] for event in events}) == 1


def test_requests_at_one_model_are_not_serialised(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")
    words = Words()
    words.write.clear()

    async def ask() -> None:
        async with manager_for(tmp_path, words) as manager:
            asked = [asyncio.create_task(manager.generate_completion("x y", model="small.gguf")) for _ in range(6)]
            for _ in asked:
                await held(words.writing)
            words.write.set()
            await asyncio.gather(*asked)

    asyncio.run(ask())
    assert words.most_at_once == 6


def test_an_idle_model_goes_and_one_in_use_stays(tmp_path: Path) -> None:
    make_model(tmp_path, "idle.gguf")
    make_model(tmp_path, "busy.gguf")
    words = Words()

    async def ask() -> None:
        async with manager_for(tmp_path, words, idle_seconds=0.1) as manager:
            await manager.load_model("busy.gguf")
            words.write.clear()
            asked = asyncio.create_task(manager.generate_completion("x", model="busy.gguf"))
            await held(words.writing)
            await manager.load_model("idle.gguf")
            await until(lambda: manager.loaded("idle.gguf") is None)
            assert manager.loaded("busy.gguf") is not None
            words.write.set()
            await asked
            await until(lambda: manager.loaded("busy.gguf") is None)

    asyncio.run(ask())
    assert words.open == []


def test_what_went_wrong_is_said_and_can_be_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"broken")

    async def ask() -> None:
        async with manager_for(tmp_path, Words()) as manager:
            with pytest.raises(BrokenModel, match=r"^bad\.gguf is damaged"):
                await manager.load_model("bad.gguf")
            path.write_bytes(b"GGUF")
            await manager.load_model("bad.gguf")
            with pytest.raises(ModelNotFound, match=r"no file none\.gguf"):
                await manager.load_model("none.gguf")
            with pytest.raises(ModelNotFound, match="no model 'nobody'"):
                await manager.load_model("nobody")
            with pytest.raises(EngineUnavailable, match="transformers cannot be used"):
                await manager.load_model("other.gguf", backend="transformers")
            with pytest.raises(ModelBusy, match="loaded by llama-cpp"):
                await manager.load_model("bad.gguf", backend="vllm")
            with pytest.raises(ConfigError, match="no backend 'none'"):
                await manager.load_model("bad.gguf", backend="none")
            with pytest.raises(UsageError):
                await manager.load_model("")

    asyncio.run(ask())


def test_a_quantisation_that_vllm_has_no_more_is_refused_with_the_reason(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")

    async def ask() -> None:
        async with manager_for(tmp_path, Words()) as manager:
            for config in (
                ModelOptions(quantization="squeezellm"),
                ModelConfig("small.gguf", quantization="SqueezeLLM"),
                ModelOptions(quantization="aqlm"),
            ):
                with pytest.raises(UsageError, match="vLLM has it no more"):
                    await manager.load_model("small.gguf", config)

    asyncio.run(ask())
    with pytest.raises(ConfigError, match=r"models\.aliases\.old: quantization squeezellm"):
        manager_for(tmp_path, Words(), aliases={"old": {"model_id": "a/b", "quantization": "squeezellm"}})


def test_an_alias_answers_as_its_settings_say_and_a_request_counts_more(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")
    aliases = {"short": {"model_id": "small.gguf", "max_tokens": 1, "max_model_len": 50}}
    words = Words()

    async def ask() -> list[str]:
        async with manager_for(tmp_path, words, aliases=aliases, default="short") as manager:
            texts = []
            given: tuple[dict[str, Any], ...] = ({}, {"max_tokens": 2})
            for fields in given:
                answer = await manager.generate_completion("a b c", **fields)
                assert answer["model"] == "short"
                texts.append(answer["choices"][0]["text"])
            return texts

    assert asyncio.run(ask()) == ["a", "a b"]
    assert [config.context for config in words.loads] == [50]


def test_aliases_come_from_the_variables_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path, "small.gguf")
    monkeypatch.setenv("VLLM_DEFAULT_MODEL", "tiny")
    monkeypatch.setenv("VLLM_MODELS", '{"tiny": {"model_id": "small.gguf", "max_model_len": 64}}')

    async def ask() -> None:
        async with manager_for(tmp_path, Words()) as manager:
            assert (await manager.generate_completion("a b"))["model"] == "tiny"
            assert manager.loaded("tiny").config.context == 64  # type: ignore[union-attr]

    asyncio.run(ask())
    monkeypatch.setenv("VLLM_MODELS", "[oops")
    with pytest.raises(ConfigError, match="no JSON"):
        load_settings()


def test_images_and_schemas_reach_the_model(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
    content = [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": url}}]
    schema = {"type": "object", "properties": {"seen": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    async def ask() -> str:
        async with manager_for(tmp_path, Words()) as manager:
            answer = await manager.generate_chat_completion(
                [{"role": "user", "content": content}], model="small.gguf", response_format=wanted
            )
            text: str = answer["choices"][0]["message"]["content"]
            return text

    assert asyncio.run(ask()) == '{"seen": "1 images"}'


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"temperature": 9}, "temperature"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"n": 2}, "n:"),
        ({"response_format": {"type": "json_object"}}, "json_object"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "no JSON schema"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "roles are"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/a.png"}}]}
                ]
            },
            "data: URL",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
                    }
                ]
            },
            "no JPEG",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_loaded(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    make_model(tmp_path, "small.gguf")
    words = Words()

    async def ask() -> None:
        async with manager_for(tmp_path, words) as manager:
            body = {"messages": HELLO, **fields}
            with pytest.raises(UsageError, match=said):
                await manager.generate_chat_completion(body.pop("messages"), model="small.gguf", **body)

    asyncio.run(ask())
    assert words.loads == []


def test_vectors_come_as_numbers_or_packed_and_not_from_every_model(tmp_path: Path) -> None:
    make_model(tmp_path, "small.gguf")
    make_model(tmp_path, "chat.gguf")

    async def ask() -> None:
        async with manager_for(tmp_path, Words()) as manager:
            plain = await manager.embed(["abc", "d"], model="small.gguf")
            assert [one["embedding"] for one in plain["data"]] == [[3.0, 0.5], [1.0, 0.5]]
            assert plain["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
            packed = await manager.embed("abc", model="small.gguf", encoding_format="base64")
            assert base64.b64decode(packed["data"][0]["embedding"]) == b"\0\0\x40\x40\0\0\0\x3f"
            with pytest.raises(CannotEmbed):
                await manager.embed("abc", model="chat.gguf")

    asyncio.run(ask())


def test_a_backend_that_is_added_serves_like_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")

    async def ask() -> str:
        manager = UnifiedModelManager(
            settings_for(tmp_path), backends_here={"llama_cpp": Words(), "other": Words("other")}
        )
        async with manager:
            await manager.load_model("folder")
            assert list(manager.managers["other"].models) == ["folder"]
            text: str = (await manager.generate_completion("a b", model="folder"))["choices"][0]["text"]
            return text

    assert asyncio.run(ask()) == "a b"


def test_without_any_backend_there_is_no_manager(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no backend for models"):
        UnifiedModelManager(settings_for(tmp_path), backends_here={})
    with pytest.raises(EngineUnavailable, match="vllm cannot be used"):
        UnifiedModelManager(settings_for(tmp_path, mode="vllm"), backends_here={"llama_cpp": Words()})
