"""What a server really can do: small real requests, one an ability, and the flag that each missing one wants."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from docflow.documents.model import Page
from docflow.engines.asking import TOP
from docflow.engines.base import Answer, Limits, Request, ServerOptions, Turn, Want, WantChoice, WantJson, WantText
from docflow.engines.chat import PATH, body_of, reply_of
from docflow.engines.check_flags import CONTEXT_ROOM, Remedy, remedy_for, warnings_for
from docflow.engines.images import MAX_TOKENS, page_image
from docflow.engines.server import ServerEngine
from docflow.engines.sglang import SglangEngine
from docflow.engines.specs import SERVERS, EngineSpec
from docflow.engines.transport import Transport
from docflow.engines.vllm import VllmEngine
from docflow.errors import BadAnswer, ConfigError, EngineError, EngineRefused, EngineUnavailable, NoEngine
from docflow.settings import without_credentials

_SECONDS = 10.0
"""Longest time for what a server says of itself; SGLang's /health makes the model write a token."""
_MOST_PAGES = 16
_HINT = "See that the server runs, that it has loaded its model, and that the URL and the port are right."


@dataclass(frozen=True, slots=True)
class Ability:
    """Something that docflow asks of servers, and whether this one does it.

    ``needed`` tells what docflow cannot do without from what only saves time. ``detail`` says what was seen,
    ``remedy`` what to change at the server when it does not work.
    """

    name: str
    works: bool
    needed: bool = True
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a server says of itself, and what it was seen to do.

    ``url`` holds no credentials; ``context`` is in tokens, 0 where the server does not say.
    """

    url: str
    kind: str
    version: str
    model: str
    context: int
    warnings: tuple[str, ...]
    abilities: tuple[Ability, ...]

    @property
    def complete(self) -> bool:
        """Whether everything works that docflow needs."""
        return all(ability.works for ability in self.abilities if ability.needed)


def check(
    target: str,
    *,
    kind: str | None = None,
    options: ServerOptions | None = None,
    page_tokens: int = MAX_TOKENS,
    seconds: float = 60.0,
) -> Report:
    """Ask a server everything, each request for at most ``seconds``.

    ``target`` is its URL, or ``NAME=URL`` as engines are named elsewhere; ``kind`` is found out when it is not given.
    Raises ConfigError for a URL that is none, NoEngine for a server that cannot be reached or does not answer.
    """
    name, _, url = target.partition("=")
    if name in SERVERS and kind in (None, name):
        target, kind = url, name
    spec = _spec(kind or "sglang", target)
    options = options or ServerOptions()
    options = replace(options, model=spec.model or options.model, api_key="" if spec.credentials else options.api_key)
    transport = Transport(spec.target, options)
    try:
        said = _Said.ask(transport, kind)
        engine = (SglangEngine if said.kind == "sglang" else VllmEngine)(spec.target, options)
        try:
            return _Examination(transport, engine, said, page_tokens, seconds).report()
        finally:
            engine.close()
    except EngineError as error:
        hint = error.hint if error.hint and "engines check" not in error.hint else _HINT
        raise NoEngine(error.message, hint=hint) from error
    finally:
        transport.close()


def _spec(kind: str, target: str) -> EngineSpec:
    hint = "Write docflow engines check http://HOST:PORT."
    try:
        spec = EngineSpec.parse(f"{kind}={target}")
    except ConfigError as error:
        # not chained: the error's text is about the spec that was made here
        raise ConfigError(str(error).replace(f"{kind}=", "", 1), hint=hint) from None
    if not spec.is_server:
        raise ConfigError(f"{without_credentials(target)!r} is no URL of a server", hint=hint)
    return spec


@dataclass(frozen=True, slots=True)
class _Said:
    """What a server says of itself: its kind, its version, and of SGLang the flags that it was started with."""

    kind: str
    version: str
    flags: Mapping[str, Any]

    @classmethod
    def ask(cls, transport: Transport, kind: str | None) -> _Said:
        models = transport.get("/v1/models", _SECONDS)
        owners = [str(one.get("owned_by")) for one in _list(models, "data") if isinstance(one, dict)]
        if kind is None:
            kind = next((owner for owner in owners if owner in SERVERS), None) or _kind_by_paths(transport)
        if kind == "vllm":
            return cls(kind, str(_mapping(transport, "/version").get("version", "")), {})
        flags = _mapping(transport, "/server_info") or _mapping(transport, "/get_server_info")
        return cls(kind, str(flags.get("version", "")), flags)


def _kind_by_paths(transport: Transport) -> str:
    """For a server behind something that rewrites the list of models."""
    if _mapping(transport, "/model_info") or _mapping(transport, "/get_model_info"):
        return "sglang"
    if _mapping(transport, "/version"):
        return "vllm"
    raise EngineRefused(
        f"{transport.address.shown} is neither SGLang nor vLLM, as far as it says",
        hint="Say which of them it is with --kind.",
    )


def _mapping(transport: Transport, path: str) -> Mapping[str, Any]:
    """The object behind a path; empty where there is none."""
    try:
        found = transport.get(path, _SECONDS)
    except (EngineRefused, BadAnswer):
        return {}
    except EngineUnavailable as error:
        if error.retryable:
            raise
        return {}  # a path that only an administrator's key opens
    return found if isinstance(found, dict) else {}


def _list(data: Any, key: str) -> list[Any]:
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, list) else []


class _Examination:
    """The requests, one after the other: a server is not to be loaded by being looked at."""

    def __init__(
        self, transport: Transport, engine: ServerEngine, said: _Said, page_tokens: int, seconds: float
    ) -> None:
        self._transport, self._engine, self._said = transport, engine, said
        self._page_tokens, self._seconds = page_tokens, seconds
        self._text_prompt = 0
        self._gone = ""
        """Why nothing more is asked: two requests in a row were not answered at all."""
        self._silent = 0

    def report(self) -> Report:
        health = self._engine.health()
        if not health.ok:
            raise EngineUnavailable(health.detail, hint=health.hint)
        self._alive()
        context = int((re.findall(r"\d+", health.detail) or ["0"])[0])
        self._text_prompt = self._ask(WantText(), "Say one word.", max_tokens=4).usage.prompt  # raises: unusable
        abilities = [Ability("text", True, detail=f"{self._text_prompt} prompt tokens")]
        probes: list[tuple[str, bool, Callable[[], str]]] = [
            ("an image", True, self._image),
            ("several images", True, self._images),
            ("JSON schema", True, self._json),
            ("regular expression", True, self._regex),
            ("choice", True, self._choice),
            ("token probabilities", True, self._probabilities),
            ("begun answer continued", True, self._begun),
            ("cached tokens reported", True, self._cached),
            ("room for a page", True, lambda: self._room(context)),
            ("pages in full size", False, self._full_size),
            ("JSON without blanks", False, self._compact),
        ]
        if self._said.kind == "sglang" and "schedule_policy" in self._said.flags:
            probes.append(("order by prefix", False, self._order))
        abilities += [self._tried(*probe) for probe in probes]
        return Report(
            url=self._engine.url,
            kind=self._said.kind,
            version=self._said.version,
            model=health.model,
            context=context,
            warnings=tuple(warnings_for(self._said.kind, self._said.version)),
            abilities=tuple(abilities),
        )

    def _tried(self, name: str, needed: bool, probe: Callable[[], str]) -> Ability:
        if self._gone:
            return Ability(name, False, needed, f"not tried: {self._gone}")
        try:
            detail = probe()
        except _Missing as missing:
            self._silent = 0
            return Ability(name, False, needed, str(missing), remedy_for(self._said.kind, missing.remedy))
        except EngineError as error:
            refused = isinstance(error, EngineRefused | BadAnswer)
            self._silent = 0 if refused else self._silent + 1
            if self._silent == 2:
                self._gone = "the server did not answer any more"
            wrong = Remedy.PROBABILITIES if "logprobs" in error.message else _REMEDY_OF[name]
            remedy = remedy_for(self._said.kind, wrong) if refused else ""
            return Ability(name, False, needed, error.message.removeprefix(f"{self._engine.url} "), remedy)
        self._silent = 0
        return Ability(name, True, needed, detail)

    # --- the probes: each gives what it saw, or raises _Missing or EngineError ---------------------------------------

    def _alive(self) -> None:
        """SGLang lists its model before it can answer: /health tells. Its answer has no body."""
        try:
            self._transport.get("/health", max(_SECONDS, self._seconds))
        except BadAnswer:
            return
        except EngineRefused:
            return  # no such path, behind a gateway that has only /v1

    def _image(self) -> str:
        answer = self._ask(WantText(), "Say one word.", [_page(280, 280)], max_tokens=4)
        tokens = answer.usage.prompt - self._text_prompt
        if tokens < 8:
            raise _Missing("the prompt is no longer with an image than without: it was not looked at", Remedy.VISION)
        return f"{tokens} tokens for 280 x 280 pixels"

    def _images(self) -> str:
        taken, count = 1, 2
        while count <= _MOST_PAGES:
            try:
                self._ask(
                    WantText(), "Say one word.", [_page(56, 56, number + 1) for number in range(count)], max_tokens=4
                )
            except EngineRefused:
                break
            taken, count = count, count * 2
        if taken == 1:
            raise _Missing("two images are refused, so every page is a request of its own", Remedy.IMAGES)
        if taken < _MOST_PAGES:
            return f"{taken} a request, not {count}"
        return f"{taken} a request, and maybe more"

    def _json(self) -> str:
        schema = {
            "type": "object",
            "properties": {
                "kind": {"enum": ["receipt", "invoice", None]},
                "paid": {"type": ["boolean", "null"]},
            },
            "required": ["kind", "paid"],
            "additionalProperties": False,
        }
        answer = self._ask(WantJson(schema), "Is this a receipt, and is it paid? Answer with JSON.", max_tokens=64)
        try:
            found = json.loads(answer.text)
        except ValueError as error:
            if not answer.text.strip() or re.search(r"\s{8}", answer.text):
                raise _Missing("the answer is filled up with blanks", Remedy.COMPACT) from error
            raise _Missing(f"the answer is not JSON: {answer.text[:60]!r}", Remedy.GRAMMAR) from error
        if not isinstance(found, dict) or set(found) != {"kind", "paid"}:
            raise _Missing(f"the answer is not of the schema: {answer.text[:60]!r}", Remedy.GRAMMAR)
        return answer.text

    def _regex(self) -> str:
        pattern = "[A-C]{3}-[0-9]{4}"
        answer = self._ask(WantText(pattern), "Say a number plate.", max_tokens=16)
        if not re.fullmatch(pattern, answer.text):
            raise _Missing(f"the answer does not match: {answer.text[:60]!r}", Remedy.GRAMMAR)
        return answer.text

    def _choice(self) -> str:
        choices = ("receipt", "invoice", "letter")
        answer = self._ask(WantChoice(choices), "Which kind of document is paid in a shop?")
        total = sum(answer.choice_probs.values())
        if answer.text not in choices or not math.isclose(total, 1, abs_tol=0.01):
            raise _Missing(f"the probabilities of the choices sum to {total:.2f}", Remedy.GRAMMAR)
        return f"{answer.text} ({answer.choice_probs[answer.text]:.2f})"

    def _probabilities(self) -> str:
        steps = self._reply(WantText(), top=TOP).steps
        if not steps:
            raise _Missing("the answer comes without probabilities", Remedy.PROBABILITIES)
        fewest = min(len(step.top) for step in steps)
        if fewest < TOP:
            raise _Missing(f"{fewest} alternatives a token where {TOP} were asked for", Remedy.PROBABILITIES)
        return f"{TOP} alternatives a token"

    def _begun(self) -> str:
        # A turn that is closed and followed by a new one would be several tokens longer than one that goes on.
        longer = self._ask(WantText(), "Say one word.", begun="A", max_tokens=4).usage.prompt - self._text_prompt
        if not 0 < longer <= 2:
            raise _Missing(f"one letter made the prompt {longer} tokens longer", Remedy.NEWER)
        return ""

    def _cached(self) -> str:
        words = "Blocks of a prompt that is asked again need not be computed again. " * 24
        self._reply(WantText(), text=words)
        usage = self._reply(WantText(), text=words).usage
        if not usage.cached:
            if self._said.flags.get("disable_radix_cache"):
                raise _Missing("the prefix cache is turned off", Remedy.CACHE)
            raise _Missing("the same prompt twice: none is said to come from the cache", Remedy.CACHE_REPORT)
        return f"{usage.cached} of {usage.prompt} tokens the second time"

    def _room(self, context: int) -> str:
        if not context:
            raise _Missing("the server does not say how long its context is", Remedy.NEWER)
        pages = (context - CONTEXT_ROOM) // self._page_tokens
        said = f"{max(0, pages)} x {self._page_tokens} tokens for pages, beside {CONTEXT_ROOM} for text and answer"
        if pages < 1:
            raise _Missing(said, Remedy.CONTEXT)
        return said

    def _full_size(self) -> str:
        page = _page(1240, 1754)
        wanted = page_image(page, self._page_tokens).tokens
        answer = self._ask(WantText(), "Say one word.", [page], max_tokens=4)
        taken = answer.usage.prompt - self._text_prompt
        if taken < 0.97 * wanted:
            raise _Missing(f"a page of {wanted} tokens is shrunk to {taken}", Remedy.PIXELS)
        return f"a page of {wanted} tokens is taken as it is"

    def _compact(self) -> str:
        schema = {"type": "object", "properties": {"paid": {"type": "boolean"}}, "required": ["paid"]}
        steps = self._reply(WantJson(schema), text="Answer with indented JSON.", top=TOP, max_tokens=4).steps
        if not steps:
            raise _Missing("cannot be told without probabilities", Remedy.PROBABILITIES)
        # What the grammar forbids has no probability at all. SGLang writes one blank after a colon or a comma; none of
        # the first two tokens reaches that far.
        blanks = {
            token
            for step in steps[:2]
            for token, prob in step.top.items()
            if prob > 1e-30 and re.match(rb"\s|\{\s", token)
        }
        if blanks:
            raise _Missing(
                "blanks and line breaks are allowed, and a model may never stop writing them", Remedy.COMPACT
            )
        return ""

    def _order(self) -> str:
        policy = self._said.flags["schedule_policy"]
        if policy != "lpm":
            raise _Missing(f"requests wait in the order {policy!r}", Remedy.SCHEDULE)
        return "requests with a cached prefix go first"

    # --- asking ------------------------------------------------------------------------------------------------------

    def _request(
        self, want: Want, text: str, pages: list[Page] | None = None, *, begun: str = "", max_tokens: int = 16
    ) -> Request:
        limits = Limits(max_tokens=max_tokens, page_tokens=self._page_tokens, timeout_seconds=self._seconds)
        return Request((Turn("user", (*(pages or ()), text)),), want, begun, limits)

    def _ask(
        self, want: Want, text: str, pages: list[Page] | None = None, *, begun: str = "", max_tokens: int = 16
    ) -> Answer:
        return self._engine.answer(self._request(want, text, pages, begun=begun, max_tokens=max_tokens))

    def _reply(self, want: Want, *, text: str = "Say one word.", top: int = 0, max_tokens: int = 2) -> Any:
        """The server's own reply: an Answer keeps no alternatives, and fails on texts that end too early."""
        request = self._request(want, text, max_tokens=max_tokens)
        body = body_of(request, self._engine.model, self._engine.constraint(want), top=top)
        return reply_of(self._transport.post(PATH, body, self._seconds), self._engine.url)


class _Missing(Exception):
    """An ability is not there; what to do about it."""

    def __init__(self, said: str, remedy: Remedy) -> None:
        super().__init__(said)
        self.remedy = remedy


_REMEDY_OF = {
    "an image": Remedy.VISION,
    "several images": Remedy.IMAGES,
    "JSON schema": Remedy.GRAMMAR,
    "regular expression": Remedy.GRAMMAR,
    "choice": Remedy.GRAMMAR,
    "token probabilities": Remedy.PROBABILITIES,
    "begun answer continued": Remedy.NEWER,
    "cached tokens reported": Remedy.CACHE_REPORT,
    "room for a page": Remedy.CONTEXT,
    "pages in full size": Remedy.CONTEXT,
    "JSON without blanks": Remedy.GRAMMAR,
}


def _page(width: int, height: int, number: int = 1) -> Page:
    """A drawn page, another picture for each number."""

    def draw(page: Page, _side: int | None, _pixels: int | None) -> Any:
        from PIL import Image, ImageDraw

        image = Image.new("RGB", (int(page.width), int(page.height)), "white")
        pen = ImageDraw.Draw(image)
        for row in range(8, int(page.height), 16):
            pen.line((8, row, page.width - 8 - 3 * page.number, row), fill="black", width=2)
        return image

    return Page("0" * 64, number, float(width), float(height), "px", draw)
