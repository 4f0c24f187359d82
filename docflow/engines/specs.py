"""How engines are named: ``embedded``, ``sglang=http://gpu1:30000``, lists of these, and who stands in for whom.

Credentials in a URL are kept out of everything that is shown: the specs' own text, and every message here.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from docflow.errors import ConfigError
from docflow.settings import without_credentials

SERVERS = {"sglang": "http://127.0.0.1:30000", "vllm": "http://127.0.0.1:8000"}
"""The engines that are servers, each with a URL as an example."""
LOCAL = {"embedded": "", "scripted": "replies.jsonl"}
"""The engines that answer in this process, with the target that each takes, as an example."""
MODELS = {"llama_cpp": "model.gguf", "transformers": "FOLDER", "vllm": "FOLDER"}
"""The engines that load a model in this process, likewise. vLLM is both: what follows says which."""

SEPARATOR = ";"
_PARAMETERS = ("weight", "model")
_MODEL_PARAMETERS = {
    "context": re.compile(r"[1-9]\d{1,6}"),
    "device": re.compile(r"auto|cpu|cuda"),
    "dtype": re.compile(r"auto|float32|float16|bfloat16"),
    "projector": re.compile(r".+"),
    "quantization": re.compile(r"[a-z0-9_-]{1,40}"),
    "gpu_layers": re.compile(r"-1|\d{1,4}"),
    "gpu_memory_utilization": re.compile(r"0?\.\d{1,4}|1(\.0{1,4})?"),
    "tensor_parallel_size": re.compile(r"[1-9]\d{0,2}"),
    "threads": re.compile(r"[1-9]\d{0,3}"),
    "max_batch": re.compile(r"[1-9]\d{0,3}"),
}
"""How a model is loaded, as it may stand after the model's name."""
_OF_HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_MOST_HUB_NAME = 96


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine as the user names it: a name, or ``NAME=TARGET`` where the target is a file, a model or a URL.

    ``target`` is the URL as an engine takes it, credentials and all: show ``shown``. ``weight`` is a server's share
    among its equals, ``model`` the model to ask it for (its first one, when empty). ``parameters`` say how a model is
    loaded in this process.
    """

    name: str
    target: str = field(default="", repr=False)
    weight: float = 1.0
    model: str = ""
    parameters: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> EngineSpec:
        """Raises ConfigError for an unknown name, and for a target that is missing, not wanted, or no server's URL."""
        entry = text.strip()
        name, _, target = entry.partition("=")
        examples = MODELS | SERVERS | LOCAL
        if name not in examples:
            if "://" in name:
                raise ConfigError(
                    f"engine {without_credentials(entry)!r} does not say which kind of server that is",
                    hint="Write sglang=URL or vllm=URL; docflow engines check URL finds out which.",
                )
            raise ConfigError(
                f"there is no engine {without_credentials(name)!r}",
                hint="Engines are embedded, sglang=URL, vllm=URL, auto (what docflow engines up started), and models "
                "in this process: llama_cpp=FILE.gguf, transformers=FOLDER, vllm=FOLDER.",
            )
        if bool(target) != bool(examples[name]):
            wanted = f"{name}={examples[name]}" if examples[name] else name
            hint = f"Write --engine {wanted}."
            if name in SERVERS:
                hint += " --engine auto takes what docflow engines up started."
            raise ConfigError(f"engine {without_credentials(entry)!r} is not well formed", hint=hint)
        if name in MODELS and (name not in SERVERS or names_model(target)):
            return cls._model(name, target)
        return cls._server(name, target) if name in SERVERS else cls(name, target)

    @classmethod
    def _model(cls, name: str, target: str) -> EngineSpec:
        shown = f"{name}={without_credentials(target)}"
        hint = f"Write --engine {name}={MODELS[name]}, and after it ?context=8192 or ?device=cpu where that is needed."
        model, mark, query = target.rpartition("?")
        if not mark:
            model, query = target, ""
        given: dict[str, str] = {}
        for key, value in parse_qsl(query, keep_blank_values=True):
            form = _MODEL_PARAMETERS.get(key)
            if form is None or key in given or not form.fullmatch(value):
                raise ConfigError(
                    f"engine {shown!r}: {key}={value} is no parameter of a model, or is given twice",
                    hint=f"{hint} Parameters are {', '.join(_MODEL_PARAMETERS)}.",
                )
            given[key] = value
        if "://" in model or not model.strip() or "\0" in model:
            raise ConfigError(f"engine {shown!r} names no model", hint=hint)
        if name == "llama_cpp":
            if not model.lower().endswith(".gguf"):
                raise ConfigError(f"engine {shown!r}: llama.cpp loads files that end in .gguf", hint=hint)
        elif not is_folder(model) and not is_hub_name(model):
            raise ConfigError(
                f"engine {shown!r}: {model!r} is neither a folder nor a name of the Hub (OWNER/NAME)", hint=hint
            )
        return cls(name, model, parameters=tuple(given.items()))

    @classmethod
    def _server(cls, name: str, target: str) -> EngineSpec:
        shown = f"{name}={without_credentials(target)}"
        hint = f"Write --engine {name}={SERVERS[name]}, and after it ?weight=2 or ?model=NAME where that is needed."
        try:
            url = urlsplit(target)
            host, port = url.hostname, url.port
        except ValueError:  # not chained: its text quotes what may be part of a password
            raise ConfigError(f"engine {shown!r} has no valid URL", hint=hint) from None
        if url.scheme not in ("http", "https"):
            raise ConfigError(f"engine {shown!r}: the URL of a server begins with http:// or https://", hint=hint)
        if not host or port == 0 or any(character.isspace() for character in target):
            raise ConfigError(f"engine {shown!r} names no server", hint=hint)
        if url.fragment:
            raise ConfigError(f"engine {shown!r}: a server's URL has no part after #", hint=hint)
        given = _parameters(url, shown, hint)
        path = url.path.rstrip("/").removesuffix("/v1")  # as clients of the OpenAI protocol write it
        return cls(
            name,
            f"{url.scheme}://{url.netloc}{path}",
            _weight(given.get("weight", "1"), shown),
            given.get("model", ""),
        )

    @property
    def is_server(self) -> bool:
        return self.name in SERVERS and "://" in self.target

    @property
    def is_model(self) -> bool:
        """Whether it is a model that is loaded in this process."""
        return self.name in MODELS and not self.is_server

    @property
    def credentials(self) -> str:
        """What stands before the @ of a server's URL, or nothing."""
        return urlsplit(self.target).netloc.rpartition("@")[0] if self.is_server else ""

    @property
    def shown(self) -> str:
        """The engine as it may be shown: without credentials."""
        return f"{self.name}={without_credentials(self.target)}" if self.target else self.name

    @property
    def label(self) -> str:
        """The engine in a sentence: ``sglang at gpu1:30000``."""
        if self.is_model:
            return f"{self.name} with {os.path.basename(self.target.rstrip('/')) or self.target}"
        if not self.is_server:
            return f"the {self.name} engine"
        url = urlsplit(self.target)
        return f"{self.name} at {url.netloc.rpartition('@')[2]}{url.path}"


def is_folder(text: str) -> bool:
    """Whether a model is named as a folder: by a path that says that it is one, or one that is there."""
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..") or os.path.isdir(os.path.expanduser(text))


def is_hub_name(text: str) -> bool:
    """Whether a text may be a model's name on the Hub: ``OWNER/NAME``, and nothing else."""
    plain = len(text) <= _MOST_HUB_NAME and ".." not in text and "--" not in text
    return plain and _OF_HUB.fullmatch(text) is not None and not text.endswith((".git", ".ipynb", ".", "-"))


def names_model(target: str) -> bool:
    """Whether the target of an engine that is both a server and a model in process names a model."""
    model = target.partition("?")[0]
    return "://" not in target and (is_folder(model) or is_hub_name(model))


def absolute_entry(entry: str) -> str:
    """An engine's entry whose file or folder, if it has one, is named by an absolute path."""
    name, _, target = entry.partition("=")
    if name in LOCAL and target:
        return f"{name}={os.path.abspath(target)}"
    if name not in MODELS or "://" in target:
        return entry
    path, mark, query = target.rpartition("?") if "?" in target else (target, "", "")
    if name == "llama_cpp" or is_folder(path):
        path = os.path.abspath(os.path.expanduser(path))
    given = [(key, value, key == "projector") for key, value in parse_qsl(query, keep_blank_values=True)]
    query = urlencode([(key, os.path.abspath(value) if is_path else value) for key, value, is_path in given], safe="/")
    return f"{name}={path}{mark}{query}"


def _parameters(url: SplitResult, shown: str, hint: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for key, value in parse_qsl(url.query, keep_blank_values=True):
        if key not in _PARAMETERS or key in given or not value:
            raise ConfigError(
                f"engine {shown!r}: {key!r} is no parameter of a server, or is given twice or without a value",
                hint=hint,
            )
        given[key] = value
    return given


def _weight(text: str, shown: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight <= 1000:
        raise ConfigError(f"engine {shown!r}: the weight {text!r} is no number above 0 and at most 1000")
    return weight


# --- lists, and who stands in for whom ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Roles:
    """The engines that answer, by priority: those that share the work, then each stand-in in its turn."""

    engines: tuple[EngineSpec, ...]
    fallbacks: tuple[tuple[EngineSpec, ...], ...] = ()

    @property
    def alone(self) -> bool:
        """Whether there is one engine, in this process, and none to stand in for it: no pool is needed."""
        return len(self.engines) == 1 and not self.engines[0].is_server and not self.fallbacks


def entries_of(given: str | Sequence[str]) -> list[str]:
    """The entries of a list as it is typed: several, or one text with ``;`` between them."""
    texts = [given] if isinstance(given, str) else given
    return [entry.strip() for text in texts for entry in text.split(SEPARATOR) if entry.strip()]


def parse_roles(engines: str | Sequence[str], fallbacks: str | Sequence[str] = "") -> Roles:
    """The engines that ``engines`` and ``fallbacks`` name.

    An entry of ``fallbacks`` is an engine of its own (``vllm=http://gpu3:8000``, ``embedded``) or says who of
    ``engines`` stands in for whom (``sglang=vllm``, several with commas between): the stand-in then gets work only when
    the other is away.

    Raises ConfigError, which names the entry: malformed, named twice, unknown, or a circle of stand-ins.
    """
    specs = [EngineSpec.parse(entry) for entry in entries_of(engines)]
    if not specs:
        raise ConfigError("no engine is named", hint="Leave --engine out to use the embedded one.")
    if not any(spec.is_server or spec.is_model for spec in specs):  # what else answers in this process is never away
        return Roles(tuple(specs))
    stands_in: dict[str, list[str]] = {}
    own: list[EngineSpec] = []
    for entry in entries_of(fallbacks):
        name, _, target = entry.partition("=")
        if _says_who(name, target):
            stands_in.setdefault(name, []).extend(other.strip() for other in target.split(","))
        else:
            own.append(EngineSpec.parse(entry))
    seen: set[str] = set()
    for spec in (*specs, *own):
        if spec.shown in seen:
            raise ConfigError(f"engine {spec.shown!r} is named twice", hint="Name each server once.")
        seen.add(spec.shown)
    by_name: dict[str, list[EngineSpec]] = {}
    for spec in specs:
        by_name.setdefault(spec.name, []).append(spec)
    order = _order(stands_in, by_name)
    substitutes = {other for others in stands_in.values() for other in others}
    first = tuple(spec for spec in specs if spec.name not in substitutes)
    later = [tuple(by_name[name]) for name in order if name in substitutes]
    return Roles(first, (*later, *((spec,) for spec in own)))


def _says_who(name: str, target: str) -> bool:
    """Whether an entry of the fallbacks says who stands in for whom, and names no engine of its own."""
    if name not in SERVERS and name not in MODELS:
        return False
    others = [other.strip() for other in target.split(",")]
    if all(other in SERVERS or other in MODELS or other in LOCAL for other in others):
        return True
    return name in SERVERS and bool(target) and "://" not in target and not (name in MODELS and names_model(target))


def _order(stands_in: Mapping[str, Sequence[str]], named: Mapping[str, object]) -> list[str]:
    """Every name that stands in, nearest to those that nobody has to wait for first. Raises ConfigError."""
    for name, others in stands_in.items():
        for unknown in (name, *others):
            if unknown not in named:
                raise ConfigError(
                    f"fallback {name}={','.join(others)!s}: no engine is named {unknown!r}",
                    hint="Name the server itself, as in vllm=http://gpu3:8000, or one of the engines.",
                )
        if len(set(others)) < len(others):
            raise ConfigError(f"fallback {name}={','.join(others)} names an engine twice")
    waiting = list(dict.fromkeys(other for others in stands_in.values() for other in others))
    order = [name for name in named if name not in waiting]
    while waiting:
        ready = (w for w in waiting if all(name in order for name, others in stands_in.items() if w in others))
        following = next(ready, None)
        if following is None:
            name = next(name for name, others in stands_in.items() if waiting[0] in others and name not in order)
            raise ConfigError(
                f"fallback {name}={','.join(stands_in[name])} is part of a circle: each would wait for the other",
                hint="Say of each engine which one takes over for it, in one direction.",
            )
        waiting.remove(following)
        order.append(following)
    return order
