"""What tokens and the time of servers cost, by the prices in the settings."""

from __future__ import annotations

from docflow.engines.base import Usage
from docflow.settings import CostSettings


def is_priced(prices: CostSettings) -> bool:
    """Whether any price is set: without one, nothing is said of money."""
    return any(
        price is not None
        for price in (prices.prompt_million, prices.cached_million, prices.output_million, prices.server_hour)
    )


def money(prices: CostSettings, usage: Usage, seconds: float) -> float | None:
    """The price of some tokens and of the servers for so many seconds of a run; None where no price is set."""
    if not is_priced(prices):
        return None
    prompt = prices.prompt_million or 0.0
    cached = prompt if prices.cached_million is None else prices.cached_million
    tokens = (usage.prompt - usage.cached) * prompt + usage.cached * cached
    tokens += usage.output * (prices.output_million or 0.0)
    return tokens / 1e6 + seconds / 3600 * (prices.server_hour or 0.0) * prices.servers
