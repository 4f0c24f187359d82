"""vLLM in this process, without a server: for batches of prompts, and for programs of one's own.

vLLM is no dependency of docflow: it is installed where this is used (``pip install vllm``), and imported when an engine
is made. Its server is the usual way (``vllm serve``, then ``--engine vllm=URL``): it batches what comes from several
processes, and outlives them.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from docflow.engines.environment import take_out_own
from docflow.errors import BadAnswer, EngineUnavailable


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """How vLLM is set up, the same for both kinds of engine.

    ``tensor_parallel_size`` is the number of GPUs, ``gpu_memory_utilization`` the share of their memory that is taken,
    ``max_model_len`` the tokens of a conversation with its answer. ``trust_remote_code`` would run code that comes with
    a model: Qwen2-VL needs none. ``more`` are further arguments of vLLM's, which count more than these.
    """

    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    max_model_len: int = 4096
    trust_remote_code: bool = False
    dtype: str = "bfloat16"
    enable_prefix_caching: bool = True
    max_num_batched_tokens: int = 32_768
    max_num_seqs: int = 256
    more: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, model_path: str) -> dict[str, Any]:
        """What vLLM is called with."""
        return {
            "model": model_path,
            "tensor_parallel_size": self.tensor_parallel_size,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "max_model_len": self.max_model_len,
            "trust_remote_code": self.trust_remote_code,
            "dtype": self.dtype,
            "enable_prefix_caching": self.enable_prefix_caching,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "max_num_seqs": self.max_num_seqs,
            **self.more,
        }


def setup_vllm_sync(model_path: str, options: VllmOptions | None = None) -> Any:
    """A ``vllm.LLM``, for batches. Not to be used from two threads at once: ``BatchProcessor`` sees to that.

    Raises EngineUnavailable where vLLM is not installed; what vLLM raises of the model it raises here too.
    """
    vllm = _vllm()
    return vllm.LLM(**(options or VllmOptions()).arguments(model_path))


def setup_vllm_async(model_path: str, options: VllmOptions | None = None) -> Any:
    """An ``AsyncLLMEngine``, which batches whatever is asked of it at the time. Made in the event loop it is used in.

    Raises EngineUnavailable where vLLM is not installed.
    """
    vllm = _vllm()
    arguments = vllm.AsyncEngineArgs(**(options or VllmOptions()).arguments(model_path))
    return vllm.AsyncLLMEngine.from_engine_args(arguments)


def generate_with_vllm(
    engine: Any, prompts: Sequence[str], max_tokens: int = 1024, *, temperature: float = 0.7, top_p: float = 0.9
) -> list[str]:
    """The text of each prompt's first completion, in their order, from a ``vllm.LLM``. Raises BadAnswer."""
    if not prompts:
        return []
    parameters = sampling(max_tokens, temperature=temperature, top_p=top_p)
    outputs = engine.generate(list(prompts), parameters, use_tqdm=False)
    return [_text(output) for output in outputs]


async def answer_with_vllm(engine: Any, prompt: str, parameters: Any) -> str:
    """The text of a prompt's first completion from an ``AsyncLLMEngine``; a caller that is cancelled ends it there.

    Raises BadAnswer.
    """
    request_id = uuid.uuid4().hex
    last = None
    try:
        async for output in engine.generate(prompt, parameters, request_id):
            last = output
    except BaseException:  # cancelled, most likely: vLLM would go on writing for nobody
        await engine.abort(request_id)
        raise
    if last is None:
        raise BadAnswer("vLLM gave nothing")
    return _text(last)


def sampling(max_tokens: int, *, temperature: float = 0.7, top_p: float = 0.9) -> Any:
    """vLLM's parameters for one request. Raises EngineUnavailable where vLLM is not installed."""
    return _vllm().SamplingParams(max_tokens=max_tokens, temperature=temperature, top_p=top_p)


def _text(output: Any) -> str:
    if not output.outputs:
        raise BadAnswer("vLLM gave no completion")
    return str(output.outputs[0].text)


def _vllm() -> Any:
    take_out_own(os.environ)
    try:
        import vllm
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            f"vLLM cannot be used in this process: there is no package {error.name}",
            hint="pip install vllm, in an environment of its own best; or start its server and name it: vllm=URL.",
            retryable=False,
        ) from error
    return vllm
