"""The environment of engines that docflow starts: without the variables that are docflow's own under vLLM's prefix."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

OWN = (
    "VLLM_MAX_MODEL_LEN",
    "VLLM_MAX_NUM_SEQS",
    "VLLM_BLOCK_SIZE",
    "VLLM_GPU_MEMORY_UTILIZATION",
    "VLLM_TENSOR_PARALLEL_SIZE",
)
"""Settings of docflow that are named as vLLM names its own variables. vLLM has none of these, and warns of them."""


def engine_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for an engine's process."""
    return {name: value for name, value in environment.items() if name not in OWN}


def take_out_own(environment: MutableMapping[str, str]) -> None:
    """Take docflow's variables out of the environment that an engine in this process is going to read."""
    for name in OWN:
        environment.pop(name, None)
