"""vLLM in this process, in the environment that has it: prints one JSON object. Argument: the tiny model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from docflow.engines.local.model import ModelConfig
from docflow.engines.local.vllm import BACKEND
from tests.engines.local import asked


def main() -> None:
    folder = Path(sys.argv[1])
    config = ModelConfig(str(folder), context=4096, max_batch=4)
    found, engine, _ = asked.facts(BACKEND, config)
    engine.close()
    found["closed"] = asked.error_of(lambda: engine.answer(asked.request_of("x")))
    found["squeezellm"] = asked.error_of(lambda: BACKEND.load(ModelConfig(str(folder), quantization="squeezellm")))
    found["no folder"] = asked.error_of(lambda: BACKEND.load(ModelConfig("./nowhere")))
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
