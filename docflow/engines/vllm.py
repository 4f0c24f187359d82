"""vLLM as an engine.

What was found with vLLM 0.32.0, and is relied on:

- Log-probabilities are given after the grammar's mask: over the tokens that it allows they sum to 1. So a choice costs
  one constrained chat request, of which the prompt comes from the cache in whole blocks. ``prompt_logprobs`` would
  score a text that is given, but they never use the prefix cache.
- At temperature 0 an answer repeats exactly, and above it with the same ``seed``.
- ``guided_choice`` and its like of older versions are ignored without a word: ``structured_outputs`` took their place.
- Cached tokens are told with ``--enable-prompt-tokens-details`` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from docflow.engines.base import Want, WantChoice, WantJson
from docflow.engines.chat import choice_regex, json_constraint
from docflow.engines.server import ServerEngine


class VllmEngine(ServerEngine):
    """``VllmEngine("http://127.0.0.1:8000")``: a server started with ``vllm serve``."""

    name = "vllm"

    def constraint(self, want: Want) -> Mapping[str, Any]:
        return constraint(want)


def constraint(want: Want) -> dict[str, Any]:
    """What is wanted, as fields of vLLM's chat request."""
    if isinstance(want, WantJson):
        return json_constraint(want)
    if isinstance(want, WantChoice):
        if "" in want.choices:  # a choice that ends here; vLLM takes no empty one in its list
            return {"structured_outputs": {"regex": choice_regex(want.choices)}}
        return {"structured_outputs": {"choice": list(want.choices)}}
    return {} if want.regex is None else {"structured_outputs": {"regex": want.regex}}
