"""vLLM in this process, run with the interpreter of vLLM's own environment: prints one JSON object.

PYTHONPATH=. .../bin/python tests/engines/offline_vllm.py MODEL
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
from collections.abc import Sequence
from typing import Any

from docflow.engines.batching import BatchProcessor
from docflow.engines.vllm_offline import (
    VllmOptions,
    answer_with_vllm,
    generate_with_vllm,
    sampling,
    setup_vllm_async,
    setup_vllm_sync,
)

SMALL = {
    "block_size": 32,  # the smallest on CPU
    "enforce_eager": True,  # a compiler would take longer than all of this
    "num_gpu_blocks_override": 512,
    "limit_mm_per_prompt": {"image": 1, "video": 0},
    "mm_processor_cache_gb": 0.25,
}
PROMPTS = ("one", "two", "three")


def main() -> None:
    model = sys.argv[1]
    options = VllmOptions(max_model_len=1024, max_num_seqs=8, max_num_batched_tokens=2048, more=SMALL)
    engine = setup_vllm_sync(model, options)
    found: dict[str, Any] = {"sampled": generate_with_vllm(engine, PROMPTS, 16)}
    found["alone"] = [generate_with_vllm(engine, [prompt], 8, temperature=0)[0] for prompt in PROMPTS]
    found["together"] = generate_with_vllm(engine, PROMPTS, 8, temperature=0)
    found["batches"], found["batched"] = asyncio.run(batched(engine))
    del engine
    gc.collect()
    found["streamed"] = asyncio.run(streamed(model, options))
    print("\n" + json.dumps(found))


async def batched(engine: Any) -> tuple[list[int], list[str]]:
    """Five requests of different lengths, four a batch."""
    sizes: list[int] = []

    class Counted:
        def generate(self, prompts: Sequence[str], sampling_params: Sequence[Any]) -> Any:
            sizes.append(len(prompts))
            return engine.generate(list(prompts), list(sampling_params), use_tqdm=False)

    batcher: BatchProcessor[str, Any] = BatchProcessor(Counted(), 4, 0.1)
    asked = [("one", 8), ("two", 8), ("three", 8), ("one", 3), ("two", 8)]
    answers = await asyncio.gather(*(batcher.add_request(prompt, sampling(n, temperature=0)) for prompt, n in asked))
    await batcher.close()
    return sizes, answers


async def streamed(model: str, options: VllmOptions) -> list[str]:
    """Requests at once, one that is given up among them, and one after that."""
    engine = setup_vllm_async(model, options)
    leaving = asyncio.create_task(answer_with_vllm(engine, "one", sampling(900)))
    answers = await asyncio.gather(*(answer_with_vllm(engine, one, sampling(8, temperature=0)) for one in PROMPTS))
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    answers.append(await answer_with_vllm(engine, "one", sampling(8, temperature=0)))
    engine.shutdown()
    return answers


if __name__ == "__main__":
    main()
