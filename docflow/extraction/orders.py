"""Text on a page that speaks to whoever reads it by machine, not to people: orders, answers to copy, template marks.

No value is looked up in such a line: what an engine was told to answer there does not count as printed on the page.
The patterns are narrow; a real line that is taken for an order costs confidence, and no value.
"""

from __future__ import annotations

import re
import unicodedata

_IGNORE = r"(?:ignore|disregard|forget|override|ignoriere\w*|vergiss|ignorez|oublie[zr]?|ignora\w*|olvida|negeer)"
_BEFORE = (
    r"(?:above|previous|prior|preceding|earlier|instructions?|prompts?|obige\w*|vorherige\w*|anweisung\w*|"
    r"pr[ée]c[ée]dent\w*|consignes?|anterior\w*|instrucciones|istruzioni|precedent\w*|bovenstaande|instructies)"
)
_ORDER = re.compile(
    rf"\b{_IGNORE}\b.{{0,40}}\b{_BEFORE}\b"
    r"|^\W*(?:system|assistant|developer)\s*:"
    r"|<\|\s*\w+\s*\|>|\[/?inst\]|<</?sys>>|#{2,}\s*(?:assistant|system|instruction)"
    r'|\{\s*"\w+"\s*:',
    re.IGNORECASE,
)


def is_order(line: str) -> bool:
    """Whether a line of a page speaks to the machine that reads it."""
    text = unicodedata.normalize("NFKC", line[:2_000])
    return bool(_ORDER.search("".join(char for char in text if unicodedata.category(char) != "Cf")))
