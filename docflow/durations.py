"""Times as people type them."""

from __future__ import annotations

import re

from docflow.errors import UsageError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
MOST_SECONDS = 366 * 86400


def read_duration(text: str) -> float:
    """The seconds of ``300``, ``90s``, ``5m``, ``2h``, ``1d`` or ``1h30m``.

    Raises UsageError for what is none of these, for less than a second and for more than 366 days.
    """
    whole = text.strip().lower()
    if not re.fullmatch(r"\d{1,9}|(\d{1,9}[smhd])+", whole, re.ASCII):
        raise UsageError(f"{text!r} is no time", hint="Write seconds, or 90s, 5m, 2h, 1d.")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd]?)", whole))
    if not 1 <= seconds <= MOST_SECONDS:
        raise UsageError(f"{text} is out of range", hint="It may be from 1 second to 366 days.")
    return float(seconds)
