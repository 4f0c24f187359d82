"""What a run may use: documents, seconds, tokens, money. Reached, it begins no more documents."""

from __future__ import annotations

from docflow.engines.base import Usage
from docflow.errors import ConfigError
from docflow.runs.costs import is_priced, money
from docflow.settings import BudgetSettings, CostSettings


class Budget:
    """Tells which part of a budget is reached. Documents in work are finished: tokens and money may end a little above.

    Raises ConfigError for a budget of money without a price.
    """

    def __init__(self, limits: BudgetSettings, prices: CostSettings) -> None:
        if limits.money is not None and not is_priced(prices):
            raise ConfigError(
                "a budget of money needs prices", hint="Set costs.prompt_million, costs.output_million or such."
            )
        self._limits, self._prices = limits, prices

    def reached(self, begun: int, seconds: float, usage: Usage) -> str:
        """Which budget is reached by documents begun, seconds and tokens so far, in words; "" where none is."""
        limits = self._limits
        if limits.documents is not None and begun >= limits.documents:
            return f"documents ({limits.documents:,})"
        if limits.seconds is not None and seconds >= limits.seconds:
            return f"seconds ({limits.seconds:,g})"
        if limits.tokens is not None and usage.prompt + usage.output >= limits.tokens:
            return f"tokens ({limits.tokens:,})"
        if limits.money is not None and (money(self._prices, usage, seconds) or 0.0) >= limits.money:
            return f"money ({limits.money:,g} {self._prices.currency}".rstrip() + ")"
        return ""
