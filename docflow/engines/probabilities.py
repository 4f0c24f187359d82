"""Token probabilities -> how sure a model was of each leaf of its JSON answer.

A leaf's confidence is the joint probability of the tokens of its value: their product. It is the probability with which
the model would write exactly this value again, which is what an exact match asks for; a geometric mean forgives a long
value its one doubtful character. That long values come out lower is true to that, and calibration fits the rest. Keys,
quotes and punctuation say nothing of the value and do not count; a token that holds a quote and part of the value does.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

from docflow.engines.base import LeafHint, TokenProb

Keys = tuple[str | int, ...]
Span = tuple[int, int]

_MOST_DEPTH = 100
_OPENING = re.compile(r"\s*(?:```(?:json)?\s*)?")
_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(r"-?(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|Infinity)|NaN|true|false|null")
_SCALAR_GOES_ON = re.compile(r"[\w.+-]")
_SPECIAL = re.compile(r"<[|｜][^<>\n]{1,40}[|｜]>|</?s>")
_BROKEN = "\ufffd"


def hints_of(text: str, tokens: Sequence[TokenProb]) -> dict[str, LeafHint]:
    """The confidence of each leaf of a JSON text, by path as in ``items[3].price``.

    ``tokens`` are the pieces in which the text was written. Special tokens at their end, white space around the text, a
    beginning of the text that was given and not written, and characters split among tokens are allowed for. Of JSON
    that is cut off the leaves before the cut are given. Nothing is given where text and tokens do not fit.
    """
    spans = _spans(text, tokens)
    if spans is None:
        return {}
    starts = [start for start, _ in spans]
    reach: list[int] = []  # how far the tokens up to this one reach
    for _, end in spans:
        reach.append(max(end, reach[-1]) if reach else end)
    hints: dict[str, LeafHint] = {}
    doubled: set[str] = set()
    for keys, (start, end) in leaf_spans(text).items():
        path = _path_of(keys)
        if path in hints:
            doubled.add(path)
        first, last = bisect_right(reach, start), bisect_right(starts, end - 1)
        if first == last or starts[first] > start or reach[last - 1] < end:
            continue  # not written by the model, or not all of it
        hints[path] = LeafHint(confidence=_joint(tokens[first:last]))
    for path in doubled:  # {"a.b": 1, "a": {"b": 2}}: nobody can tell whose hint it is
        del hints[path]
    return {path: hint for path, hint in hints.items() if hint.confidence is not None}


def _joint(tokens: Sequence[TokenProb]) -> float | None:
    joint = math.prod(min(1.0, max(0.0, token.prob)) for token in tokens)
    return None if math.isnan(joint) or any(math.isnan(token.prob) for token in tokens) else joint


def _path_of(keys: Keys) -> str:
    path = ""
    for key in keys:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
    return path


# --- where the tokens stand in the text ---------------------------------------------------------------------------


def _spans(text: str, tokens: Sequence[TokenProb]) -> list[Span] | None:
    """Where each token stands in the text, in order; None when they do not fit.

    A token without text, as of a character's first bytes, stands where the next one does.
    """
    pieces = [token.text for token in tokens]
    for ends in (range(len(pieces)), range(len(pieces) - 1, -1, -1)):
        for number in ends:
            if pieces[number] and not _SPECIAL.fullmatch(pieces[number].strip()):
                break
            pieces[number] = ""
    written = "".join(pieces)
    places = _places_around_broken(text, written) if _BROKEN in written else _places(text, written)
    if places is None:
        return None
    spans: list[Span] = []
    at = 0
    for piece in pieces:
        spans.append((places[at][0], places[at + len(piece) - 1][1] if piece else places[at][0]))
        at += len(piece)
    for number in range(len(spans) - 2, -1, -1):
        if not pieces[number]:
            spans[number] = spans[number + 1]
    return spans


def _places(text: str, written: str) -> list[Span] | None:
    """For each character that was written, and their end, the place in the text."""
    if text.endswith(written):  # the same, or what is missing was given to the model
        begun = len(text) - len(written)
        return [(begun + at, begun + at + 1) for at in range(len(written) + 1)]
    for skipped in {0, len(written) - len(written.lstrip())}:
        if written.startswith(text, skipped) and not written[skipped + len(text) :].strip():
            bounds = [min(max(0, at - skipped), len(text)) for at in range(len(written) + 2)]
            return list(pairwise(bounds))
    return None


def _places_around_broken(text: str, written: str) -> list[Span] | None:
    """The same where bytes of a character went into several tokens, each of which shows as a replacement mark.

    A run of marks stands for characters beyond ASCII, at most as many as there are marks.
    """
    places: list[Span] = []
    here = 0
    pieces = [piece for piece in re.split(f"({_BROKEN}+)", written) if piece]
    for piece, following in zip(pieces, [*pieces[1:], ""], strict=True):
        if not piece.startswith(_BROKEN):
            if not text.startswith(piece, here):
                return None
            places += [(here + at, here + at + 1) for at in range(len(piece))]
            here += len(piece)
            continue
        end = here
        while end - here <= len(piece) and not (text.startswith(following, end) and (following or end == len(text))):
            if text[end : end + 1].isascii():  # the end of the text too
                return None
            end += 1
        if end - here > len(piece):
            return None
        places += [(here, end)] * len(piece)
        here = end
    places.append((here, here))
    return places if here == len(text) else None


# --- where the leaves stand in the text ---------------------------------------------------------------------------


class _End(Exception):
    """The text ends here, or is no JSON from here on."""


def leaf_spans(text: str) -> dict[Keys, Span]:
    """Where the value of each leaf stands: within its quotes for a string (the quotes too for an empty one)."""
    scan = _Scan(text)
    opening = _OPENING.match(text)
    assert opening is not None
    scan.at = opening.end()
    with suppress(_End):
        scan.value((), 0)
    return scan.found


@dataclass(slots=True)
class _Scan:
    text: str
    at: int = 0
    found: dict[Keys, Span] = field(default_factory=dict)

    def value(self, keys: Keys, depth: int) -> None:
        if depth > _MOST_DEPTH:
            raise _End
        match self.peek():
            case "{":
                self.at += 1
                self.members(keys, depth)
            case "[":
                self.at += 1
                self.items(keys, depth)
            case '"':
                start, end = self.string()
                self.found[keys] = (start + 1, end - 1) if end - start > 2 else (start, end)
            case _:
                scalar = _SCALAR.match(self.text, self.at)
                # At the end of the text a number may have been cut off; a whole answer ends with a brace.
                if scalar is None or scalar.end() == len(self.text) or _SCALAR_GOES_ON.match(self.text, scalar.end()):
                    raise _End
                self.at = scalar.end()
                self.found[keys] = scalar.span()

    def members(self, keys: Keys, depth: int) -> None:
        seen: set[str] = set()
        more = self.peek() != "}"
        while more:
            if self.peek() != '"':
                raise _End
            start, end = self.string()
            try:
                key = json.loads(self.text[start:end], strict=False)
            except ValueError:
                raise _End from None
            if key in seen:  # the last one counts
                below = (*keys, key)
                self.found = {other: span for other, span in self.found.items() if other[: len(below)] != below}
            seen.add(key)
            self.expect(":")
            self.value((*keys, key), depth + 1)
            more = self.peek() == ","
            self.at += more
        self.expect("}")

    def items(self, keys: Keys, depth: int) -> None:
        index = 0
        more = self.peek() != "]"
        while more:
            self.value((*keys, index), depth + 1)
            index += 1
            more = self.peek() == ","
            self.at += more
        self.expect("]")

    def string(self) -> Span:
        found = _STRING.match(self.text, self.at)
        if found is None:
            raise _End
        self.at = found.end()
        return found.span()

    def peek(self) -> str:
        """The next character that is no white space; an empty text at the end."""
        space = _SPACE.match(self.text, self.at)
        assert space is not None
        self.at = space.end()
        return self.text[self.at : self.at + 1]

    def expect(self, mark: str) -> None:
        if self.peek() != mark:
            raise _End
        self.at += 1
