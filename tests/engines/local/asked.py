"""What every model in process is asked through the engine, and what came of it: facts that tests look at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from docflow.engines.abandoning import Abandoned, Call
from docflow.engines.base import Limits, Request, Turn, WantChoice, WantJson, WantText
from docflow.engines.chat import Reply
from docflow.engines.local.engine import LocalEngine
from docflow.engines.local.model import Form, JsonForm, LocalModel, Message, ModelConfig, Sampling
from docflow.engines.wire import wire_schema
from docflow.errors import DocflowError
from docflow.loading import load_program, names
from tests.unit.pages import page_of

PAGE = page_of(["ACME Market", "Total 12.50", "2024-03-12"])
LIMITS = Limits(max_tokens=24, page_tokens=64, timeout_seconds=400)
CHOICES = ("receipt", "invoice", "order form")
BEFORE = (Turn("system", ("You read documents.",)),)


class Watched:
    """A backend whose model keeps every reply that it gave."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.name = inner, inner.name
        self.replies: list[Reply] = []
        self.began = threading.Event()
        self.model: Any = None

    def missing(self) -> str:
        return str(self.inner.missing())

    def memory_needed(self, config: ModelConfig) -> int:
        return int(self.inner.memory_needed(config))

    def load(self, config: ModelConfig) -> LocalModel:
        self.model = self.inner.load(config)
        return WatchedModel(self)


class WatchedModel:
    def __init__(self, backend: Watched) -> None:
        self._all = backend
        self._model = backend.model
        self.backend, self.name, self.context = self._model.backend, self._model.name, self._model.context
        self.complete, self.embed, self.close = self._model.complete, self._model.embed, self._model.close

    def chat(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        form: Form | None = None,
        begun: str = "",
        on_text: Callable[[str], bool] | None = None,
    ) -> Reply:
        def told(piece: str) -> bool:
            if piece:
                self._all.began.set()
            return on_text is None or on_text(piece)

        reply: Reply = self._model.chat(messages, sampling, form=form, begun=begun, on_text=told)
        self._all.replies.append(reply)
        return reply


def request_of(*parts: Any, want: Any = WantText(), begun: str = "", **limits: Any) -> Request:  # noqa: B008
    from dataclasses import replace

    return Request((*BEFORE, Turn("user", parts)), want, begun, replace(LIMITS, **limits))


def facts(backend: Any, config: ModelConfig) -> tuple[dict[str, Any], LocalEngine, Any]:
    """What came of it, the engine, and the model itself."""
    watched = Watched(backend)
    engine = LocalEngine(watched, config)
    found: dict[str, Any] = {"needed": backend.memory_needed(config)}
    found["health"] = load_at_once(engine)
    found["loaded"] = (engine.name, engine.model, watched.model.name, watched.model.context)
    model = watched.model
    found["records"] = {name: record(engine, model, name) for name in names() if load_program(name).model is not None}
    found["choice"] = choice(engine)
    found["writing"] = writing(model)
    found["together"] = together(engine)
    found["abandoned"] = abandoned(engine, watched)
    found["errors"] = {
        "too long": error_of(lambda: engine.answer(request_of("word " * 40_000))),
        "no grammar": error_of(lambda: engine.answer(request_of("x", want=WantText(r"(a")))),
        "no time": error_of(lambda: engine.answer(request_of(PAGE, "x", max_tokens=3000, timeout_seconds=0.001))),
        "embed": error_of(lambda: model.embed(["a"])),
    }
    found["after errors"] = engine.answer(request_of("word")).text
    return found, engine, model


def load_at_once(engine: LocalEngine) -> list[Any]:
    """The health as several threads saw it that asked for it first, at once."""
    seen: list[Any] = []
    threads = [threading.Thread(target=lambda: seen.append(engine.health())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [[health.ok, health.model, health.detail] for health in seen]


def record(engine: LocalEngine, model: Any, name: str) -> dict[str, Any]:
    """A program's schema as it is sent, cut off by its budget, and with short texts, which end."""
    schema = load_program(name).schema
    asked = request_of(PAGE, "Read this.", want=WantJson(schema), max_tokens=48)
    answer = engine.answer(asked)
    short = shortened(wire_schema(schema))
    messages = [Message("user", ("Read this.",))]
    whole = model.chat(messages, Sampling(max_tokens=1500), form=JsonForm(short))
    return {
        "text": answer.text,
        "stop": answer.stop,
        "tokens": "".join(token.text for token in answer.tokens),
        "hints": sorted(answer.hints),
        "usage": [answer.usage.prompt, answer.usage.output, answer.usage.calls],
        "short": short,
        "whole": whole.text,
        "whole stop": whole.stop,
    }


def shortened(schema: Any) -> Any:
    """A schema whose texts and numbers are among a few, and whose lists have one item."""
    if isinstance(schema, dict):
        if "anyOf" in schema:
            return {"anyOf": [shortened(option) for option in schema["anyOf"]]}
        if "properties" in schema:
            return {**schema, "properties": {key: shortened(one) for key, one in schema["properties"].items()}}
        if "items" in schema:
            return {**schema, "items": shortened(schema["items"]), "minItems": 1, "maxItems": 1}
        types = schema.get("type", ())
        if "string" in types or "number" in types or "integer" in types:
            return {"enum": ["", "12.50", "ACME", None]}
    return schema


def choice(engine: LocalEngine) -> dict[str, Any]:
    answer = engine.answer(request_of(PAGE, "What is this?", want=WantChoice(CHOICES)))
    alike = engine.answer(request_of("What is this?", want=WantChoice(("rec", "receipt", "recibo", "reçu"))))
    again = engine.answer(request_of(PAGE, "What is this?", want=WantChoice(CHOICES), begun="It is a "))
    return {
        "text": answer.text,
        "probs": answer.choice_probs,
        "alike": alike.choice_probs,
        "alike text": alike.text,
        "begun": again.choice_probs,
    }


def writing(model: Any) -> dict[str, Any]:
    """Streams, stops, seeds and what was begun, of the model itself."""
    asked = [Message("user", ("Write <|im_end|> something.",))]
    pieces: list[str] = []
    whole = model.chat(asked, Sampling(max_tokens=24, top=3), on_text=kept_in(pieces))
    stop = whole.text[6:9]
    shown: list[str] = []
    cut = model.chat(asked, Sampling(max_tokens=24, stop=(stop,)), on_text=kept_in(shown))
    chance = [model.chat(asked, Sampling(max_tokens=12, temperature=1.0, seed=seed)).text for seed in (1, 1, 2)]
    bounded = model.chat(asked, Sampling(max_tokens=12, temperature=2.0, top_k=1, seed=3)).text
    ended = model.chat(asked, Sampling(max_tokens=2000), on_text=lambda piece: not piece)
    begun = model.chat(asked, Sampling(max_tokens=8), begun="Once upon")
    return {
        "text": whole.text,
        "pieces": "".join(pieces),
        "stop reason": whole.stop,
        "steps": len(whole.steps),
        "tops": [[len(step.top), sum(step.top.values()), step.token in step.top] for step in whole.steps],
        "stop": stop,
        "cut": cut.text,
        "cut reason": cut.stop,
        "shown": "".join(shown),
        "chance": chance,
        "bounded": bounded,
        "ended": [ended.stop, len(ended.steps)],
        "begun": [begun.text, model.chat(asked, Sampling(max_tokens=8)).text],
        "completed": model.complete("one two", Sampling(max_tokens=6)).stop,
    }


def kept_in(pieces: list[str]) -> Callable[[str], bool]:
    """A listener that keeps what it hears, and wants more."""

    def listen(piece: str) -> bool:
        pieces.append(piece)
        return True

    return listen


def together(engine: LocalEngine) -> list[list[str]]:
    """What requests of all kinds are answered alone, and at once."""
    asked = [request_of(f"Question {number}? " + "word " * 9 * number) for number in range(4)]
    asked += [request_of(PAGE, f"Question {number}?", want=WantText("[a-z ]{4,40}")) for number in range(3)]
    asked += [request_of(PAGE, PAGE, "Both?", temperature=0.8, seed=5), request_of("x", max_tokens=3)]
    alone = [engine.answer(one).text for one in asked]
    found = [""] * len(asked)

    def ask(number: int) -> None:
        found[number] = engine.answer(asked[number]).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [alone, found]


def abandoned(engine: LocalEngine, watched: Watched) -> dict[str, Any]:
    """A long request that is given up once it has begun, and one after it."""
    watched.replies.clear()
    watched.began.clear()
    call = Call()
    raised: list[str] = []

    def ask() -> None:
        with call:
            try:
                engine.answer(request_of("Go on and on.", max_tokens=3000))
            except Abandoned as error:
                raised.append(type(error).__name__)

    thread = threading.Thread(target=ask)
    thread.start()
    watched.began.wait(300)
    call.abandon()
    thread.join()
    after = engine.answer(request_of("word", max_tokens=4)).stop
    return {"raised": raised, "after": after, "replies": [[one.stop, len(one.steps)] for one in watched.replies]}


def error_of(work: Callable[[], object]) -> list[str]:
    """What was raised: its kind, message and hint."""
    try:
        work()
    except DocflowError as error:
        return [type(error).__name__, error.message, error.hint]
    return []
