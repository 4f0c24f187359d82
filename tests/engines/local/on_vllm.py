"""vLLM in this process, in the environment that has it: prints one JSON object. Argument: the tiny model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from docflow.engines.local import vllm
from docflow.engines.local.model import ModelConfig
from docflow.engines.local.quantizations import GONE, METHODS
from docflow.engines.local.vllm import BACKEND
from tests.engines.local import asked


def main() -> None:
    folder = Path(sys.argv[1])
    config = ModelConfig(str(folder), context=4096, max_batch=4)
    found, engine, _ = asked.facts(BACKEND, config)
    engine.close()
    found["closed"] = asked.error_of(lambda: engine.answer(asked.request_of("x")))
    found["squeezellm"] = asked.error_of(lambda: BACKEND.load(ModelConfig(str(folder), quantization="squeezellm")))
    on_a_gpu = ModelConfig(str(folder), device="cuda")
    found["no gpu"] = asked.error_of(lambda: BACKEND.load(on_a_gpu))
    vllm.has_gpu = lambda: True  # a machine with a GPU, and this build for CPUs
    found["built for cpus"] = asked.error_of(lambda: BACKEND.load(on_a_gpu))
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS

    found["methods"] = sorted(set(METHODS) - set(QUANTIZATION_METHODS)), sorted(GONE & set(QUANTIZATION_METHODS))
    found["no folder"] = asked.error_of(lambda: BACKEND.load(ModelConfig("./nowhere")))
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
