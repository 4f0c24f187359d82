"""Bringing an engine up: environment, flags, process, and the wait until it has answered a page."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Literal

from docflow.deploy.local import process
from docflow.deploy.local.environments import environment, is_whole, place_of, recipe
from docflow.deploy.local.failing import reason_of
from docflow.deploy.local.flags import Device, Plan, Wishes, context_in, merged, plan
from docflow.deploy.local.model_facts import DEFAULT_MODEL, Model, ModelFacts, facts_from_hub, facts_here, model_named
from docflow.engines.environment import engine_environment
from docflow.engines.started import Kind, Register, Started, born_of, engines_folder
from docflow.errors import ConfigError, DocflowError, EngineUnavailable, UsageError
from docflow.machine import Machine
from docflow.models.configs import Configs
from docflow.settings import Settings

PORTS: dict[str, int] = {"sglang": 30_000, "vllm": 30_001}
"""The first port that is tried where none is given: not vLLM's own 8000, which docflow serve has."""
LOOK_SECONDS = 0.5
_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "PYTHONSTARTUP", "VIRTUAL_ENV", "CI")
_MODULES = {"sglang": "sglang.launch_server", "vllm": "vllm.entrypoints.openai.api_server"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")  # also that of its log
_NAMES = {"sglang": "SGLang", "vllm": "vLLM"}


class AlreadyRunning(UsageError):
    """An engine of this name runs already."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be brought up. ``python`` is that of an environment of one's own, in which the engine is installed.

    ``port`` is 0 for one that is free; ``further`` are flags that go to the engine as they are.
    """

    kind: Kind
    model: str = DEFAULT_MODEL
    name: str = ""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    port: int = 0
    python: str = ""
    further: tuple[str, ...] = ()
    rebuild: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that a start needs, before anything was started."""

    name: str
    kind: Kind
    model: Model
    device: Device
    port: int
    command: tuple[str, ...]
    own: dict[str, str]
    plan: Plan

    @property
    def shown(self) -> str:
        """The start as one could type it, without its key."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.own.items()]
        return " ".join((*variables, shlex.join(self.command)))


@dataclass(slots=True)
class Times:
    """How long the parts of a start took, in seconds."""

    parts: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.monotonic)

    def note(self, part: str) -> float:
        """Note that a part ended now; its seconds."""
        now = time.monotonic()
        self.parts[part], self._last = now - self._last, now
        return self.parts[part]


Tell = Callable[[str], None]


def prepare(wanted: Wanted, settings: Settings, tell: Tell, *, dry: bool = False) -> Prepared:
    """Everything up to the start; with ``dry`` no environment is made, and the Hub is asked only if one is there.

    Raises AlreadyRunning, UsageError, ModelNotFound, BrokenModel, NotEnoughMemory, and EngineUnavailable where the
    environment cannot be made or the port is taken.
    """
    if not sys.platform.startswith("linux"):
        raise EngineUnavailable(
            f"{_NAMES[wanted.kind]} runs on Linux only", hint="Name a server elsewhere: --engine vllm=http://HOST:PORT."
        )
    name = wanted.name or wanted.kind
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for an engine", hint="Take letters, digits, - and _, at most 40 of them."
        )
    alias = Configs(settings.models).aliases.get(wanted.model)
    model = model_named(alias.model_id if alias else wanted.model)
    _refuse_second(name, model, Register())
    machine = Machine.look()
    device = _device(wanted, machine)
    port = _port(wanted)
    root = engines_folder() / "environments"
    made = recipe(wanted.kind, device)
    python = wanted.python
    if python:
        _check_python(python)
    elif dry:
        python = str(place_of(root, f"{wanted.kind}-{device}", made.made_of) / "bin" / "python")
    else:
        if wanted.rebuild:
            _forget_environment(place_of(root, f"{wanted.kind}-{device}", made.made_of))
        python = str(environment(root, made, tell=tell))
    if model.folder:
        facts = facts_here(model.folder)
    elif dry and not Path(python).exists():
        tell("what the model needs is not known before the environment is there: the flags are the usual ones")
        facts = None
    else:
        facts = facts_from_hub(model, python, _outside())
    if facts is not None and not facts.sees:
        raise ConfigError(
            f"{model.served} takes no images ({facts.architecture or 'by its config.json'}): docflow shows it pages",
            hint=f"Take a model that sees, such as {DEFAULT_MODEL}.",
        )
    wishes = Wishes(
        share=settings.serve.gpu_memory_utilization,
        gpus=(alias and alias.tensor_parallel_size) or settings.serve.tensor_parallel_size,
        context=context_in(wanted.kind, wanted.further),
        **({"page_tokens": settings.extraction.page_tokens} if settings.extraction.page_tokens else {}),
    )
    chosen = plan(wanted.kind, device, machine, facts or ModelFacts(), wishes)
    where = "--model-path" if wanted.kind == "sglang" else "--model"
    flags = (where, model.target, "--served-model-name", model.served, "--host", "127.0.0.1", "--port", str(port))
    command = (python, "-m", _MODULES[wanted.kind], *merged((*flags, *chosen.flags), wanted.further))
    own = dict(chosen.environment)
    if model.folder:
        own["HF_HUB_OFFLINE"] = "1"  # nothing is to be fetched for a model that is here
    return Prepared(name, wanted.kind, model, device, port, command, own, chosen)


def _refuse_second(name: str, model: Model, register: Register) -> None:
    there = register.find(name)
    if there is not None and there.alive:
        raise _already(there, model)


def _already(there: Started, model: Model) -> AlreadyRunning:
    if there.served == model.served:
        state = "runs already" if there.ready else "is starting already"
        return AlreadyRunning(
            f"{there.name} {state}: {there.kind} at {there.url}, model {there.served}",
            hint=f"Use it with --engine auto, or end it with docflow engines down {there.name}.",
        )
    return AlreadyRunning(
        f"{there.name} runs already, with another model: {there.served} at {there.url}",
        hint=f"End it with docflow engines down {there.name}, or give the new one a --name of its own.",
    )


def _device(wanted: Wanted, machine: Machine) -> Device:
    if wanted.device == "cuda" and not machine.gpus:
        raise EngineUnavailable(
            "no NVIDIA GPU can be used here (nvidia-smi finds none)",
            hint="--device cpu tries things out without one; docflow's embedded engine needs none.",
        )
    if wanted.device == "auto":
        return "cuda" if machine.gpus else "cpu"
    return wanted.device


def _port(wanted: Wanted) -> int:
    if not wanted.port:
        return process.free_port(PORTS[wanted.kind])
    if process.is_free(wanted.port):
        return wanted.port
    holder = process.holder_of(wanted.port)
    raise EngineUnavailable(
        f"port {wanted.port} is in use" + (f" by {holder}" if holder else ""),
        hint="Name another with --port, or leave it out: a free one is taken then.",
        retryable=False,
    )


def _check_python(python: str) -> None:
    if not os.access(python, os.X_OK) or Path(python).is_dir():
        raise UsageError(
            f"{python} is no Python that can be run",
            hint="Name bin/python of the environment in which the engine is installed.",
        )


def _forget_environment(folder: Path) -> None:
    if is_whole(folder):
        folder.with_name(f"{folder.name}.ready").unlink(missing_ok=True)


def _outside() -> dict[str, str]:
    """The environment that is handed on: without docflow's variables, and what belongs to docflow's own Python."""
    kept = engine_environment(os.environ)
    return {
        name: value
        for name, value in kept.items()
        if name not in _NOT_PASSED_ON and not name.startswith(("DOCFLOW_", "PREFECT_", "GATEWAY_"))
    }


# --- the start ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Starting:
    """An engine that was started, in the register already, and what is left to wait for."""

    started: Started
    model: Model
    _process: Popen[bytes]

    def wait(self, until: float, told: Callable[[str], None]) -> None:
        """Wait until it lists its model; ``until`` counts as time.monotonic does, ``told`` gets its log's last lines.

        Raises the reason why it ended, or EngineUnavailable where it was not ready in time.
        """
        from docflow.engines import EngineSpec, create_one
        from docflow.settings import ServerSettings

        engine = create_one(EngineSpec.parse(self.started.spec), ServerSettings(connect_seconds=2))
        log = Path(self.started.log)
        try:
            while time.monotonic() < until:
                if (code := self._process.poll()) is not None:
                    raise reason_of(self.started.kind, self.model, log, code)
                if not process.is_free(self.started.port) and engine.health().ok:
                    return
                told(last_line(log).replace(self.started.key, "..."))  # SGLang logs all its settings
                time.sleep(LOOK_SECONDS)
        finally:
            engine.close()
        raise reason_of(self.started.kind, self.model, log, None)

    def prove(self, settings: Settings, until: float) -> str:
        """Let it read a page of the samples, by a real program; the row's status. Raises DocflowError where it fails.

        Marks the engine as ready.
        """
        from docflow.deploy.local.proving import read_a_page

        seconds = until - time.monotonic()
        if seconds <= 0:
            raise reason_of(self.started.kind, self.model, Path(self.started.log), None)
        try:
            status = read_a_page(self.started, settings, seconds)
        except DocflowError as error:
            code = self._process.poll()
            if code is not None:
                raise reason_of(self.started.kind, self.model, Path(self.started.log), code) from error
            raise
        shared = process.noted(process.shared_memory(self.started.pid))
        self.started = Register().mark_ready(self.started, shared)
        return status

    def abandon(self) -> None:
        """End it, and everything that it started, and forget it."""
        end(self.started)
        self._process.wait(timeout=30)


def begin(prepared: Prepared) -> Starting:
    """Start an engine, and put it into the register. Raises AlreadyRunning, StorageError, EngineUnavailable."""
    register = Register()
    before = register.find(prepared.name)
    if before is not None and not before.alive:
        end(before, 2)  # its first process is gone; others of it may be there yet
    key = secrets.token_hex(24)
    scratch = Path(tempfile.mkdtemp(prefix="docflow-engine-"))  # short: sockets in it have paths of 107 bytes at most
    log = engines_folder() / "logs" / f"{prepared.name}.log"
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        variables = _outside() | prepared.own | {"TMPDIR": str(scratch)}
        command = prepared.command
        if prepared.kind == "vllm":
            variables["VLLM_API_KEY"] = key
        else:  # not among its arguments, which everybody on the machine can read
            config = scratch / "key.yaml"
            config.touch(mode=0o600)
            config.write_text(f"api-key: {json.dumps(key)}\n", encoding="utf-8")
            command = (*command, "--config", str(config))
            # Else torch opens a store that listens on every interface, whatever --host says.
            variables["SGLANG_DISTRIBUTED_INIT_METHOD_OVERRIDE"] = f"file://{scratch}/torch-store"
        with register.changing() as engines:  # whoever starts the same at this moment waits here, and then sees this
            for there in engines:
                if there.name == prepared.name and there.alive:
                    raise _already(there, prepared.model)
            running = process.start(command, variables, log)
            started = Started(
                name=prepared.name,
                kind=prepared.kind,
                url=f"http://127.0.0.1:{prepared.port}",
                pid=running.pid,
                born=born_of(running.pid),
                model=prepared.model.given,
                served=prepared.model.served,
                device=prepared.device,
                command=prepared.command,
                log=str(log),
                scratch=str(scratch),
                at=time.time(),
                key=key,
            )
            engines[:] = [one for one in engines if one.name != prepared.name] + [started]
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        raise EngineUnavailable(
            f"{prepared.kind} cannot be started: {error.strerror or error} ({error.filename or prepared.command[0]})",
            retryable=False,
        ) from error
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return Starting(started, prepared.model, running)


def end(started: Started, seconds: float = 20.0) -> bool:
    """End an engine with all its processes, and forget it. Gives whether nothing of it runs any more.

    What has its number by chance, because it ended long ago, is left alone.
    """
    gone = True
    if started.alive or not born_of(started.pid):
        gone = process.end(started.pid, seconds)
    shutil.rmtree(started.scratch, ignore_errors=True)
    if gone:
        process.remove_noted(started.shared)  # of processes that were killed before
        Register().remove(started)
    return gone


def last_line(log: Path) -> str:
    """The last line of a log that says anything."""
    from docflow.deploy.local.failing import tail_of

    lines = [line.strip() for line in tail_of(log, 4_000).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def plain_options(given: Sequence[str]) -> tuple[str, ...]:
    """The flags that were given for the engine. Raises UsageError for those that docflow decides itself."""
    for one in given:
        name = one.partition("=")[0].replace("_", "-")
        if name in ("--host", "--port", "--api-key", "--config", "--served-model-name"):
            raise UsageError(
                f"{name} is docflow's to say",
                hint="--port stands before the --; engines listen on 127.0.0.1 with a key of their own.",
            )
    return tuple(given)
