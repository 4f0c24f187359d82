"""What is going to be deployed: wishes checked against what is known of the model, before anything is sent."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from docflow.deploy.backendai.hub import ModelFacts
from docflow.deploy.backendai.presets import Preset
from docflow.engines.local.quantizations import INSTEAD, METHODS, QUANTISING, TRIED, is_gone
from docflow.errors import UsageError

DEFAULT_GPUS = 1
DEFAULT_MEMORY = "16g"
DEFAULT_CPUS = 4
DEFAULT_LENGTH = 4096
DEFAULT_PORT = 8000
DEFAULT_GPU_SLOT = "cuda.device"
"""Whole GPUs, as clusters call them; those that share GPUs out in parts have ``cuda.shares``."""
DEFAULT_IMAGE = "cr.backend.ai/stable/vllm:latest"
MOST_REPLICAS = 32
SHARED_MEMORY = "1g"
"""Processes of one server that share a model pass tensors through it; Backend.AI's own 64 MiB are too few."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{2,62}[A-Za-z0-9]")
_MEMORY = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)([mgt])(?:i?b)?", re.I)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SECRET = re.compile(r"token|secret|passw|credential|(^|_)key", re.I)
_QUANTISED_FILES = ("awq", "gptq")
"""Methods that read a repository which was quantised so, and are what its config.json calls them."""
_SLOT = re.compile(r"[a-z0-9]+\.[a-z0-9-]+")
_RESERVED_PORTS = (2000, 2001)
_OWN_FLAGS = ("--model", "--host", "--port", "--api-key", "--hf-token")
_GIB = {"m": 1 / 1024, "g": 1.0, "t": 1024.0}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked for; None, or empty, is left to the preset and the defaults. Memory as in ``16g``."""

    gpus: int | None = None
    memory: str | None = None
    cpus: int | None = None
    name: str | None = None
    max_model_len: int | None = None
    quantization: str | None = None
    tensor_parallel_size: int | None = None
    port: int = DEFAULT_PORT
    host: str = "0.0.0.0"  # noqa: S104 (within the container, which the agent reaches from outside of it)
    image: str = DEFAULT_IMAGE
    images: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    environment: Sequence[str] = ()
    flags: Sequence[str] = ()
    replicas: int = 1
    group: str = ""
    gpu_slot: str = DEFAULT_GPU_SLOT


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked deployment: sessions of these names, each with this command, environment and resources."""

    model: str
    names: tuple[str, ...]
    image: str
    gpus: int
    memory: str
    cpus: int
    port: int
    max_model_len: int
    tensor_parallel_size: int
    quantization: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    group: str
    gpu_slot: str
    chat: bool
    notes: tuple[str, ...]

    @property
    def tag(self) -> str:
        """What a session is marked with, so that it is known again from anywhere: at most 64 characters."""
        return f"docflow {self.port} {self.model}"[:64]

    def shown_environment(self) -> dict[str, str]:
        """The variables as they may be shown."""
        return {name: masked(value) if is_secret(name) else value for name, value in self.environment.items()}

    def secrets(self) -> list[str]:
        """The values among the variables that must not be shown."""
        return [value for name, value in self.environment.items() if is_secret(name)]

    def request(self, name: str) -> dict[str, object]:
        """The body of the request that creates the session of this name.

        It is a batch session: of those alone managers run a command at the start, and its end ends the session, so that
        a server that dies frees its GPUs. ``reuseIfExists`` is on by default and would ignore all of this.
        """
        body: dict[str, object] = {
            "image": self.image,
            "clientSessionToken": name,
            "type": "batch",
            "tag": self.tag,
            "enqueueOnly": True,
            "maxWaitSeconds": 0,
            "reuseIfExists": False,
            "startupCommand": shlex.join(self.command),
            "config": {
                "environ": dict(self.environment),
                "resources": {"cpu": str(self.cpus), "mem": self.memory, self.gpu_slot: str(self.gpus)},
                "resource_opts": {"shmem": SHARED_MEMORY},
                "preopen_ports": [self.port],
            },
        }
        if self.group:
            body["group"] = self.group
        return body


def is_secret(name: str) -> bool:
    """Whether a variable's value must not be shown."""
    return _SECRET.search(name) is not None


def masked(value: str) -> str:
    """A secret as it may be shown: that there is one, and nothing of it."""
    return "***" if value else ""


def without_secrets(text: str, values: Iterable[str]) -> str:
    """A text that somebody else wrote, such as a log, with these secrets taken out of it."""
    for value in values:
        if len(value) >= 6:  # shorter ones stand in any text by chance
            text = text.replace(value, masked(value))
    return text


def plan(
    model: str, wishes: Wishes, *, preset: Preset | None, facts: ModelFacts | None, token: str, api_key: str
) -> Plan:
    """The deployment of a model. ``facts`` is what the Hub says, where it was asked. Raises UsageError."""
    notes: list[str] = []
    gpus = _one_of(wishes.gpus, preset.gpus if preset else None, DEFAULT_GPUS)
    memory = _memory(wishes.memory or (preset.memory if preset else DEFAULT_MEMORY))
    parallel = wishes.tensor_parallel_size or gpus
    if parallel > gpus:
        raise UsageError(
            f"--tensor-parallel-size {parallel} is more than the session's GPUs ({gpus})",
            hint=f"Raise --gpu-count to {parallel}, or leave the size out: it is the number of GPUs then.",
        )
    if parallel < gpus:
        notes.append(f"{gpus - parallel} of {gpus} GPUs will be idle: --tensor-parallel-size is {parallel}")
    quantization = _quantization(model, wishes, preset, facts, notes)
    length = _length(model, wishes, preset, facts, notes)
    images = wishes.images if wishes.images is not None else preset.images if preset else 0
    _weigh(preset, gpus, wishes, quantization, notes)
    if preset and not preset.chat:
        notes.append("its tokenizer brings no chat template: /v1/completions answers, /v1/chat/completions does not")
    if not token and model.startswith("meta-llama/"):
        notes.append("the model is gated: set HF_TOKEN to a token whose account has accepted its licence")
    if not 1 <= wishes.replicas <= MOST_REPLICAS:
        raise UsageError(f"--replicas may be from 1 to {MOST_REPLICAS}")
    if not _SLOT.fullmatch(wishes.gpu_slot):
        raise UsageError(f"{wishes.gpu_slot!r} is no resource slot", hint="Write cuda.device or cuda.shares.")
    if not 1024 <= wishes.port <= 65535 or wishes.port in _RESERVED_PORTS:
        raise UsageError(
            f"--port {wishes.port} cannot be a server's in a session",
            hint="It may be from 1024 to 65535; 2000 and 2001 are Backend.AI's own.",
        )
    command = ["vllm", "serve", model, "--host", wishes.host, "--port", str(wishes.port)]
    command += ["--max-model-len", str(length), "--tensor-parallel-size", str(parallel)]
    if quantization:
        command += ["--quantization", quantization]
    if images:
        command += ["--limit-mm-per-prompt", f'{{"image": {images}}}']
    for flag, value in (
        ("--max-num-seqs", wishes.max_num_seqs),
        ("--max-num-batched-tokens", wishes.max_num_batched_tokens),
    ):
        if value is not None:
            command += [flag, str(value)]
    command += _further(wishes.flags)
    return Plan(
        model=model,
        names=_names(model, wishes.name, wishes.replicas),
        image=wishes.image,
        gpus=gpus,
        memory=memory,
        cpus=_one_of(wishes.cpus, None, DEFAULT_CPUS),
        port=wishes.port,
        max_model_len=length,
        tensor_parallel_size=parallel,
        quantization=quantization,
        command=tuple(command),
        environment=_environment(wishes.environment, token, api_key),
        group=wishes.group,
        gpu_slot=wishes.gpu_slot,
        chat=preset.chat if preset else True,
        notes=tuple(notes),
    )


def check_name(name: str) -> str:
    """Raises UsageError for what is no name of a session."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a session",
            hint="It has 4 to 64 letters, digits and hyphens, with a letter or a digit at both ends.",
        )
    return name


def _one_of(wished: int | None, preset: int | None, default: int) -> int:
    return wished if wished is not None else preset if preset is not None else default


def _memory(text: str) -> str:
    match = _MEMORY.fullmatch(text.strip())
    if not match or float(match[1]) * _GIB[match[2].lower()] < 1:
        raise UsageError(f"{text!r} is no memory for a session", hint="Write 16g or 24576m; it is at least 1g.")
    return f"{match[1]}{match[2].lower()}"


def _quantization(model: str, wishes: Wishes, preset: Preset | None, facts: ModelFacts | None, notes: list[str]) -> str:
    """The method for the command line. Methods that need a quantised repository are refused for one that is not."""
    has = facts.quantization if facts else preset.quantization if preset else None
    wanted = (wishes.quantization or "").lower()
    if wanted and not re.fullmatch(r"[a-z0-9_-]{1,40}", wanted):
        raise UsageError(f"{wishes.quantization!r} is no method of quantisation", hint="Write awq or gptq.")
    if is_gone(wanted):
        raise UsageError(
            f"--quantization {wanted}: vLLM has it no more",
            hint=f"vLLM {TRIED} takes {', '.join(METHODS)}; of a repository that is quantised it knows by itself.",
        )
    if is_gone(has or ""):
        raise UsageError(f"{model} is quantised by {has}, which vLLM has no more", hint=INSTEAD)
    family = wanted.partition("_")[0]
    others = preset.quantized if preset else {}
    if family not in _QUANTISED_FILES:
        if not wanted and others:
            notes.append(f"quantised it needs a third of the GPU memory: {', '.join(others.values())}")
        if wanted and wanted not in METHODS:
            notes.append(
                f"--quantization {wanted} goes to vLLM as it is, and vLLM {TRIED} has none of that name. It takes "
                f"{', '.join(METHODS)}"
            )
        return wanted
    if has is None:
        notes.append(f"--quantization {wanted} needs a repository quantised so; whether this one is, is not known")
    elif not has:
        where = f"Deploy {others[family]} instead." if family in others else f"Look for {model}-{family.upper()}."
        raise UsageError(
            f"{model} is not quantised, and --quantization {wanted} reads quantised repositories alone", hint=where
        )
    elif has != family:
        raise UsageError(
            f"{model} is quantised by {has}, not by {family}",
            hint=f"Leave --quantization out, or write {has}: vLLM knows.",
        )
    return wanted


def _length(model: str, wishes: Wishes, preset: Preset | None, facts: ModelFacts | None, notes: list[str]) -> int:
    """``--max-model-len``: what was asked for, if the model has it, else the default within the model's own."""
    own = (facts.context if facts else 0) or (preset.context if preset else 0)
    wished = wishes.max_model_len
    if wished is not None:
        if wished < 1:
            raise UsageError("--max-model-len is a number of tokens, from 1")
        if own and wished > own:
            raise UsageError(
                f"--max-model-len {wished} is more than {model} has: {own}",
                hint=f"Leave it out, or write at most {own}: vLLM would refuse to start.",
            )
        return wished
    default = (preset.length if preset else None) or DEFAULT_LENGTH
    if not own:
        notes.append(f"the model's own maximum is not known: --max-model-len is {default}")
        return default
    if own < default:
        notes.append(f"--max-model-len is the model's own maximum, {own}")
    return min(default, own)


def _weigh(preset: Preset | None, gpus: int, wishes: Wishes, quantization: str, notes: list[str]) -> None:
    """What the weights take on each GPU: --memory is the main memory, which says nothing of that."""
    if preset is None or quantization in QUANTISING:
        return
    each = preset.weights / (wishes.tensor_parallel_size or gpus)
    if each >= 10:
        notes.append(
            f"its weights take {each:.0f} GB on each GPU, and the cache comes on top (--memory is main memory)"
        )


def _further(flags: Sequence[str]) -> list[str]:
    words: list[str] = []
    for text in flags:
        try:
            found = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"--vllm-flag {text!r} is not well formed: {error}") from error
        for word in found:
            if word.partition("=")[0] in _OWN_FLAGS:
                raise UsageError(
                    f"{word.partition('=')[0]} is not passed on by --vllm-flag",
                    hint="Model, host and port have options; keys go through the environment (VLLM_API_KEY, HF_TOKEN).",
                )
        words += found
    return words


def _environment(pairs: Sequence[str], token: str, api_key: str) -> dict[str, str]:
    """The session's variables. What vLLM reads at its start must be there before: nothing can be added later."""
    found = {"VLLM_USE_MODELSCOPE": "false", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not _VARIABLE.fullmatch(name) or "\x00" in value:
            shown = name if _VARIABLE.fullmatch(name) else "what was given"
            raise UsageError(f"--env takes NAME=VALUE: {shown!r} is none")  # the value may be a secret
        found[name] = value
    if token:
        found |= {"HF_TOKEN": token, "HUGGING_FACE_HUB_TOKEN": token}
    found["VLLM_API_KEY"] = found.get("VLLM_API_KEY") or api_key
    return found


def _names(model: str, wished: str | None, replicas: int) -> tuple[str, ...]:
    if wished is None:
        slug = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower()).strip("-")
        wished = f"vllm-{slug[:40].strip('-')}-{secrets.token_hex(3)}"
    check_name(wished)
    if replicas == 1:
        return (wished,)
    return tuple(check_name(f"{wished}-{number}") for number in range(1, replicas + 1))
