"""How likely a value is right, from what is known of it without asking again."""

from __future__ import annotations

from docflow.extraction.result import Found

UNKNOWN = 0.7
"""What a value counts whose engine says nothing of its own certainty."""

_GROUNDING: dict[Found | None, float] = {
    "exact": 1.0,
    "normalised": 0.97,
    "fuzzy": 0.75,
    "not on the page": 0.25,  # an invention, until shown otherwise
    None: 0.9,  # not looked up
}
_AMBIGUOUS = 0.6


def confidence(own: float | None, found: Found | None, word_score: float | None, *, ambiguous: bool) -> float:
    """The probability, 0 to 1, that a value is right: the engine's own certainty, lowered by each doubt.

    ``word_score`` is the reader's mean score of the words it stands on. The factors are first guesses by judgement,
    to be fitted to labelled documents.
    """
    value = UNKNOWN if own is None else own
    value *= _GROUNDING[found]
    if word_score is not None and found not in (None, "not on the page"):
        value *= 0.5 + 0.5 * word_score
    if ambiguous:
        value *= _AMBIGUOUS
    return round(min(1.0, max(0.0, value)), 4)
