"""What LocalEngine does around a model: one load, deadlines, giving up, closing. The model here is a double."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from docflow import engines
from docflow.engines.abandoning import Abandoned, Call
from docflow.engines.base import Limits, Request, Turn, Usage, Want, WantChoice, WantJson, WantText
from docflow.engines.chat import Reply, Step
from docflow.engines.local.engine import LocalEngine
from docflow.engines.local.model import (
    Embedded,
    Form,
    JsonForm,
    LocalModel,
    Message,
    ModelConfig,
    RegexForm,
    Sampling,
)
from docflow.engines.local.names import config_of, shown_name
from docflow.engines.pool import Pool
from docflow.engines.specs import EngineSpec, absolute_entry, parse_roles
from docflow.errors import (
    BrokenModel,
    ConfigError,
    EngineError,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    NotEnoughMemory,
)
from docflow.runs.resources import check_engine
from tests.unit.pages import page_of


class Double:
    """A backend and its model in one. ``gate`` holds the load, ``writes`` the pieces that an answer is written in."""

    name = "transformers"
    backend = "transformers"
    context = 4096

    def __init__(self, *errors: EngineError, text: str = "yes") -> None:
        self.errors = list(errors)
        self.text = text
        self.loads = 0
        self.gate = threading.Event()
        self.gate.set()
        self.calls: list[tuple[Sequence[Message], Sampling, Form | None, str]] = []
        self.endless = False
        self.ended = threading.Event()
        self.began = threading.Event()
        self.closed = False

    def missing(self) -> str:
        return ""

    def memory_needed(self, config: ModelConfig) -> int:
        return 0

    def load(self, config: ModelConfig) -> LocalModel:
        self.loads += 1
        assert self.gate.wait(30)
        if self.errors:
            raise self.errors.pop(0)
        return self

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        form: Form | None = None,
        begun: str = "",
        on_text: Callable[[str], bool] | None = None,
    ) -> Reply:
        self.calls.append((messages, sampling, form, begun))
        if messages[-1].text == "refuse":
            raise EngineRefused("too long")
        assert on_text is not None
        self.began.set()
        while self.endless:
            if not on_text("a"):
                self.ended.set()
                return Reply("", "abort", (), Usage(calls=1))
            threading.Event().wait(0.01)
        steps = (Step(b"yes", {b"no": 0.25, b"yes": 0.75}),)
        return Reply(self.text, "stop", steps, Usage(10, 0, 1, 1))

    def complete(self, prompt: str, sampling: Sampling, *, on_text: Callable[[str], bool] | None = None) -> Reply:
        raise NotImplementedError

    def embed(self, texts: Sequence[str]) -> Embedded:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


def engine_of(double: Double) -> LocalEngine:
    return LocalEngine(double, ModelConfig("/models/tiny"))


def request_of(text: str = "x", want: Want = WantText(), **limits: float) -> Request:  # noqa: B008
    return Request((Turn("user", (text,)),), want, limits=replace(Limits(), **limits))  # type: ignore[arg-type]


def test_nothing_is_loaded_before_it_is_needed_and_once_for_all_threads() -> None:
    double = Double()
    double.gate.clear()
    engine = engine_of(double)
    assert double.loads == 0
    with ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(engine.answer, request_of()) for _ in range(6)]
        double.gate.set()
        assert [answer.result().text for answer in answers] == ["yes"] * 6
    assert double.loads == 1
    assert (engine.name, engine.model) == ("transformers", "tiny")


def test_a_request_becomes_messages_a_form_and_sampling() -> None:
    double = Double(text='{"a":true}')
    engine = engine_of(double)
    page = page_of(["Total 12.50"])
    turns = (Turn("system", ("Read.",)), Turn("user", ("Look: ", page, " there")))
    schema = {"type": "object", "properties": {"a": {"type": "boolean", "description": "is it"}}}
    limits = Limits(max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop=("END",), page_tokens=16)
    answer = engine.answer(Request(turns, WantJson(schema), begun="{", limits=limits))
    [(messages, sampling, form, begun)] = double.calls
    assert [message.role for message in messages] == ["system", "user"]
    assert messages[1].parts[0] == "Look: "
    [image] = messages[1].images
    assert image.startswith(b"\xff\xd8")
    assert isinstance(form, JsonForm)
    assert "description" not in str(form.schema)
    assert sampling == Sampling(7, 0.5, 0.9, 0, ("END",), 3, 0)
    assert begun == "{"
    assert (answer.engine, answer.model, answer.usage.prompt) == ("transformers", "tiny", 10)


def test_a_choice_is_asked_as_an_expression_with_alternatives() -> None:
    double = Double()
    answer = engine_of(double).answer(request_of(want=WantChoice(("yes", "no"))))
    [(_, sampling, form, _)] = double.calls
    assert isinstance(form, RegexForm)
    assert sampling.top == 20
    assert sampling.temperature == 0
    assert answer.choice_probs == {"yes": 0.75, "no": 0.25}


def test_a_request_that_takes_too_long_fails_and_the_model_stops_writing() -> None:
    double = Double()
    double.endless = True
    with pytest.raises(EngineTimeout):
        engine_of(double).answer(request_of(timeout_seconds=0.05))
    assert double.ended.wait(30)


def test_a_request_that_is_given_up_ends_at_once_and_the_model_stops_writing() -> None:
    double = Double()
    double.endless = True
    engine, call = engine_of(double), Call()

    def ask() -> None:
        with call:
            engine.answer(request_of())

    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(ask)
        assert double.began.wait(30)
        call.abandon()
        with pytest.raises(Abandoned):
            asked.result(30)
    assert double.ended.wait(30)
    double.endless = False
    assert engine.answer(request_of()).text == "yes"


def test_closing_ends_what_is_under_way_and_gives_back_the_model() -> None:
    double = Double()
    double.endless = True
    engine = engine_of(double)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(engine.answer, request_of())
        assert double.began.wait(30)
        engine.close()
        with pytest.raises(EngineUnavailable):
            asked.result(30)
    assert double.closed
    with pytest.raises(EngineUnavailable):
        engine.answer(request_of())
    assert not engine.health().ok
    engine.close()


def test_what_the_model_raises_is_raised_where_it_was_asked() -> None:
    engine = engine_of(Double())
    with pytest.raises(EngineRefused, match="too long"):
        engine.answer(request_of("refuse"))


def test_a_broken_model_is_remembered_and_missing_memory_tried_again() -> None:
    broken = Double(BrokenModel("it is damaged", hint="Download it again."))
    engine = engine_of(broken)
    for _ in range(2):
        with pytest.raises(BrokenModel, match="damaged"):
            engine.answer(request_of())
    assert broken.loads == 1
    health = engine.health()
    assert (health.ok, health.detail, health.hint, health.gone) == (False, "it is damaged", "Download it again.", True)
    full = Double(NotEnoughMemory("no room"))
    engine = engine_of(full)
    with pytest.raises(NotEnoughMemory):
        engine.answer(request_of())
    assert engine.answer(request_of()).text == "yes"
    assert full.loads == 2


# --- names --------------------------------------------------------------------------------------------------------


def test_a_run_with_a_model_that_cannot_be_loaded_tells_what_helps() -> None:
    broken = Double(BrokenModel("it is damaged", hint="Download it again."))
    with pytest.raises(EngineUnavailable, match="transformers is not usable: it is damaged") as raised:
        check_engine(engine_of(broken))
    assert raised.value.hint.startswith("Download it again. --engine chooses another")


def test_a_model_is_named_by_file_folder_or_the_hubs_name(tmp_path: Path) -> None:
    assert shown_name("/models/qwen2-vl-q4.gguf") == "qwen2-vl-q4"
    assert shown_name("/models/qwen/") == "qwen"
    assert shown_name("Qwen/Qwen2-VL-2B-Instruct") == "Qwen/Qwen2-VL-2B-Instruct"


def test_vllm_is_a_server_with_a_url_and_a_model_in_process_without() -> None:
    server = EngineSpec.parse("vllm=http://gpu1:8000?weight=2")
    assert (server.is_server, server.is_model) == (True, False)
    local = EngineSpec.parse("vllm=Qwen/Qwen2-VL-2B-Instruct?context=8192&dtype=float16")
    assert (local.is_server, local.is_model) == (False, True)
    assert config_of(local) == ModelConfig("Qwen/Qwen2-VL-2B-Instruct", context=8192, dtype="float16")


@pytest.mark.parametrize(
    "entry",
    [
        "transformers",
        "transformers=http://host/model",
        "transformers=a/b/c",
        "transformers=owner/..name",
        "transformers=owner/name?trust_remote_code=true",
        "transformers=owner/name?context=0",
        "transformers=owner/name?device=tpu",
        "transformers=owner/name?device=cpu&device=cpu",
        "llama_cpp=model.bin",
        "llama_cpp=https://host/model.gguf",
        "vllm=model",
        "vllm=file:///etc/passwd",
    ],
)
def test_what_is_no_model_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError):
        EngineSpec.parse(entry)


def test_the_projector_lies_beside_its_model_or_is_named(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.touch()
    assert config_of(EngineSpec.parse(f"llama_cpp={model}")).projector == ""
    (tmp_path / "mmproj-model.gguf").touch()
    assert config_of(EngineSpec.parse(f"llama_cpp={model}")).projector == str(tmp_path / "mmproj-model.gguf")
    (tmp_path / "other.gguf").touch()
    (tmp_path / "mmproj-other.gguf").touch()
    assert config_of(EngineSpec.parse(f"llama_cpp={model}")).projector == str(tmp_path / "mmproj-model.gguf")
    (tmp_path / "mmproj-model-f16.gguf").touch()
    with pytest.raises(ConfigError, match="2 projectors"):
        config_of(EngineSpec.parse(f"llama_cpp={model}"))
    (tmp_path / "third-q4_k_m.gguf").touch()
    assert config_of(EngineSpec.parse(f"llama_cpp={tmp_path}/third-q4_k_m.gguf")).projector == ""
    named = EngineSpec.parse(f"llama_cpp={model}?projector=/p.gguf&gpu_layers=-1")
    assert (config_of(named).projector, config_of(named).gpu_layers) == ("/p.gguf", -1)


def test_a_model_in_process_may_have_stand_ins_and_be_one() -> None:
    roles = parse_roles("transformers=owner/name", "embedded")
    assert not roles.alone
    assert [spec.name for spec in roles.fallbacks[0]] == ["embedded"]
    assert parse_roles("transformers=owner/name").alone
    later = parse_roles("sglang=http://a:1", "vllm=owner/name")
    assert later.fallbacks[0][0].is_model
    assert parse_roles("sglang=http://a:1;vllm=owner/name", "sglang=vllm").fallbacks[0][0].is_model


def test_paths_of_models_are_made_absolute_and_names_of_the_hub_are_not(in_tmp: Path) -> None:
    (in_tmp / "qwen").mkdir()
    assert absolute_entry("transformers=qwen?device=cpu") == f"transformers={in_tmp}/qwen?device=cpu"
    assert absolute_entry("llama_cpp=a.gguf?projector=p.gguf") == (
        f"llama_cpp={in_tmp}/a.gguf?projector={in_tmp}/p.gguf"
    )
    assert absolute_entry("llama_cpp=a.gguf") == f"llama_cpp={in_tmp}/a.gguf"
    assert absolute_entry("vllm=owner/name") == "vllm=owner/name"
    assert absolute_entry("vllm=http://a:1") == "vllm=http://a:1"
    assert absolute_entry("scripted=a.jsonl") == f"scripted={in_tmp}/a.jsonl"
    assert absolute_entry("embedded") == "embedded"


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from docflow.engines.local.hf import TransformersBackend

    monkeypatch.setattr(TransformersBackend, "missing", lambda _: "torch")
    with pytest.raises(EngineUnavailable) as raised:
        engines.create("transformers=owner/name")
    assert "torch" in raised.value.message
    assert raised.value.hint == 'pip install "docflow[transformers]"'
    pool = None
    with pytest.raises(EngineUnavailable):
        pool = engines.create("sglang=http://a:1", "transformers=owner/name")
    assert not isinstance(pool, Pool)
