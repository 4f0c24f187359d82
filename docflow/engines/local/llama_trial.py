"""A model is opened in a process of its own first: llama.cpp ends the process over some files that are damaged.

``python -m docflow.engines.local.llama_trial`` reads how to open it from standard input and says what came of it. It
takes no GPU and a small context; weights are mapped, so what it reads is in memory already for who loads it next.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace

from docflow.engines.local.llama_opened import Opened, Opening
from docflow.errors import BrokenModel, EngineError, EngineUnavailable, NotEnoughMemory

_CONTEXT = 64
_SECONDS = 600.0
_ERRORS: tuple[type[EngineError], ...] = (BrokenModel, NotEnoughMemory, EngineUnavailable)


def check(opening: Opening) -> None:
    """Open a model in a process of its own, and close it. Raises BrokenModel, NotEnoughMemory, EngineUnavailable."""
    small = replace(opening, context=min(opening.context, _CONTEXT), gpu_layers=0)
    # -P: no module from the folder where it is started
    command = [sys.executable, "-P", "-m", "docflow.engines.local.llama_trial"]
    try:
        done = subprocess.run(
            command, input=json.dumps(asdict(small)), capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BrokenModel(f"llama.cpp was not done opening {opening.model} after {_SECONDS:.0f} s") from error
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise BrokenModel(
            f"llama.cpp breaks down over {opening.model}" + (f" or {opening.projector}" if opening.projector else ""),
            hint="Get a new copy of the model, and of its projector.",
        ) from error
    for kind in _ERRORS:
        if said.get("error") == kind.__name__:
            raise kind(said["message"], hint=said["hint"], retryable=False)


def main() -> None:
    """Open what standard input says, and tell what came of it in one line."""
    said: dict[str, str] = {}
    try:
        Opened(Opening(**json.load(sys.stdin))).close()
    except _ERRORS as error:
        kind = next(kind for kind in _ERRORS if isinstance(error, kind))
        said = {"error": kind.__name__, "message": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
