"""Flags by machine and model."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.deploy.local.flags import CPU_CONTEXT, GPU_BASE, Wishes, context_in, images_for, merged, plan
from docflow.deploy.local.model_facts import ModelFacts, facts_of
from docflow.errors import ConfigError, NotEnoughMemory, UsageError
from docflow.machine import Gpu, Machine
from docflow.sizes import GIB

# What the config.json of Qwen2-VL 2B and 7B say, where it counts here.
SMALL = facts_of(
    {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "hidden_size": 1536,
        "max_position_embeddings": 32768,
        "num_attention_heads": 12,
        "num_hidden_layers": 28,
        "num_key_value_heads": 2,
        "torch_dtype": "bfloat16",
        "vision_config": {},
    },
    weights=4_418_050_848,
)
LARGE = facts_of(
    {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "hidden_size": 3584,
        "max_position_embeddings": 32768,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "num_key_value_heads": 4,
        "torch_dtype": "bfloat16",
        "vision_config": {},
    },
    weights=16_582_831_200,
)


def machine(*gpus: float, used: float = 0.4, memory: float = 64, available: float | None = None) -> Machine:
    """A machine with GPUs of so many GiB, ``used`` of each taken, and so much memory."""
    cards = tuple(
        Gpu(number, f"GPU-{number}", "a GPU", int(size * GIB), int((size - used) * GIB))
        for number, size in enumerate(gpus)
    )
    return Machine(cards, int(memory * GIB), int((memory if available is None else available) * GIB), 8)


def value_of(flags: tuple[str, ...], name: str) -> str:
    return flags[flags.index(name) + 1]


def test_a_token_of_the_cache_costs_what_the_documentation_says() -> None:
    assert SMALL.token_bytes == 28 * 1024
    assert LARGE.token_bytes == 56 * 1024


@pytest.mark.parametrize(
    ("facts", "gpu", "context", "images"),
    [
        (SMALL, 80, 16_384, 8),
        (SMALL, 24, 16_384, 8),
        (SMALL, 12, 16_384, 8),
        (SMALL, 8, 8_192, 4),
        (SMALL, 7.3, 4_096, 2),
        (LARGE, 80, 16_384, 8),
        (LARGE, 24, 16_384, 8),
        (LARGE, 20, 4_096, 2),
    ],
)
def test_the_context_suits_the_memory(facts: ModelFacts, gpu: float, context: int, images: int) -> None:
    flags = plan("vllm", "cuda", machine(gpu), facts, Wishes()).flags
    assert int(value_of(flags, "--max-model-len")) == context
    assert json.loads(value_of(flags, "--limit-mm-per-prompt")) == {"image": images, "video": 0}
    flags = plan("sglang", "cuda", machine(gpu), facts, Wishes()).flags
    assert int(value_of(flags, "--context-length")) == context


@pytest.mark.parametrize(("facts", "gpu"), [(SMALL, 6), (LARGE, 16), (LARGE, 8)])
def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(facts: ModelFacts, gpu: float) -> None:
    with pytest.raises(NotEnoughMemory, match=r"needs about .* GiB of GPU memory, and .* GiB can be had of a GPU"):
        plan("vllm", "cuda", machine(gpu), facts, Wishes())


def test_two_gpus_hold_what_one_does_not() -> None:
    flags = plan("vllm", "cuda", machine(16, 16), LARGE, Wishes(gpus=2)).flags
    assert value_of(flags, "--tensor-parallel-size") == "2"
    flags = plan("sglang", "cuda", machine(16, 16), LARGE, Wishes(gpus=2)).flags
    assert value_of(flags, "--tp") == "2"
    with pytest.raises(ConfigError, match="2 GPUs are wanted"):
        plan("vllm", "cuda", machine(80), LARGE, Wishes(gpus=2))


def test_what_others_use_of_a_gpu_is_left_to_them() -> None:
    half_taken = plan("vllm", "cuda", machine(24, used=12), SMALL, Wishes())
    assert float(value_of(half_taken.flags, "--gpu-memory-utilization")) == pytest.approx(0.47, abs=0.011)
    free = plan("vllm", "cuda", machine(24, used=0), SMALL, Wishes())
    assert value_of(free.flags, "--gpu-memory-utilization") == "0.90"
    less = plan("vllm", "cuda", machine(24, used=0), SMALL, Wishes(share=0.5))
    assert value_of(less.flags, "--gpu-memory-utilization") == "0.50"


def test_sglang_leaves_memory_for_images_beside_weights_and_cache() -> None:
    flags = plan("sglang", "cuda", machine(80, used=0), SMALL, Wishes()).flags
    assert value_of(flags, "--mem-fraction-static") == "0.85"


def test_the_gpu_with_most_free_memory_is_taken() -> None:
    there = machine(24)
    fuller = Gpu(1, "GPU-b", "a GPU", 24 * GIB, 20 * GIB)
    chosen = plan("vllm", "cuda", Machine((there.gpus[0], fuller), GIB, GIB, 4), SMALL, Wishes())
    assert chosen.environment["CUDA_VISIBLE_DEVICES"] == "GPU-0"


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
def test_what_docflow_wants_of_servers_is_asked_for(kind: str) -> None:
    wanted = {
        "sglang": {
            "--schedule-policy": "lpm",
            "--enable-cache-report": None,
            "--enable-metrics": None,
            "--constrained-json-disable-any-whitespace": None,
        },
        "vllm": {
            "--enable-prompt-tokens-details": None,
            "--enable-prefix-caching": None,
            "--allowed-media-domains": "media.invalid",
        },
    }[kind]
    for device, there in (("cuda", machine(24)), ("cpu", machine())):
        flags = plan(kind, device, there, SMALL, Wishes()).flags  # type: ignore[arg-type]
        for name, value in wanted.items():
            assert name in flags
            assert value is None or value_of(flags, name) == value


def test_a_cpu_takes_a_short_context_and_says_what_it_is_for() -> None:
    chosen = plan("vllm", "cpu", machine(), SMALL, Wishes())
    assert int(value_of(chosen.flags, "--max-model-len")) == CPU_CONTEXT
    assert "trying things out" in chosen.reasons[0]
    with pytest.raises(NotEnoughMemory, match=r"GiB of memory, and 3\.0 GiB can be had"):
        plan("vllm", "cpu", machine(available=3), SMALL, Wishes())


facts = st.builds(
    ModelFacts,
    architecture=st.just("Some"),
    context=st.sampled_from([0, 512, 2048, 4096, 32_768, 131_072]),
    weights=st.integers(0, 200 * GIB),
    token_bytes=st.integers(0, 1 << 20),
)


@given(
    kind=st.sampled_from(["sglang", "vllm"]),
    size=st.floats(4, 192),
    used=st.floats(0, 4),
    model=facts,
    share=st.floats(0.1, 1),
    page=st.integers(16, 16_384),
)
def test_what_is_planned_for_a_gpu_fits_it(
    kind: str, size: float, used: float, model: ModelFacts, share: float, page: int
) -> None:
    there = machine(size, used=used)
    try:
        flags = plan(kind, "cuda", there, model, Wishes(share=share, page_tokens=page)).flags
    except NotEnoughMemory:
        assert model.weights
        return
    taken = float(value_of(flags, "--mem-fraction-static" if kind == "sglang" else "--gpu-memory-utilization"))
    assert taken <= share
    assert taken * there.gpus[0].total <= there.gpus[0].free
    context = int(value_of(flags, "--context-length" if kind == "sglang" else "--max-model-len"))
    assert 0 < context <= (model.context or 16_384)
    if model.weights and model.token_bytes:
        whole = there.gpus[0].total * min(share, 1)
        assert model.weights + GPU_BASE + context * model.token_bytes <= whole


@given(kind=st.sampled_from(["sglang", "vllm"]), memory=st.floats(1, 256), model=facts)
def test_what_is_planned_for_a_cpu_fits_it(kind: str, memory: float, model: ModelFacts) -> None:
    there = machine(memory=memory)
    try:
        chosen = plan(kind, "cpu", there, model, Wishes())
    except NotEnoughMemory:
        return
    context = int(value_of(chosen.flags, "--context-length" if kind == "sglang" else "--max-model-len"))
    assert model.weights + context * model.token_bytes <= there.available


@given(context=st.integers(1, 200_000), page=st.integers(1, 16_384))
def test_a_request_may_always_have_a_page_and_never_too_many(context: int, page: int) -> None:
    assert 1 <= images_for(context, page) <= 8


def test_flags_of_ones_own_take_the_place_of_docflows() -> None:
    flags = ("--a", "1", "--switch", "--b", "2")
    assert merged(flags, ("--b", "3", "--new")) == ("--a", "1", "--switch", "--b", "3", "--new")
    assert merged(flags, ("--a=9",)) == ("--switch", "--b", "2", "--a=9")
    assert merged(flags, ()) == flags


@pytest.mark.parametrize(
    ("kind", "further", "context"),
    [
        ("vllm", ("--max-model-len", "2048"), 2048),
        ("vllm", ("--max_model_len=2048", "--enforce-eager"), 2048),
        ("vllm", ("--max-model-len", "1024", "--max-model-len=2048"), 2048),
        ("sglang", ("--context-length", "2048"), 2048),
        ("sglang", ("--max-model-len", "2048"), 0),
        ("vllm", (), 0),
    ],
)
def test_a_context_of_ones_own_is_found_among_the_further_flags(
    kind: str, further: tuple[str, ...], context: int
) -> None:
    assert context_in(kind, further) == context


@pytest.mark.parametrize("value", ["8k", "-1", "0", "", "9" * 40, "²"])
def test_a_context_that_is_no_number_of_tokens_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="no number of tokens"):
        context_in("vllm", ("--max-model-len", value))


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize(("kind", "flag"), [("vllm", "--max-model-len"), ("sglang", "--context-length")])
def test_a_context_of_ones_own_counts_and_is_shown(kind: str, flag: str, device: Literal["cuda", "cpu"]) -> None:
    chosen = plan(kind, device, machine(24), SMALL, Wishes(context=3000))
    assert chosen.flags[chosen.flags.index(flag) + 1] == "3000"
    assert f"context 3,000 tokens (your {flag}), 2 pages a request" in chosen.reasons


@pytest.mark.parametrize(("kind", "flag"), [("vllm", "--max-model-len"), ("sglang", "--context-length")])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_context_of_ones_own_that_does_not_fit_is_refused(
    kind: str, flag: str, device: Literal["cuda", "cpu"]
) -> None:
    with pytest.raises(NotEnoughMemory) as refused:
        plan(kind, device, machine(24), SMALL, Wishes(context=10_000_000))
    assert refused.value.hint.startswith(f"10,000,000 tokens are your {flag}: name fewer")
