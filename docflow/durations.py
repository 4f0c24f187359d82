"""Times as people type them."""

from __future__ import annotations

import re

from docflow.errors import UsageError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
MOST_SECONDS = 366 * 86400


def read_duration(text: str, most_seconds: float = MOST_SECONDS) -> float:
    """The seconds of ``300``, ``90s``, ``5m``, ``2h``, ``1d`` or ``1h30m``.

    Raises UsageError for what is none of these, for less than a second and for more than ``most_seconds``.
    """
    whole = text.strip().lower()
    if not re.fullmatch(r"\d{1,9}|(\d{1,9}[smhd])+", whole, re.ASCII):
        raise UsageError(f"{text!r} is no time", hint="Write seconds, or 90s, 5m, 2h, 1d.")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd]?)", whole))
    if not 1 <= seconds <= most_seconds:
        most = f"{most_seconds / 86400:,.0f} days"
        raise UsageError(f"{text} is out of range", hint=f"It may be from 1 second to {most}.")
    return float(seconds)


def duration(seconds: float) -> str:
    """A time as a person says it: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
