"""Why an engine did not start, as its log says, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from docflow.deploy.local.model_facts import Model, from_hub_error
from docflow.errors import BrokenModel, ConfigError, DocflowError, EngineUnavailable, NotEnoughMemory

_TAIL = 200_000
"""Characters of a log that are looked at: reasons stand near its end."""
_LINES = 12
_HARMLESS = re.compile(r"\b(DEBUG|INFO|WARNING)\b|\w+Warning: ")
"""Lines that are no reason, though they may speak of memory or of what cannot be imported."""


@dataclass(frozen=True, slots=True)
class _Ending:
    kind: str
    model: Model
    log: Path


def _no_memory(ending: _Ending, _: str) -> DocflowError:
    return NotEnoughMemory(
        f"{ending.kind} ran out of memory while it loaded {ending.model.served}",
        hint=f"Take a smaller or a quantised model, or end what else uses the memory. The log is {ending.log}.",
    )


def _hub(name: str) -> Callable[[_Ending, str], DocflowError]:
    return lambda ending, _: from_hub_error(ending.model, name)


def _unsupported(ending: _Ending, said: str) -> DocflowError:
    return BrokenModel(
        f"{ending.kind} does not load models of this kind: {said}",
        hint="Take one that it supports, such as Qwen/Qwen2-VL-2B-Instruct.",
    )


def _damaged(ending: _Ending, said: str) -> DocflowError:
    return BrokenModel(
        f"the files of {ending.model.served} are damaged: {said}",
        hint=f"Download them again. The log is {ending.log}.",
    )


def _flag(ending: _Ending, said: str) -> DocflowError:
    return ConfigError(f"{ending.kind} refuses a flag: {said}", hint="Look at what stands after --.")


def _port(ending: _Ending, _: str) -> DocflowError:
    return EngineUnavailable(
        f"{ending.kind} found its port taken by another process", hint="Start it again, or with another --port."
    )


def _disk(ending: _Ending, _: str) -> DocflowError:
    return EngineUnavailable(
        f"the disk is full, so {ending.kind} could not load {ending.model.served}",
        hint="Make room; HF_HOME may name a folder on another disk for models.",
    )


def _broken(ending: _Ending, said: str) -> DocflowError:
    return EngineUnavailable(
        f"the environment of {ending.kind} is broken: {said}",
        hint=f"docflow engines up {ending.kind} --rebuild makes it anew. The log is {ending.log}.",
    )


_REASONS: tuple[tuple[re.Pattern[str], Callable[[_Ending, str], DocflowError]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), reason)
    for pattern, reason in (
        (r"GatedRepoError|gated repo|access to model .{1,100} is restricted", _hub("GatedRepoError")),
        (
            r"RepositoryNotFoundError|is not a valid model identifier|not a valid repository",
            _hub("RepositoryNotFoundError"),
        ),
        (
            (
                r"out of memory|OutOfMemoryError|No available memory for the cache|Free memory on device|"
                r"Not enough memory|larger than the available KV cache|cannot allocate memory|std::bad_alloc|"
                r"DefaultCPUAllocator: can't"
            ),
            _no_memory,
        ),
        (
            (
                r"LocalEntryNotFoundError|OfflineModeIsEnabled|couldn't connect to|name or service not known|"
                r"failure in name resolution|network is unreachable|Max retries exceeded|httpx?\w*\.ConnectError"
            ),
            _hub("LocalEntryNotFoundError"),
        ),
        (r"no space left on device", _disk),
        (r"address already in use|port \d+ is (already )?in use|not available at port", _port),
        (r"unrecognized arguments: .*|invalid choice: .*|error: argument .*", _flag),
        (
            (
                r"Model architectures .{1,200} not supported.*|Cannot find model module.*|model type `?\w+`? but "
                r"Transformers does not recognize.*|does not recognize this architecture.*"
            ),
            _unsupported,
        ),
        (
            (
                r"SafetensorError.*|HeaderTooLarge.*|MetadataIncompleteBuffer.*|InvalidHeader\w*.*|"
                r"incomplete metadata, file not fully covered.*|PytorchStreamReader failed.*"
            ),
            _damaged,
        ),
        (r"ModuleNotFoundError: .*|ImportError: .*|error while loading shared libraries: .*", _broken),
    )
)


def reason_of(kind: str, model: Model, log: Path, code: int | None) -> DocflowError:
    """The error for an engine that ended, with ``code``, before it was ready; None where it was not ready in time."""
    ending = _Ending(kind, model, log)
    said = tail_of(log)
    if code is not None:
        serious = "\n".join(line for line in said.splitlines() if not _HARMLESS.search(line))
        for pattern, reason in _REASONS:
            if found := pattern.search(serious):
                return reason(ending, found.group(0).strip()[:300])
    if code == -9:
        return _no_memory(ending, "")  # killed, and not by docflow: by the system, as a rule for its memory
    how = "was not ready in time" if code is None else f"ended with {code} before it was ready"
    last = "\n".join(line for line in said.splitlines() if line.strip()).splitlines()[-_LINES:]
    hint = f"The log is {log}."
    if code is None:
        hint = f"--timeout gives it longer; a first start downloads the model. {hint}"
    words = ". Its last words:" if last else ", and wrote nothing"
    return EngineUnavailable("\n".join((f"{kind} {how}{words}", *last)), hint=hint)


def tail_of(log: Path, characters: int = _TAIL) -> str:
    """The end of a log; "" where there is none."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - characters))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
