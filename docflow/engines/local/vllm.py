"""vLLM in this process: its asynchronous engine in a thread of its own, which batches what is asked at the same time.

vLLM computes in a process that it starts itself; here are its event loop and the making of prompts. That process is
started afresh (``spawn``), never forked from one with threads: so a program of one's own that loads a model needs the
usual ``if __name__ == "__main__":``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import math
import os
import queue
import threading
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from docflow.engines.base import StopReason, Usage
from docflow.engines.chat import Reply, Step
from docflow.engines.environment import take_out_own
from docflow.engines.local import checkpoints, vllm_logs
from docflow.engines.local.backends import has_gpu
from docflow.engines.local.conversations import ByTemplate, Prompt, Template
from docflow.engines.local.grammars import Grammars
from docflow.engines.local.model import Embedded, Form, JsonForm, ModelConfig, Sampling
from docflow.engines.local.names import shown_name
from docflow.engines.local.quantizations import INSTEAD, is_gone
from docflow.engines.vllm_offline import VllmOptions, setup_vllm_async
from docflow.errors import (
    BadAnswer,
    BrokenModel,
    CannotEmbed,
    EngineError,
    EngineRefused,
    EngineUnavailable,
    NotEnoughMemory,
    first_line,
)
from docflow.machine import gpus
from docflow.sizes import shown_size

MOST_CONTEXT = 16_384
"""Tokens of a conversation where the configuration names none and the model has more: vLLM wants room for one."""
MOST_IMAGES = 16
_MOST_BATCH_TOKENS = 8192
_LOOK_SECONDS = 1.0
_ENVIRONMENT = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_NO_USAGE_STATS": "1",
}
_LOGGED = "What vLLM logged says why: {}; DOCFLOW_DEBUG=1 shows it."
_STOPS: Mapping[str, StopReason] = {"stop": "stop", "length": "length"}


class VllmBackend:
    """Loads models in the form of the Hub."""

    name = "vllm"

    def missing(self) -> str:
        """The package that is not installed, or ""."""
        return "" if importlib.util.find_spec("vllm") else "vllm"

    def memory_needed(self, config: ModelConfig) -> int:
        """Bytes of the weights; vLLM takes its whole share of a GPU's memory. Raises ModelNotFound, BrokenModel."""
        return checkpoints.memory_needed(config)

    def load(self, config: ModelConfig) -> VllmModel:
        """Load a model. Raises ModelNotFound, BrokenModel, NotEnoughMemory, EngineUnavailable."""
        if self.missing():
            raise EngineUnavailable(
                "vLLM cannot be used in this process: the package vllm is not installed",
                hint='pip install "docflow[vllm]", in an environment of its own best; or start its server: vllm=URL.',
                retryable=False,
            )
        if is_gone(config.quantization):
            raise BrokenModel(f"vLLM has quantization {config.quantization.lower()} no more", hint=INSTEAD)
        _check_device(config.device)
        folder = checkpoints.folder_of(config.model_id)
        described = checkpoints.check(folder)
        checkpoints.check_files(folder)
        name = shown_name(config.model_id)
        if not _on_cpu():
            _check_memory(config, name)
        return VllmModel(name, folder, described, config)


BACKEND = VllmBackend()


class VllmModel(ByTemplate):
    """A model that is loaded. Threads ask at once, and vLLM batches what they ask."""

    backend = "vllm"

    def __init__(self, name: str, folder: Path, described: Mapping[str, Any], config: ModelConfig) -> None:
        """Start vLLM; returns when it can be asked. Raises BrokenModel, NotEnoughMemory, EngineUnavailable."""
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._engine: Any = None
        try:
            self._engine = self._call(_started(name, folder, described, config)).result()
            made = self._engine.model_config
            self._embeds = made.runner_type == "pooling"
            self._context = int(made.max_model_len)
            self._sees = bool(made.is_multimodal_model)
            self._read(folder, config)
        except BaseException:
            self.close()
            raise

    def _read(self, folder: Path, config: ModelConfig) -> None:
        import transformers

        common = {"trust_remote_code": config.trust_remote_code, "local_files_only": True}
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **common)
            reader = transformers.AutoProcessor.from_pretrained(folder, **common) if self._sees else self._tokenizer
        except (OSError, ValueError, LookupError) as error:
            raise BrokenModel(f"{self._name} cannot be read: {first_line(error)}") from error
        self._template = Template(reader, self._tokenizer, sees=self._sees)
        self._reading = threading.Lock()  # a tokenizer is for one thread at a time
        made = self._engine.model_config
        ends = (made.try_get_generation_config() or {}).get("eos_token_id")
        found = {ends} if isinstance(ends, int) else set(ends or ())
        if self._tokenizer.eos_token_id is not None:
            found.add(self._tokenizer.eos_token_id)
        self._tokens = Grammars(self._tokenizer, made.get_vocab_size(), found)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """A vector of length 1 for each text. Raises CannotEmbed, EngineRefused."""
        if not self._embeds:
            raise CannotEmbed(
                f"{self._name} gives no embeddings",
                hint="Load a model that was made for them (bge, e5, Qwen3-Embedding ...).",
            )
        with self._reading:
            read = self._tokenizer(list(texts))["input_ids"] if texts else []
        waiting = [self._call(self._embedded(ids)) for ids in read]
        return Embedded(tuple(self._result(one) for one in waiting), sum(map(len, read)))

    def close(self) -> None:
        """End what is under way, and vLLM's process."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(EngineError):
            self._call(self._ended()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- in whatever thread asks --------------------------------------------------------------------------------

    def _answer(
        self,
        prompt: Prompt,
        sampling: Sampling,
        form: Form | None,
        on_text: Callable[[str], bool] | None,
        *,
        bare: bool,
    ) -> Reply:
        if self._embeds:
            raise EngineRefused(f"{self._name} embeds texts and writes none", hint="Load a model that writes.")
        with self._reading:
            asked: dict[str, Any] = {
                "prompt_token_ids": self._tokenizer(prompt.text, add_special_tokens=bare)["input_ids"]
            }
        if prompt.images:
            from PIL import Image

            images = [Image.open(io.BytesIO(image)).convert("RGB") for image in prompt.images]
            asked["multi_modal_data"] = {"image": images}
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        written = _Written(self._tokens)
        writing = self._call(self._write(asked, sampling, form, written, pieces))
        writing.add_done_callback(lambda _: pieces.put(None))
        while (piece := self._next(pieces)) is not None:
            if on_text is not None and not on_text(piece):
                writing.cancel()
                return written.reply("abort")
        self._result(writing)
        return written.reply()

    def _next(self, pieces: queue.SimpleQueue[str | None]) -> str | None:
        """The next piece of text; None when there is no more. Raises EngineUnavailable where the loop has ended."""
        while True:
            try:
                return pieces.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                if not self._thread.is_alive() and pieces.empty():
                    raise EngineUnavailable(f"{self._name} was unloaded", retryable=False) from None

    def _call(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Let the loop do it."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError as error:  # the loop was closed
            work.close()
            raise EngineUnavailable(f"{self._name} was unloaded", retryable=False) from error

    def _result(self, work: Future[Any]) -> Any:
        """What came of it, errors as docflow's."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            return work.result()
        except CancelledError as error:
            raise EngineUnavailable(f"{self._name} was unloaded", retryable=False) from error
        except EngineError:
            raise
        except EngineDeadError as error:
            raise EngineUnavailable(f"{self._name} has died: vLLM's process is gone", retryable=False) from error
        except (VLLMClientError, ValueError) as error:
            refused = EngineRefused(
                f"vLLM refuses the request: {first_line(error)}",
                hint="Where it is too long: a longer context, or fewer or smaller pages (extraction.page_tokens).",
            )
            refused.elsewhere = True
            raise refused from error
        except Exception as error:  # whatever else vLLM raises is its own trouble
            raise EngineError(f"{self._name} failed: {type(error).__name__}") from error

    # --- in the loop --------------------------------------------------------------------------------------------

    async def _write(
        self,
        asked: Mapping[str, Any],
        sampling: Sampling,
        form: Form | None,
        written: _Written,
        pieces: queue.SimpleQueue[str | None],
    ) -> None:
        with self._listed():
            outputs = self._engine.generate(asked, _parameters(sampling, form), uuid.uuid4().hex)
            try:
                async for output in outputs:
                    if piece := written.take(output):
                        pieces.put(piece)
            finally:
                await outputs.aclose()

    async def _embedded(self, ids: Sequence[int]) -> tuple[float, ...]:
        from vllm import PoolingParams

        with self._listed():
            parameters = PoolingParams(task="embed")
            asked = {"prompt_token_ids": list(ids)}
            outputs = [one async for one in self._engine.encode(asked, parameters, uuid.uuid4().hex)]
        if not outputs:
            raise BadAnswer("vLLM gave nothing")
        vector = [float(one) for one in outputs[-1].outputs.data.tolist()]
        length = math.sqrt(sum(one * one for one in vector)) or 1.0
        return tuple(one / length for one in vector)

    @contextlib.contextmanager
    def _listed(self) -> Any:
        """While it is under way, ``close`` can end it."""
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            yield
        finally:
            self._under_way.discard(task)

    async def _ended(self) -> None:
        for task in list(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._engine is not None:
            self._engine.shutdown()


class _Written:
    """What vLLM wrote so far of one answer."""

    def __init__(self, tokens: Grammars) -> None:
        self._tokens = tokens
        self._text: list[str] = []
        self._steps: list[Step] = []
        self._stop: StopReason = "abort"
        self._prompt = self._cached = 0

    def take(self, output: Any) -> str:
        """Add what is new; the text of it. Raises BadAnswer."""
        if output.prompt_token_ids is not None:
            self._prompt = len(output.prompt_token_ids)
        self._cached = output.num_cached_tokens or self._cached
        if not output.outputs:
            raise BadAnswer("vLLM gave no completion")
        new = output.outputs[0]
        for token, choices in zip(new.token_ids, new.logprobs or (), strict=False):
            self._steps.append(self._step(token, choices))
        self._text.append(new.text)
        if new.finish_reason is not None:
            self._stop = _STOPS.get(new.finish_reason, "abort")
        return str(new.text)

    def reply(self, stop: StopReason | None = None) -> Reply:
        usage = Usage(prompt=self._prompt, cached=self._cached, output=len(self._steps), calls=1)
        return Reply("".join(self._text), stop or self._stop, tuple(self._steps), usage)

    def _step(self, token: int, choices: Mapping[int, Any]) -> Step:
        top: dict[bytes, float] = {}
        for other, choice in sorted(choices.items(), key=lambda item: float(item[1].logprob)):
            if other != token:
                said = self._tokens.token_bytes(other)
                top[said] = top.get(said, 0.0) + math.exp(min(0.0, float(choice.logprob)))
        said = self._tokens.token_bytes(token)
        own = math.exp(min(0.0, float(choices[token].logprob)))
        ends = top.pop(said, 0.0) if token in self._tokens.ends else 0.0
        top.pop(said, None)
        top[said] = own + ends
        return Step(said, top)


async def _started(name: str, folder: Path, described: Mapping[str, Any], config: ModelConfig) -> Any:
    """vLLM's engine, once it can be asked. Raises BrokenModel, EngineUnavailable."""
    import vllm
    from vllm.config import StructuredOutputsConfig

    more: dict[str, Any] = {
        "enforce_eager": config.enforce_eager or _on_cpu(),  # a CPU has no graphs, and a compiler it may lack
        "structured_outputs_config": StructuredOutputsConfig(backend="xgrammar", disable_any_whitespace=True),
        "disable_log_stats": True,
    }
    if config.quantization:
        more["quantization"] = config.quantization
    if "vision_config" in described:
        more["limit_mm_per_prompt"] = {"image": MOST_IMAGES, "video": 0}
    known = vllm.AsyncEngineArgs.__dataclass_fields__
    if config.swap_space is not None and "swap_space" in known:
        more["swap_space"] = config.swap_space
    if "use_tqdm_on_load" in known:
        more["use_tqdm_on_load"] = False  # the terminal is docflow's
    context = config.context or min(_longest(described), MOST_CONTEXT)
    options = VllmOptions(
        tensor_parallel_size=config.tensor_parallel_size,
        gpu_memory_utilization=config.gpu_memory_utilization,
        max_model_len=context,
        trust_remote_code=config.trust_remote_code,
        dtype=config.dtype,
        max_num_batched_tokens=max(2048, min(context, _MOST_BATCH_TOKENS)),
        max_num_seqs=config.max_batch,
        more=more,
    )
    try:
        return setup_vllm_async(str(folder), options)
    except MemoryError as error:
        raise NotEnoughMemory(f"{name} does not fit the memory of this machine") from error
    except (RuntimeError, ValueError, OSError, LookupError, TypeError, NotImplementedError) as error:
        raise BrokenModel(
            f"vLLM cannot load {name}: {first_line(error)}", hint=_LOGGED.format(vllm_logs.log_file())
        ) from error


def _longest(described: Mapping[str, Any]) -> int:
    text = described.get("text_config")
    said = (text if isinstance(text, Mapping) else described).get("max_position_embeddings")
    return said if isinstance(said, int) and said > 0 else MOST_CONTEXT


def _parameters(sampling: Sampling, form: Form | None) -> Any:
    """How to write, in vLLM's words."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    held = None
    if form is not None:
        held = (
            StructuredOutputsParams(json=dict(form.schema))
            if isinstance(form, JsonForm)
            else StructuredOutputsParams(regex=form.pattern)
        )
    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k or -1,
        stop=list(sampling.stop),
        seed=sampling.seed,
        logprobs=sampling.top,
        structured_outputs=held,
        output_kind=RequestOutputKind.DELTA,
    )


def _set_up() -> None:
    """The environment that vLLM reads when it is imported: quiet, by itself, its process started afresh."""
    take_out_own(os.environ)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not any(name.startswith(("VLLM_LOGGING_", "VLLM_CONFIGURE_LOGGING")) for name in os.environ):
        os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(vllm_logs.CONFIG)  # else as the user has set it up
        vllm_logs.set_up()  # vLLM reads it after it has logged its first lines


def _check_device(device: str) -> None:
    """Raises EngineUnavailable where a GPU was asked for, and this vLLM computes on none. Sets vLLM up."""
    if device == "cuda" and not has_gpu():
        raise EngineUnavailable(
            "vLLM is to run on a GPU (device=cuda), and there is none that this process may use",
            hint="Without device=cuda a vLLM that was built for CPUs runs here; transformers=... and llama_cpp=... do "
            "too. Or name a server that has a GPU: vllm=http://HOST:PORT.",
            retryable=False,
        )
    _set_up()
    if device == "cuda" and _on_cpu():
        raise EngineUnavailable(
            "vLLM is to run on a GPU (device=cuda), and the one that is installed was built for CPUs",
            hint='pip install "docflow[vllm]" in an environment of its own brings the build for GPUs; without '
            "device=cuda this one runs on the CPU.",
            retryable=False,
        )


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _check_memory(config: ModelConfig, name: str) -> None:
    """Raises NotEnoughMemory where a GPU has not free what vLLM would take: it would say so in its log only."""
    needed = checkpoints.memory_needed(config) / config.tensor_parallel_size
    for gpu in sorted(gpus(), key=lambda gpu: gpu.number)[: config.tensor_parallel_size]:
        share = gpu.total * config.gpu_memory_utilization
        if needed > share:
            raise NotEnoughMemory(
                f"{name} needs {shown_size(round(needed))} a GPU for its weights, and its share is "
                f"{shown_size(int(share))}",
                hint="Take more GPUs (tensor_parallel_size), a quantised model, or a larger share.",
                retryable=False,
            )
        if gpu.free < share:
            raise NotEnoughMemory(
                f"GPU {gpu.number} has {shown_size(gpu.free)} free, and {shown_size(int(share))} are wanted for {name}",
                hint="Unload what else is on it, or take less: gpu_memory_utilization.",
            )
