"""What is deployed, worked out and refused before anything is sent: dry runs, presets, the model's own limits."""

from __future__ import annotations

import json
import re
import shlex
import socket
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from docflow.deploy.backendai import hub, signing
from docflow.deploy.backendai.credentials import Credentials
from docflow.deploy.backendai.hub import ModelFacts, facts_of, model_id
from docflow.deploy.backendai.plan import Plan, Wishes, check_name, plan
from docflow.deploy.backendai.presets import Preset, preset_of, presets
from docflow.errors import ModelAccessError, UsageError
from tests.unit.deploy.serving import served
from tests.unit.deploy.test_backendai_sessions import run

SMALL = "microsoft/DialoGPT-medium"
LARGE = "meta-llama/Llama-2-70b-chat-hf"
LARGE_AWQ = "TheBloke/Llama-2-70B-Chat-AWQ"
TOKEN = "hf_verysecrettoken"


def planned(model: str, wishes: Wishes | None = None, facts: ModelFacts | None = None) -> Plan:
    return plan(model, wishes or Wishes(), preset=preset_of(model), facts=facts, token="", api_key="key")


def option(made: Plan, name: str) -> str | None:
    command = list(made.command)
    return command[command.index(name) + 1] if name in command else None


# --- the scenarios, as dry runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "model", "resources", "flags"),
    [
        ("", SMALL, (1, "8g", 4), {"--max-model-len": "1024"}),
        ("-g 1 -m 16g --wait", "meta-llama/Llama-2-7b-chat-hf", (1, "16g", 4), {"--max-model-len": "4096"}),
        ("-g 2 -m 32g -c 8", "meta-llama/Llama-2-13b-chat-hf", (2, "32g", 8), {"--tensor-parallel-size": "2"}),
        (
            "-g 4 -m 64g --quantization awq --tensor-parallel-size 4",
            LARGE_AWQ,
            (4, "64g", 4),
            {"--quantization": "awq", "--tensor-parallel-size": "4"},
        ),
        (
            "-g 4 -m 64g -c 16 --quantization awq --tensor-parallel-size 4 --max-model-len 4096 --wait",
            LARGE_AWQ,
            (4, "64g", 16),
            {"--quantization": "awq", "--tensor-parallel-size": "4", "--max-model-len": "4096"},
        ),
        (
            f"--huggingface-token {TOKEN} -g 2 -m 24g --wait",
            "your-org/private-llama-model",
            (2, "24g", 4),
            {"--max-model-len": "4096", "--tensor-parallel-size": "2"},
        ),
        ("--verbose", SMALL, (1, "8g", 4), {"--port": "8000"}),
        ("--debug --verbose", SMALL, (1, "8g", 4), {"--port": "8000"}),
        ("--gpu-count 4 --tensor-parallel-size 4 -p 8000", SMALL, (4, "8g", 4), {"--tensor-parallel-size": "4"}),
    ],
)
def test_the_scenarios_as_dry_runs(
    arguments: str,
    model: str,
    resources: tuple[int, str, int],
    flags: dict[str, str],
    clean: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("a dry run asked the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    code, out, err = run(capsys, "backendai", *arguments.split(), model, "--dry-run", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["dry_run"] is True
    assert tuple(said["resources"][key] for key in ("gpus", "memory", "cpus")) == resources
    command = said["command"]
    assert command[:3] == ["vllm", "serve", model]
    for flag, value in flags.items():
        assert command[command.index(flag) + 1] == value
    assert TOKEN not in out + err
    if "--huggingface-token" in arguments:
        assert said["environment"]["HF_TOKEN"] == said["environment"]["HUGGING_FACE_HUB_TOKEN"] == "***"
        assert "lists of processes" in err


@pytest.mark.parametrize(
    ("arguments", "says", "instead"),
    [
        ("-g 4 -m 64g --quantization awq --tensor-parallel-size 4", "is not quantised", LARGE_AWQ),
        ("-g 4 -m 64g -c 16 --max-model-len 8192 --wait", "is more than", "4096"),
        ("-g 2 --tensor-parallel-size 4", "is more than the session's GPUs (2)", "--gpu-count"),
    ],
)
def test_what_vllm_would_refuse_is_refused_before(
    arguments: str, says: str, instead: str, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "backendai", *arguments.split(), LARGE, "--dry-run")
    assert code == 2
    assert says in err
    assert instead in err


def test_a_dry_run_for_people_shows_what_will_be_done(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "backendai", SMALL, "--dry-run", "--env", "MY_SECRET_TOKEN=abc", "--env", "PLAIN=abc")
    assert code == 0
    assert "MY_SECRET_TOKEN=***" in out
    assert "PLAIN=abc" in out
    assert "POST /session" not in out
    assert "POST /session" in run(capsys, "backendai", SMALL, "--dry-run", "--verbose")[1]


def test_debug_keeps_the_request_without_secrets_where_git_does_not_look(
    clean: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert run(capsys, "backendai", SMALL, "--dry-run", "-n", "kept-one", "--debug")[0] == 0
    path = clean / "temp" / "deploy_vllm_kept-one.json"
    assert json.loads(path.read_text())["config"]["environ"]["HF_TOKEN"] == "***"
    assert TOKEN not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "deploy_vllm_*" in (clean / "temp" / ".gitignore").read_text()
    assert run(capsys, "backendai", SMALL, "--dry-run", "-n", "left-out")[0] == 0
    assert not (clean / "temp" / "deploy_vllm_left-out.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        *([["-n", name, SMALL] for name in ("abc", "-abcd", "abcd-", "a b c d", "a" * 65, "ab_cd")]),
        *([["-m", memory, SMALL] for memory in ("lots", "0g", "16x", "512m")]),
        *([["-p", port, SMALL] for port in ("80", "2000", "70000")]),
        *([["--env", pair, SMALL] for pair in ("NAME", "1X=2", "=x")]),
        *([["--vllm-flag", flag, SMALL] for flag in ("--api-key x", "--port=1", "'")]),
        ["--max-model-len", "0", SMALL],
        ["--quantization", "; rm", SMALL],
        ["--replicas", "33", SMALL],
        ["--timeout", "soon", SMALL],
        *([[model] for model in ("../etc", "a/b/c", "org/", "https://example.org/a/b", "", "a b")]),
    ],
    ids=str,
)
def test_what_is_off_ends_with_2_and_sends_nothing(
    arguments: list[str], clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "backendai", *arguments, "--dry-run")
    assert code == 2, err
    assert "error:" in err.lower()


def test_without_a_model_the_usage_is_shown(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "backendai")
    assert code == 2
    assert "MODEL" in err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    out = run(capsys, "backendai", "-h")[1]
    for long, short in (("gpu-count", "g"), ("memory", "m"), ("cpu-count", "c"), ("session-name", "n"), ("port", "p")):
        assert f"--{long}" in out
        assert re.search(rf"(^|\s)-{short}\s", out, re.M)
    for name in ("max-model-len", "quantization", "tensor-parallel-size", "huggingface-token", "wait", "dry-run"):
        assert f"--{name}" in out
    for name in ("debug", "verbose", "json", "env", "replicas"):
        assert f"--{name}" in out


# --- the plan --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", presets())
def test_every_preset_is_a_deployment_that_vllm_takes(model: str) -> None:
    made, preset = planned(model), presets()[model]
    assert (made.gpus, made.memory) == (preset.gpus, preset.memory)
    assert made.max_model_len <= preset.context
    assert made.tensor_parallel_size == made.gpus, "no GPU stays idle"
    for method, other in preset.quantized.items():
        assert model_id(other) == other
        assert method in ("awq", "gptq")


@pytest.mark.parametrize(
    ("model", "gpus", "memory"),
    [
        ("gpt2", 1, "4g"),
        ("microsoft/DialoGPT-medium", 1, "8g"),
        ("microsoft/DialoGPT-large", 1, "16g"),
        ("meta-llama/Llama-2-7b-chat-hf", 1, "16g"),
        ("meta-llama/Llama-2-13b-chat-hf", 2, "32g"),
        ("mistralai/Mistral-7B-Instruct-v0.1", 1, "16g"),
        ("meta-llama/Llama-2-70b-chat-hf", 4, "64g"),
        ("codellama/CodeLlama-34b-Instruct-hf", 2, "48g"),
        ("codellama/CodeLlama-13b-Instruct-hf", 2, "24g"),
        ("lmsys/vicuna-13b-v1.5", 1, "16g"),
        ("WizardLM/WizardCoder-15B-V1.0", 1, "16g"),
    ],
)
def test_the_recommended_resources(model: str, gpus: int, memory: str) -> None:
    made = planned(model)
    assert (made.gpus, made.memory, made.cpus) == (gpus, memory, 4)


def test_models_that_see_are_deployed_for_documents() -> None:
    made = planned("Qwen/Qwen2-VL-7B-Instruct")
    assert json.loads(option(made, "--limit-mm-per-prompt") or "") == {"image": 8}
    assert made.max_model_len == 16_384
    assert option(planned(SMALL), "--limit-mm-per-prompt") is None


def test_a_13b_model_says_what_its_weights_take() -> None:
    assert any("26 GB on each GPU" in note for note in planned("lmsys/vicuna-13b-v1.5").notes)
    assert not any("GB on each GPU" in note for note in planned(SMALL).notes)


def test_a_model_without_a_chat_template_says_so() -> None:
    assert any("chat template" in note for note in planned("gpt2").notes)


def test_fewer_parallel_than_gpus_is_allowed_and_said() -> None:
    made = planned(SMALL, Wishes(gpus=4, tensor_parallel_size=2))
    assert option(made, "--tensor-parallel-size") == "2"
    assert "2 of 4 GPUs will be idle: --tensor-parallel-size is 2" in made.notes


def test_what_the_hub_says_counts_more_than_the_preset() -> None:
    assert planned(SMALL, facts=ModelFacts(512, "")).max_model_len == 512
    with pytest.raises(UsageError, match="quantised by gptq, not by awq"):
        planned("org/other", Wishes(quantization="awq"), ModelFacts(4096, "gptq"))
    assert planned("org/other", Wishes(quantization="awq"), ModelFacts(4096, "awq")).quantization == "awq"
    assert planned("org/other", Wishes(quantization="awq_marlin"), ModelFacts(4096, "awq")).quantization == "awq_marlin"


def test_methods_that_quantise_while_loading_take_any_repository() -> None:
    assert planned("meta-llama/Llama-2-7b-chat-hf", Wishes(quantization="fp8")).quantization == "fp8"


def test_a_method_that_docflow_does_not_know_is_passed_on_and_said() -> None:
    made = planned(SMALL, Wishes(quantization="foo"))
    assert option(made, "--quantization") == "foo"
    [note] = [note for note in made.notes if note.startswith("--quantization foo goes to vLLM as it is")]
    assert "It takes awq, gptq, fp8, compressed-tensors," in note
    assert "goes to vLLM" not in " ".join(planned(SMALL, Wishes(quantization="fp8")).notes)


@pytest.mark.parametrize("method", ["squeezellm", "SqueezeLLM", "aqlm"])
def test_a_method_that_vllm_has_no_more_is_refused_with_those_that_it_has(method: str) -> None:
    with pytest.raises(UsageError, match=f"--quantization {method.lower()}: vLLM has it no more") as refused:
        planned("org/other", Wishes(quantization=method))
    assert "takes awq, gptq, fp8, compressed-tensors," in refused.value.hint
    with pytest.raises(UsageError, match="which vLLM has no more"):
        planned("org/other", facts=ModelFacts(4096, method.lower()))


def test_a_model_of_which_nothing_is_known_says_so() -> None:
    notes = " ".join(planned("org/unknown", Wishes(quantization="awq")).notes)
    assert "maximum is not known" in notes
    assert "is not known" in notes


def test_batch_limits_and_further_flags_reach_vllm() -> None:
    made = planned(SMALL, Wishes(max_num_seqs=64, max_num_batched_tokens=8192, flags=["--dtype half", "--seed=1"]))
    assert option(made, "--max-num-seqs") == "64"
    assert option(made, "--max-num-batched-tokens") == "8192"
    assert list(made.command)[-3:] == ["--dtype", "half", "--seed=1"]


def test_the_variables_that_vllm_reads_at_its_start_are_there_before() -> None:
    made = planned(SMALL, Wishes(environment=["VLLM_WORKER_MULTIPROC_METHOD=fork", "VLLM_USE_MODELSCOPE=true"]))
    assert made.environment["VLLM_WORKER_MULTIPROC_METHOD"] == "fork"
    assert made.environment["VLLM_USE_MODELSCOPE"] == "true"


@given(st.text(max_size=120))
def test_a_generated_name_is_a_name_whatever_the_model_is_called(text: str) -> None:
    try:
        model = model_id(text)
    except UsageError:
        return
    for replicas in (1, 32):
        for name in planned(model, Wishes(replicas=replicas)).names:
            assert check_name(name) == name
            assert len(name) <= 64


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}/[A-Za-z0-9][A-Za-z0-9_-]{0,30}", fullmatch=True))
def test_an_address_on_the_hub_and_the_id_are_the_same(model: str) -> None:
    for address in (
        *(f"https://huggingface.co/{model}", f"https://huggingface.co/{model}/"),
        *(f"huggingface.co/{model}/tree/main", f"https://hf.co/{model}?x=1", f" {model} "),
    ):
        assert model_id(address) == model


@given(st.lists(st.text(alphabet="ab '\"$;\\\n", min_size=1, max_size=8), max_size=4))
def test_the_command_is_quoted_for_the_sessions_shell(values: list[str]) -> None:
    made = planned(SMALL, Wishes(flags=[shlex.join(["--x", value]) for value in values]))
    assert shlex.split(str(made.request(made.names[0])["startupCommand"])) == list(made.command)


def test_a_session_is_marked_in_64_characters() -> None:
    assert planned("gpt2").tag == "docflow 8000 gpt2"
    assert len(planned("a" * 80 + "/" + "b" * 80).tag) == 64


def test_presets_are_data_that_is_read_strictly() -> None:
    text = (resources.files("docflow.deploy.backendai") / "presets.toml").read_text()
    assert set(tomllib.loads(text)["models"]) == set(presets())
    with pytest.raises(ValueError, match="gpu"):
        Preset.model_validate({"about": "x", "gpu": 1, "gpus": 1, "memory": "1g", "context": 1, "weights": 1})


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "presets")[1]
    assert "Qwen/Qwen2-VL-7B-Instruct" in out
    assert json.loads(run(capsys, "presets", "--json")[1])["gpt2"]["memory"] == "4g"


@pytest.mark.parametrize("columns", ["80", "95", "120"])
def test_presets_are_listed_with_whole_names_and_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out = run(capsys, "presets")[1]
    assert "…" not in out
    for part in (*presets(), "GPUs", "32,768", "67.5 GB"):
        assert part in out


# --- what the Hub says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "facts"),
    [
        ({"n_positions": 1024}, ModelFacts(1024, "")),
        ({"max_position_embeddings": 4096, "quantization_config": {"quant_method": "AWQ"}}, ModelFacts(4096, "awq")),
        (
            {"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            ModelFacts(8192, ""),
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 32768},
            },
            ModelFacts(131072, ""),
        ),
        ({"max_position_embeddings": 8192, "rope_scaling": {"rope_type": "llama3", "factor": 8}}, ModelFacts(8192, "")),
        (
            {"text_config": {"max_position_embeddings": 32768}, "vision_config": {}, "max_position_embeddings": 1},
            ModelFacts(32768, "", True),
        ),
        ({"max_position_embeddings": "many", "quantization_config": []}, ModelFacts(0, "")),
        ({}, ModelFacts(0, "")),
    ],
)
def test_limits_are_read_from_a_models_config(config: dict[str, Any], facts: ModelFacts) -> None:
    assert facts_of(config) == facts


@contextmanager
def a_hub(answers: dict[str, tuple[int, str]], seen: list[str]) -> Iterator[str]:
    async def config(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        status, text = answers.get(request.match_info["model"], (404, ""))
        return web.Response(status=status, text=text)

    with served([web.get("/org/{model}/resolve/main/config.json", config)]) as base:
        yield base


def test_the_hub_is_asked_with_the_token_before_a_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    answers = {"m": (200, '{"max_position_embeddings": 77}'), "gated": (403, ""), "odd": (200, "[]"), "ill": (500, "")}
    with a_hub(answers, seen) as base:
        monkeypatch.setenv("HF_ENDPOINT", base)
        assert hub.look_up("org/m", TOKEN) == (ModelFacts(77, ""), "")
        assert seen == [f"Bearer {TOKEN}"]
        with pytest.raises(ModelAccessError, match="Repository not found or private: org/none") as missing:
            hub.look_up("org/none", "")
        assert "HF_TOKEN" in missing.value.hint
        with pytest.raises(ModelAccessError) as gated:
            hub.look_up("org/gated", TOKEN)
        assert "licence" in gated.value.hint
        for model in ("org/odd", "org/ill"):
            facts, note = hub.look_up(model, "")
            assert facts is None
            assert "only what docflow knows" in note


def test_a_hub_that_cannot_be_reached_is_noted(clean: Path) -> None:
    facts, note = hub.look_up(SMALL, "")
    assert facts is None
    assert "could not be asked" in note


# --- signatures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "content_type", "signature"),
    [
        (
            *("GET", "/session/abc", "application/json"),
            "f63b03d538a59a6fefc07dfa973dfa7dd1e1028e417d17ca2149e1b94708b6c3",
        ),
        (
            *("GET", "/stream/session/abc/tcpproxy?app=8000", "application/octet-stream"),
            "d999dd17f09bb1da47e99cefffc800f2be9f87c737565b28a948679f56c77a29",
        ),
        (
            *("DELETE", "/api/session/a%20b?forced=true", "application/json"),
            "c2012c0ce78e738cc87a0deedd40a0683843fc818054961cdeefceb4bafe940c",
        ),
    ],
)
def test_requests_are_signed_as_the_official_client_signs_them(
    method: str, target: str, content_type: str, signature: str
) -> None:
    """The signatures are what ``backend.ai-client`` 23.9.10 made for the same requests."""
    keys = Credentials(
        "https://bai.example:8081/api", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    )
    now = datetime(2026, 11, 21, 23, 59, 58, tzinfo=UTC)
    headers = signing.headers(keys, method, target, "bai.example:8081", now, content_type)
    assert headers["Authorization"] == (
        f"BackendAI signMethod=HMAC-SHA256, credential=AKIAIOSFODNN7EXAMPLE:{signature}"
    )
    assert headers["Date"] == "2026-11-21T23:59:58+00:00"


def test_keys_are_not_in_what_is_printed_of_them() -> None:
    assert "secret" not in repr(Credentials("http://x", "access", "secret"))
    made = plan(SMALL, Wishes(), preset=None, facts=None, token="the-token", api_key="the-key")
    assert "the-token" not in repr(made)
    assert "the-key" not in repr(made)
