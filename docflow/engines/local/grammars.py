"""Answers held to a form: at each token a mask of those that may follow, by llguidance.

It was chosen over xgrammar, outlines-core and lm-format-enforcer: it brings no other package, builds masks as they are
needed (nothing is compiled beforehand, so a form costs nothing that is used once), bounds what a hostile pattern may
cost, and knows JSON schemas and regular expressions alike. Its own mask on tensors wants a C++ compiler: the mask comes
as bytes here, and is applied by whoever has the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from docflow.engines.local.model import Form, JsonForm
from docflow.errors import BadAnswer, BrokenModel, EngineRefused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

END = b"</s>"
"""How every token that ends an answer is told, whatever the model calls it."""


class Grammars:
    """What a model's tokens are, and the grammars over them. Safe to share among threads."""

    def __init__(self, tokenizer: Any, size: int, ends: Collection[int]) -> None:
        """``size`` is how many tokens the model gives numbers for, ``ends`` are those that end an answer.

        Raises BrokenModel for a tokenizer that is none of the fast ones.
        """
        from llguidance.hf import from_tokenizer

        try:
            self._tokens: Any = from_tokenizer(tokenizer, n_vocab=size, eos_token=sorted(ends))
        except ValueError as error:
            raise BrokenModel(
                f"the model's tokenizer cannot be used: {error}", hint="A tokenizer.json is needed beside the model."
            ) from error
        self.size = size
        self.ends = frozenset(ends)
        self._bytes: dict[int, bytes] = dict.fromkeys(self.ends, END)

    def token_bytes(self, token: int) -> bytes:
        """What a token writes; nothing for those that stand for no text."""
        found = self._bytes.get(token)
        if found is None:
            special = token >= self._tokens.vocab_size or self._tokens.is_special_token(token)
            found = self._bytes[token] = b"" if special else bytes(self._tokens.decode_bytes([token]))
        return found

    def held_to(self, form: Form) -> Held:
        """The state of one answer that is held to a form. Raises EngineRefused for one that cannot be held to."""
        from llguidance import LLMatcher

        if isinstance(form, JsonForm):
            grammar = LLMatcher.grammar_from_json_schema(
                json.dumps(form.schema), overrides={"whitespace_flexible": False}
            )
        else:
            grammar = LLMatcher.grammar_from_regex(form.pattern)
        matcher = LLMatcher(self._tokens, grammar, log_level=0)
        if matcher.is_error():
            what = "schema" if isinstance(form, JsonForm) else "regular expression"
            raise EngineRefused(f"the {what} cannot be made a grammar: {_first_line(matcher.get_error())}")
        return Held(matcher, self.size)


class Held:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: Any, size: int) -> None:
        self._matcher, self._size = matcher, size

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may follow. Raises BadAnswer where the grammar got too large to go on."""
        import numpy as np

        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        allowed = np.zeros(self._size, dtype=np.bool_)
        found = np.unpackbits(bits, bitorder="little")[: self._size]
        allowed[: len(found)] = found
        return allowed

    def take(self, token: int) -> None:
        """Go on with a token. Raises BadAnswer for one that was not allowed."""
        self._matcher.consume_token(token)
        self._check()

    @property
    def ended(self) -> bool:
        """Whether nothing can follow any more."""
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise BadAnswer(f"the answer left its grammar: {_first_line(self._matcher.get_error())}")


def _first_line(said: str) -> str:
    return said.strip().partition("\n")[0][:200]
