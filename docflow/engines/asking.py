"""How a Request is put to a model that writes text: what servers and models in this process have in common.

The model is asked through a function that takes a Request and says how many alternatives are told for each token, and
gives a Reply. A choice takes a few such questions, JSON one or two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from docflow.engines.base import Answer, Request, TokenProb, Usage, WantChoice, WantJson, WantText
from docflow.engines.chat import Reply, answer_of
from docflow.engines.choosing import Choosing, tokens_to_tell
from docflow.engines.wire import wire_regex
from docflow.errors import BadAnswer

TOP = 20
"""Alternatives reported for each token of a choice: the most that vLLM gives unless it is told otherwise."""
_MOST_BLANKS = 32
"""More white space than this at the end of an answer that was cut off is all that would have come."""

Ask = Callable[[Request, int], Reply]
"""Puts one request to the model; the number is how many alternatives are told for each token."""


class Asking:
    """Puts requests to one model, and knows what was seen of it. Safe to share among threads."""

    def __init__(self, engine: str) -> None:
        """``engine`` is the kind of engine, as answers name it."""
        self._engine = engine
        self._blanks_seen = False

    def answer(self, request: Request, ask: Ask, *, model: str, shown: str) -> Answer:
        """The Answer to a request; ``shown`` names who answers in errors. Raises BadAnswer, and what ``ask`` raises."""
        if isinstance(request.want, WantChoice):
            return self._choose(request, request.want, ask, model, shown)
        if isinstance(request.want, WantJson):
            reply = self._ask_for_json(request, request.want, ask)
        else:
            reply = ask(request, 0)
        return answer_of(reply, request, engine=self._engine, model=model, shown=shown)

    def _ask_for_json(self, request: Request, want: WantJson, ask: Ask) -> Reply:
        """JSON, by its schema until the model was seen to fill an answer with the white space that a schema allows."""
        spent = Usage()
        if not self._blanks_seen:
            reply = ask(request, 0)
            if reply.stop != "length" or len(reply.text) - len(reply.text.rstrip()) < _MOST_BLANKS:
                return reply
            self._blanks_seen = True
            spent = reply.usage
        reply = ask(replace(request, want=WantText(wire_regex(want.schema))), 0)
        return replace(reply, usage=spent + reply.usage)

    def _choose(self, request: Request, want: WantChoice, ask: Ask, model: str, shown: str) -> Answer:
        choosing = Choosing(tuple(dict.fromkeys(want.choices)))
        usage = Usage()
        while (asked := choosing.question()) is not None:
            beginning, endings = asked
            limits = replace(request.limits, temperature=0.0, stop=(), max_tokens=tokens_to_tell(endings))
            question = replace(request, want=WantChoice(endings), begun=request.begun + beginning, limits=limits)
            reply = ask(question, TOP)
            usage += reply.usage
            if not reply.steps:
                raise BadAnswer(f"{shown} gave no probabilities for its choice")
            choosing.learn(beginning, reply.steps)
        probs = choosing.probs()
        text = max(probs, key=probs.__getitem__)
        return Answer(
            text,
            tokens=(TokenProb(text, probs[text]),),
            choice_probs=probs,
            usage=usage,
            engine=self._engine,
            model=model,
        )
