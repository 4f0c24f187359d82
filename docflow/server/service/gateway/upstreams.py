"""How the gateway's upstreams are named: a registry, who takes over for whom, how each is looked at, and policies.

Pure: text in, specs out; every entry that is not well formed is refused by its own words, without its credentials.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from docflow.engines.plans import STRATEGIES, Strategy
from docflow.engines.specs import EngineSpec, entries_of, parse_roles
from docflow.errors import ConfigError
from docflow.settings import GatewaySettings, Settings, without_credentials

Kind = Literal["sglang", "vllm", "openai", "litellm"]
ROUTES = ("chat", "completion", "embeddings")
"""What route policies call the routes."""
HEALTH_PATHS: dict[str, str] = {"sglang": "/health", "vllm": "/v1/models", "openai": "/v1/models"}
"""Where each kind of server says how it is, unless ``gateway.health`` names another path."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,99}")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,200}")
_HINT = "Write NAME=URL, several with ; between them; URLs begin with http://, https:// or litellm://."


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream as it is named. ``name`` is free; ``kind`` is what its name says, ``openai`` where it says nothing.

    ``target`` is its URL with credentials (show ``shown``), for ``litellm`` the model's name there. ``health_path`` is
    "" where there is nothing to look at; it is looked at every ``health_seconds``, each time for ``health_timeout``
    seconds at most.
    """

    name: str
    kind: Kind
    target: str = field(repr=False)
    weight: float = 1.0
    model: str = ""
    health_path: str = ""
    health_seconds: float = 10.0
    health_timeout: float = 5.0

    @property
    def is_server(self) -> bool:
        return True  # it is somewhere else, even where another package does the asking

    @property
    def credentials(self) -> str:
        return "" if self.kind == "litellm" else urlsplit(self.target).netloc.rpartition("@")[0]

    @property
    def shown(self) -> str:
        return f"{self.name}={without_credentials(self.target)}"

    @property
    def label(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Policy:
    """How the requests of a route are shared out: the strategy, and its targets with their weights."""

    strategy: Strategy
    targets: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Registry:
    """Every upstream in the order of registration, who takes over for whom, and the policies of routes.

    ``default`` is the policy of a route that has none.
    """

    upstreams: tuple[Upstream, ...]
    fallbacks: Mapping[str, tuple[str, ...]]
    policies: Mapping[str, Policy]
    default: Policy | None

    @classmethod
    def of(cls, settings: Settings) -> Registry:
        """The upstreams of ``gateway.upstreams``, else the servers of ``engine`` and ``fallbacks``.

        Raises ConfigError, which names the entry.
        """
        gateway = settings.gateway
        if gateway.upstreams.strip():
            upstreams = parse_upstreams(gateway.upstreams)
            names = [upstream.name for upstream in upstreams]
            fallbacks = parse_fallbacks(gateway.fallbacks, names)
            default: Policy | None = Policy("priority", ((names[0], 1.0),))
        else:
            upstreams, fallbacks, default = _of_engines(settings)
            names = [upstream.name for upstream in upstreams]
        upstreams = _looked_at(upstreams, gateway)
        return cls(upstreams, fallbacks, parse_policies(gateway.route_policies, names), default)


def parse_upstreams(text: str) -> tuple[Upstream, ...]:
    """The registry's entries. Raises ConfigError for one that is malformed, named twice, or of an unknown scheme."""
    found: dict[str, Upstream] = {}
    for entry in entries_of(text):
        upstream = _upstream(entry)
        if upstream.name in found:
            raise ConfigError(f"upstream {upstream.shown!r}: the name {upstream.name!r} is taken", hint=_HINT)
        found[upstream.name] = upstream
    if not found:
        raise ConfigError("no upstream is named", hint=_HINT)
    return tuple(found.values())


def _upstream(entry: str) -> Upstream:
    name, equals, target = (part.strip() for part in entry.partition("="))
    shown = without_credentials(entry)
    if not equals or not target or not _NAME.fullmatch(name):
        raise ConfigError(f"upstream {shown!r} is not well formed", hint=_HINT)
    scheme, separator, rest = target.partition("://")
    if not separator:
        raise ConfigError(f"upstream {shown!r} has no URL", hint=_HINT)
    if scheme == "litellm":
        if not rest or any(character.isspace() for character in rest):
            raise ConfigError(f"upstream {shown!r} names no model", hint="Write NAME=litellm://MODEL.")
        return Upstream(name, "litellm", rest, model=rest)
    if scheme not in ("http", "https"):
        raise ConfigError(f"upstream {shown!r}: {scheme[:20]}:// is no scheme that the gateway knows", hint=_HINT)
    kind: Kind = "sglang" if _is(name, "sglang") else "vllm" if _is(name, "vllm") else "openai"
    try:
        spec = EngineSpec.parse(f"vllm={target}")
    except ConfigError as error:
        what = error.message.partition("': ")[2] or "it has no valid URL"
        raise ConfigError(f"upstream {shown!r}: {what}", hint=error.hint.replace("--engine vllm=", "NAME=")) from None
    return Upstream(name, kind, spec.target, spec.weight, spec.model)


def _is(name: str, kind: str) -> bool:
    """Whether a name says what kind of server it is: ``vllm``, ``vllm-2``, ``gpu1.vllm``."""
    return kind in re.split(r"[^a-z]+", name.lower())


def _of_engines(settings: Settings) -> tuple[tuple[Upstream, ...], dict[str, tuple[str, ...]], Policy | None]:
    """The servers that extraction uses, with the names of their kinds (``sglang``, ``sglang-2``)."""
    roles = parse_roles(settings.engine, settings.fallbacks)
    taken: dict[str, int] = {}
    tiers: list[list[Upstream]] = []
    for specs in (roles.engines, *roles.fallbacks):
        tier = []
        for spec in specs:
            if not spec.is_server:
                continue
            taken[spec.name] = count = taken.get(spec.name, 0) + 1
            name = spec.name if count == 1 else f"{spec.name}-{count}"
            kind: Kind = "sglang" if spec.name == "sglang" else "vllm"
            tier.append(Upstream(name, kind, spec.target, spec.weight, spec.model))
        tiers.append(tier)
    upstreams = tuple(upstream for tier in tiers for upstream in tier)
    if not tiers[0]:
        return upstreams, {}, None
    behind = tuple(upstream.name for tier in tiers[1:] for upstream in tier)
    fallbacks = {upstream.name: behind for upstream in tiers[0]} if behind else {}
    return upstreams, fallbacks, Policy("cache-aware", tuple((one.name, one.weight) for one in tiers[0]))


# --- who takes over, and how each is looked at --------------------------------------------------------------------


def parse_fallbacks(text: str, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Who takes over for whom. Raises ConfigError for an unknown name, and for a circle."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries_of(text):
        name, equals, rest = (part.strip() for part in entry.partition("="))
        others = tuple(other.strip() for other in rest.split(","))
        shown = without_credentials(entry)
        if not equals or not all(others):
            raise ConfigError(f"fallback {shown!r} is not well formed", hint="Write NAME=OTHER, or NAME=OTHER,OTHER.")
        for one in (name, *others):
            if one not in names:
                raise ConfigError(f"fallback {shown!r}: no upstream is named {one[:100]!r}", hint=_known(names))
        if name in found or name in others or len(set(others)) < len(others):
            raise ConfigError(f"fallback {shown!r} names an upstream twice", hint="One entry for each upstream.")
        found[name] = others
    for name in found:
        _refuse_circle(name, found)
    return found


def _refuse_circle(name: str, fallbacks: Mapping[str, Sequence[str]]) -> None:
    seen: set[str] = set()
    following = list(fallbacks.get(name, ()))
    while following:
        one = following.pop()
        if one == name:
            raise ConfigError(
                f"fallback {name}={','.join(fallbacks[name])} is part of a circle",
                hint="Say of each upstream who takes over for it, in one direction.",
            )
        if one not in seen:
            seen.add(one)
            following += fallbacks.get(one, ())


def _looked_at(upstreams: Sequence[Upstream], settings: GatewaySettings) -> tuple[Upstream, ...]:
    names = [upstream.name for upstream in upstreams]
    given = parse_health(settings.health, names)
    found = []
    for one in upstreams:
        path, every, within = given.get(one.name, ("", None, None))
        found.append(
            Upstream(
                one.name,
                one.kind,
                one.target,
                one.weight,
                one.model,
                health_path=path or HEALTH_PATHS.get(one.kind, ""),
                health_seconds=every or settings.health_seconds,
                health_timeout=within or settings.health_timeout_seconds,
            )
        )
    return tuple(found)


def parse_health(text: str, names: Sequence[str]) -> dict[str, tuple[str, float | None, float | None]]:
    """Path, interval and time-out by upstream. Raises ConfigError."""
    found: dict[str, tuple[str, float | None, float | None]] = {}
    for entry in entries_of(text):
        name, equals, rest = (part.strip() for part in entry.partition("="))
        path, *more = (part.strip() for part in rest.split(","))
        hint = "Write NAME=PATH, or NAME=PATH,every=SECONDS,within=SECONDS."
        if not equals or not _PATH.fullmatch(path):
            raise ConfigError(f"health {entry[:100]!r} is not well formed", hint=hint)
        if name not in names:
            raise ConfigError(f"health {entry[:100]!r}: no upstream is named {name!r}", hint=_known(names))
        seconds: dict[str, float] = {}
        for part in more:
            key, _, value = part.partition("=")
            try:
                seconds[key] = float(value)
            except ValueError:
                seconds[key] = 0.0
            if key not in ("every", "within") or not 0 < seconds[key] <= 86_400:
                raise ConfigError(f"health {entry[:100]!r}: {part!r} is not well formed", hint=hint)
        found[name] = (path, seconds.get("every"), seconds.get("within"))
    return found


# --- policies -----------------------------------------------------------------------------------------------------


def parse_policies(text: str, names: Sequence[str]) -> dict[str, Policy]:
    """The policies of routes, from JSON. Raises ConfigError, which names the route and what is wrong with it."""
    if not text.strip():
        return {}
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("gateway.route_policies is not valid JSON", hint=_POLICY_HINT) from error
    if not isinstance(given, dict):
        raise ConfigError("gateway.route_policies is no JSON object", hint=_POLICY_HINT)
    return {str(route): _policy(str(route), policy, names) for route, policy in given.items()}


_POLICY_HINT = (
    'Write {"chat": {"strategy": "weighted", "targets": [{"name": "vllm", "weight": 90}, '
    '{"name": "sglang", "weight": 10}]}}.'
)


def _policy(route: str, given: Any, names: Sequence[str]) -> Policy:
    where = f"route policy {route[:50]!r}"
    if route not in ROUTES:
        raise ConfigError(f"{where}: there is no such route", hint=f"Routes are {', '.join(ROUTES)}.")
    if not isinstance(given, dict) or given.keys() - {"strategy", "targets"}:
        raise ConfigError(f"{where} is not well formed", hint=_POLICY_HINT)
    strategy = next((known for known in STRATEGIES if known == given.get("strategy")), None)
    if strategy is None:
        wanted = str(given.get("strategy"))[:50]
        raise ConfigError(f"{where}: there is no strategy {wanted!r}", hint=f"Strategies are {', '.join(STRATEGIES)}.")
    targets = given.get("targets")
    if not isinstance(targets, list) or not targets:
        raise ConfigError(f"{where} has no targets", hint=_POLICY_HINT)
    found: dict[str, float] = {}
    for target in targets:
        if not isinstance(target, dict) or target.keys() - {"name", "weight"}:
            raise ConfigError(f"{where}: a target is not well formed", hint=_POLICY_HINT)
        name, weight = str(target.get("name"))[:100], target.get("weight", 1)
        if name not in names:
            raise ConfigError(f"{where}: no upstream is named {name!r}", hint=_known(names))
        if name in found:
            raise ConfigError(f"{where} names {name!r} twice")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1_000_000:
            raise ConfigError(f"{where}: the weight of {name!r} is no number above 0")
        found[name] = float(weight)
    return Policy(strategy, tuple(found.items()))


def _known(names: Sequence[str]) -> str:
    return f"Upstreams are {', '.join(names)}." if names else "There is no upstream: set GATEWAY_UPSTREAMS."
