"""Whether a model's answer is JSON, as text or in one code fence; never an error."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_FENCED = re.compile(r"[^`]*```(?:json|JSON)?\s*\n(.*?)\n?\s*```[^`]*", re.DOTALL)
_DEEPEST = 100


def json_in(text: str) -> tuple[bool, Any]:
    """Whether the text is JSON, or holds one code fence with JSON in it, and what that is."""
    candidates = [text.strip()]
    fence = _FENCED.fullmatch(text)
    if fence is not None:
        candidates.append(fence[1].strip())
    for candidate in candidates:
        try:
            found = json.loads(candidate, parse_constant=_refused, parse_float=_finite)
            if _sendable(found):
                return True, found
        except (ValueError, RecursionError):
            continue
    return False, None


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number that no client could read")
    return value


def _sendable(value: Any) -> bool:
    """Whether it can be sent on: no half of a surrogate pair in it, and not so deep that a client would fail on it."""
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # raises UnicodeEncodeError, a ValueError
    level, depth = [value], 0
    while level:
        depth += 1
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
    return depth <= _DEEPEST
