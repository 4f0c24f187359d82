"""SGLang as an engine.

What was found with SGLang 0.5.23, and is relied on:

- Log-probabilities are given after the grammar's mask: over the tokens that it allows they sum to 1. So a choice costs
  one constrained chat request, of which the prompt comes from the cache but for its last token. Scoring each choice
  through /generate (``logprob_start_len``) gives the same figures for choices of one token each, but computes two or
  three tokens in a request for each choice, each with the images again; and it scores one way of cutting a choice into
  tokens, where the constrained answer shows them all.
- At temperature 0 an answer repeats exactly. ``seed`` is taken, but above temperature 0 it has an effect only on a
  server with ``--enable-deterministic-inference``.
- Any model's name is answered, by the model that is there; a maximum of tokens beyond the context is refused.
- Cached tokens are told with ``--enable-cache-report`` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docflow.engines.base import Want, WantChoice, WantJson
from docflow.engines.chat import choice_regex, json_constraint
from docflow.engines.server import ServerEngine


class SglangEngine(ServerEngine):
    """``SglangEngine("http://127.0.0.1:30000")``: a server started with ``python -m sglang.launch_server``."""

    name = "sglang"

    def constraint(self, want: Want) -> Mapping[str, Any]:
        return constraint(want)


def constraint(want: Want) -> dict[str, Any]:
    """What is wanted, as fields of SGLang's chat request."""
    if isinstance(want, WantJson):
        return json_constraint(want)
    if isinstance(want, WantChoice):
        return {"regex": choice_regex(want.choices)}
    return {} if want.regex is None else {"regex": want.regex}
