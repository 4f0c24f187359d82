"""The flags of an engine, by its kind, the machine and the model: what docflow wants of a server (docs/servers.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from docflow.deploy.local.model_facts import ModelFacts
from docflow.engines.check_flags import CONTEXT_ROOM
from docflow.errors import ConfigError, NotEnoughMemory, UsageError
from docflow.machine import Gpu, Machine
from docflow.sizes import GIB, shown_size

Device = Literal["cuda", "cpu"]

CONTEXTS = (16_384, 8_192, 4_096)
"""Contexts to choose from, in tokens, the longest that fits."""
CONTEXT_FLAGS = {"sglang": "--context-length", "vllm": "--max-model-len"}
MOST_CONTEXT = 100_000_000
CPU_CONTEXT = 8_192
"""The longest that is chosen on a CPU, which reads a thousand tokens in seconds."""
LEAST_IMAGES = 2
"""Most pages are smaller than the largest: two of them have room beside an answer where two of the largest have not."""
MOST_IMAGES = 8
REQUESTS_THAT_FIT = 4
"""So many requests of a whole context must fit into the cache beside each other, or a shorter one is taken."""
GPU_BASE = 2 * GIB
"""What an engine takes on a GPU beside weights and cache: CUDA itself, and the images in work."""
GPU_MARGIN = GIB // 2
CPU_BASE = 5 * GIB // 2
"""What an engine takes in main memory beside weights and cache: Python, torch, and the images in work (measured)."""
CPU_CACHE_TOKENS = 65_536
_VLLM_CPU_BLOCK = 32


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the settings say: the most of a GPU's memory (0 to 1), GPUs a model, the tokens of a page.

    ``context`` is the one that the user names among the engine's own flags, in tokens; 0 for the one that suits.
    """

    share: float = 0.9
    gpus: int = 1
    page_tokens: int = 1280
    context: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How an engine is started: flags, further variables, and why so, in a few words each."""

    flags: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


def plan(kind: str, device: Device, machine: Machine, facts: ModelFacts, wishes: Wishes) -> Plan:
    """How an engine is started for a model on a machine.

    Raises NotEnoughMemory where the model does not fit, ConfigError for more GPUs than there are.
    """
    return _on_gpu(kind, machine, facts, wishes) if device == "cuda" else _on_cpu(kind, machine, facts, wishes)


# --- on GPUs ------------------------------------------------------------------------------------------------------


def _on_gpu(kind: str, machine: Machine, facts: ModelFacts, wishes: Wishes) -> Plan:
    if len(machine.gpus) < wishes.gpus:
        raise ConfigError(
            f"{wishes.gpus} GPUs are wanted (serve.tensor_parallel_size), and {len(machine.gpus)} can be used here",
            hint="nvidia-smi lists them; CUDA_VISIBLE_DEVICES may hide some.",
        )
    chosen = machine.gpus[: wishes.gpus]
    share = share_of(chosen, wishes.share)
    budget = sum(int(gpu.total * share) for gpu in chosen)
    cache = budget - facts.weights - GPU_BASE * len(chosen)
    context = wishes.context or context_for(cache, facts, CONTEXTS)
    if context is None or (facts.weights and context * facts.token_bytes > cache):
        need = facts.weights + GPU_BASE * len(chosen) + (context or CONTEXTS[-1]) * facts.token_bytes
        names = " and ".join(dict.fromkeys(gpu.name for gpu in chosen))
        raise NotEnoughMemory(
            f"the model needs about {shown_size(need)} of GPU memory, and {shown_size(budget)} can be had of {names}",
            hint=_shorter(kind, wishes) + "Take a smaller or a quantised model, more GPUs "
            "(DOCFLOW_SERVE__TENSOR_PARALLEL_SIZE=2), or end what else uses the GPU (nvidia-smi shows it).",
        )
    images = images_for(context, wishes.page_tokens)
    reasons = [
        f"GPU {', '.join(str(gpu.number) for gpu in chosen)} ({chosen[0].name}), {share:.0%} of its memory",
        _context_said(kind, context, images, wishes),
    ]
    if facts.weights and facts.token_bytes:
        reasons.append(
            f"weights {shown_size(facts.weights)}, room for {cache // facts.token_bytes:,} tokens in the cache"
        )
    if kind == "sglang":
        # What SGLang calls static are weights and cache: images in work come on top.
        static = round(share - (0.05 if chosen[0].total >= 16 * GIB else 0.1), 2)
        flags = [*_sglang(context, images), "--mem-fraction-static", f"{static:.2f}"]
        if wishes.gpus > 1:
            flags += ["--tp", str(wishes.gpus), "--mm-enable-dp-encoder"]
    else:
        flags = [*_vllm(context, images), "--gpu-memory-utilization", f"{share:.2f}", "--mm-processor-cache-gb", "4"]
        if wishes.gpus > 1:
            flags += ["--tensor-parallel-size", str(wishes.gpus)]
    visible = ",".join(gpu.uuid for gpu in chosen)
    return Plan(tuple(flags), _VARIABLES[kind] | {"CUDA_VISIBLE_DEVICES": visible}, tuple(reasons))


def share_of(gpus: Sequence[Gpu], most: float) -> float:
    """The share of each GPU's memory that an engine may take: what is free of it, less a margin, and at most ``most``.

    In whole hundredths, rounded down.
    """
    free = min((gpu.free - GPU_MARGIN) / gpu.total for gpu in gpus)
    return max(0.0, math.floor(min(most, free) * 100 + 1e-9) / 100)


def context_for(cache: int, facts: ModelFacts, candidates: Sequence[int]) -> int | None:
    """The context that suits what is left for the cache, in bytes; None where not even one short request fits.

    Where the model's files do not say what a token takes, the longest.
    """
    limit = facts.context or candidates[0]
    contexts = [min(one, limit) for one in candidates]
    if not facts.weights or not facts.token_bytes:
        return contexts[0]
    for context in contexts:
        if context * facts.token_bytes * REQUESTS_THAT_FIT <= cache:
            return context
    return contexts[-1] if contexts[-1] * facts.token_bytes <= cache else None


def context_in(kind: str, further: Sequence[str]) -> int:
    """The context that the user's own flags for an engine name, in tokens; 0 for none.

    Raises UsageError for one that is no plain number: docflow could not say what fits into it.
    """
    name = CONTEXT_FLAGS[kind]
    found = 0
    for place, one in enumerate(further):
        flag, equals, value = one.partition("=")
        if flag.replace("_", "-") == name:
            value = value if equals else "".join(further[place + 1 : place + 2])
            if not value.isdecimal() or not value.isascii() or not 0 < int(value) <= MOST_CONTEXT:
                raise UsageError(f"{name} {value[:40]} is no number of tokens", hint=f"Write it out: {name} 8192.")
            found = int(value)  # the last one counts, as it does for the engines
    return found


def _context_said(kind: str, context: int, images: int, wishes: Wishes) -> str:
    whose = f" (your {CONTEXT_FLAGS[kind]})" if wishes.context else ""
    return f"context {context:,} tokens{whose}, {images} page{'s' if images > 1 else ''} a request"


def _shorter(kind: str, wishes: Wishes) -> str:
    """What helps first where the user's own context does not fit."""
    if not wishes.context:
        return ""
    return f"{wishes.context:,} tokens are your {CONTEXT_FLAGS[kind]}: name fewer, or leave it out. "


def images_for(context: int, page_tokens: int) -> int:
    """How many pages a request may have: what fits beside the instructions and an answer."""
    least = max(1, min(LEAST_IMAGES, context // page_tokens))
    return max(least, min(MOST_IMAGES, (context - CONTEXT_ROOM) // page_tokens))


# --- on a CPU -----------------------------------------------------------------------------------------------------


def _on_cpu(kind: str, machine: Machine, facts: ModelFacts, wishes: Wishes) -> Plan:
    limit = wishes.context or min(facts.context or CPU_CONTEXT, CPU_CONTEXT)
    left = machine.available - facts.weights - CPU_BASE
    if left < limit * facts.token_bytes:
        need = facts.weights + CPU_BASE + limit * facts.token_bytes
        raise NotEnoughMemory(
            f"the model needs about {shown_size(need)} of memory, and {shown_size(machine.available)} can be had",
            hint=_shorter(kind, wishes) + "Take a smaller model, or end what else uses the memory.",
        )
    tokens = max(limit, min(CPU_CACHE_TOKENS, left // 2 // facts.token_bytes if facts.token_bytes else limit * 2))
    images = images_for(limit, wishes.page_tokens)
    threads = str(max(1, machine.cores - 1))
    reasons = (
        f"CPU, {threads} thread{'s' if threads != '1' else ''}: for trying things out, not for work",
        _context_said(kind, limit, images, wishes),
    )
    environment = _VARIABLES[kind] | {
        "OMP_NUM_THREADS": threads,
        "TORCHDYNAMO_DISABLE": "1",  # the first request would wait 20 s for a C++ compiler
        "GLOO_SOCKET_IFNAME": "lo",
    }
    if kind == "sglang":
        static = (facts.weights + tokens * facts.token_bytes + GIB) / machine.memory
        flags = [
            *_sglang(limit, images),
            *("--device", "cpu", "--attention-backend", "torch_native", "--sampling-backend", "pytorch"),
            "--disable-overlap-schedule",
            *("--mem-fraction-static", f"{min(0.9, max(0.2, static)):.2f}", "--max-total-tokens", str(tokens)),
            "--sleep-on-idle",  # else it keeps a core busy while nobody asks
        ]
        return Plan(tuple(flags), environment | {"SGLANG_USE_CPU_ENGINE": "1"}, reasons)
    space = max(1, math.ceil(tokens * facts.token_bytes / GIB))
    flags = [
        *_vllm(limit, images),
        *("--dtype", "bfloat16", "--enforce-eager", "--mm-processor-cache-gb", "0.25"),
        *("--block-size", str(_VLLM_CPU_BLOCK)),  # the smallest on CPU: prefixes are reused in whole blocks
        *("--num-gpu-blocks-override", str(max(64, tokens // _VLLM_CPU_BLOCK))),
    ]
    own = {
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_CPU_KVCACHE_SPACE": str(space),  # GiB
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    return Plan(tuple(flags), environment | own, reasons)


# --- what each kind is told everywhere ----------------------------------------------------------------------------

_VARIABLES = {
    "sglang": {"DO_NOT_TRACK": "1"},
    "vllm": {"DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"},
}
"""Nothing is reported to anybody."""


def _sglang(context: int, images: int) -> list[str]:
    return [
        *("--schedule-policy", "lpm", "--enable-cache-report", "--enable-metrics"),
        *("--grammar-backend", "xgrammar", "--constrained-json-disable-any-whitespace"),
        *(CONTEXT_FLAGS["sglang"], str(context), "--limit-mm-data-per-request", json.dumps({"image": images})),
        *("--log-level", "info", "--log-level-http", "warning"),
    ]


def _vllm(context: int, images: int) -> list[str]:
    grammar = {"backend": "xgrammar", "disable_any_whitespace": True}
    return [
        *("--enable-prefix-caching", "--enable-prompt-tokens-details"),
        *("--structured-outputs-config", json.dumps(grammar)),
        *(CONTEXT_FLAGS["vllm"], str(context), "--limit-mm-per-prompt", json.dumps({"image": images, "video": 0})),
        *("--allowed-media-domains", "media.invalid"),  # docflow sends images, never where they are
        *("--uvicorn-log-level", "warning"),
    ]


def merged(flags: Sequence[str], further: Sequence[str]) -> tuple[str, ...]:
    """Flags with the user's further ones at their end, without those that the user gives in their own way."""
    named = {one.partition("=")[0].replace("_", "-") for one in further if one.startswith("--")}
    kept: list[str] = []
    skipping = False
    for one in flags:
        if one.startswith("--"):
            skipping = one in named
        if not skipping:
            kept.append(one)
    return (*kept, *further)
