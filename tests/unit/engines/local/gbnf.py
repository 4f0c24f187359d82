"""A reader of llama.cpp's grammars, for tests: whether a text is one of a grammar's."""

from __future__ import annotations

from dataclasses import dataclass, field

Ends = frozenset[int]


@dataclass(frozen=True)
class Letter:
    ranges: tuple[tuple[int, int], ...]
    negated: bool


@dataclass(frozen=True)
class Name:
    name: str


@dataclass(frozen=True)
class Repeat:
    inner: Node
    least: int
    most: int | None


@dataclass(frozen=True)
class All:
    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Either:
    options: tuple[Node, ...]


Node = Letter | Name | Repeat | All | Either


def accepts(grammar: str, text: str) -> bool:
    rules: dict[str, Node] = {}
    for line in grammar.splitlines():
        name, _, body = line.partition(" ::= ")
        assert name.isalnum()
        assert name not in rules
        reader = _Reader(body)
        rules[name] = reader.options()
        assert reader.at == len(body), f"{body[reader.at :]!r} is left over"
    return len(text) in _Matcher(rules, text).ends(rules["root"], 0)


@dataclass
class _Matcher:
    rules: dict[str, Node]
    text: str
    known: dict[tuple[int, int], Ends] = field(default_factory=dict)

    def ends(self, node: Node, start: int) -> Ends:
        key = (id(node), start)
        if key not in self.known:
            self.known[key] = self.find(node, start)
        return self.known[key]

    def find(self, node: Node, start: int) -> Ends:
        if isinstance(node, Letter):
            if start == len(self.text):
                return frozenset()
            point = ord(self.text[start])
            found = any(low <= point <= high for low, high in node.ranges) != node.negated
            return frozenset({start + 1} if found else ())
        if isinstance(node, Name):
            return self.ends(self.rules[node.name], start)
        if isinstance(node, Either):
            return frozenset(end for option in node.options for end in self.ends(option, start))
        if isinstance(node, All):
            here = frozenset({start})
            for part in node.parts:
                here = frozenset(end for at in here for end in self.ends(part, at))
            return here
        here, found_ends = frozenset({start}), set[int]()
        if node.least == 0:
            found_ends.add(start)
        count = 0
        seen: set[int] = set()
        while here and (node.most is None or count < node.most):
            here = frozenset(end for at in here for end in self.ends(node.inner, at))
            count += 1
            if count >= node.least:
                if node.most is None:
                    here -= seen
                    seen |= here
                found_ends |= here
        return frozenset(found_ends)


class _Reader:
    def __init__(self, body: str) -> None:
        self.body, self.at = body, 0

    def options(self) -> Node:
        found = [self.sequence()]
        while self.peek() == "|":
            self.skip(1)
            found.append(self.sequence())
        return Either(tuple(found))

    def sequence(self) -> Node:
        parts: list[Node] = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self.repeated(self.part()))
        return All(tuple(parts))

    def repeated(self, node: Node) -> Node:
        mark = self.peek()
        if mark == "{":
            end = self.body.index("}", self.at)
            least, comma, most = self.body[self.at + 1 : end].partition(",")
            self.skip(end + 1 - self.at)
            return Repeat(node, int(least), int(most) if most else None if comma else int(least))
        if mark and mark in "*+?":
            self.skip(1)
            return Repeat(node, int(mark == "+"), 1 if mark == "?" else None)
        return node

    def part(self) -> Node:
        mark = self.peek()
        if mark == "(":
            self.skip(1)
            inner = self.options()
            assert self.peek() == ")"
            self.skip(1)
            return inner
        if mark == '"':
            letters: list[Node] = []
            self.at += 1
            while self.body[self.at] != '"':
                point = self.point()
                letters.append(Letter(((point, point),), False))
            self.skip(1)
            return All(tuple(letters))
        if mark == "[":
            self.at += 1
            negated = self.body[self.at] == "^"
            self.at += negated
            ranges: list[tuple[int, int]] = []
            while self.body[self.at] != "]":
                low = high = self.point()
                if self.body[self.at] == "-" and self.body[self.at + 1] != "]":
                    self.at += 1
                    high = self.point()
                ranges.append((low, high))
            self.skip(1)
            return Letter(tuple(ranges), negated)
        start = self.at
        while self.at < len(self.body) and self.body[self.at].isalnum():
            self.at += 1
        assert self.at > start, f"{self.body[start:]!r} is no part of a grammar"
        name = Name(self.body[start : self.at])
        self.skip(0)
        return name

    def point(self) -> int:
        mark = self.body[self.at]
        self.at += 1
        if mark != "\\":
            return ord(mark)
        kind = self.body[self.at]
        self.at += 1
        width = {"x": 2, "u": 4, "U": 8}.get(kind)
        if width is None:
            assert kind in '\\"[]-nrt', f"\\{kind} is no escape of a grammar"
            return ord({"n": "\n", "r": "\r", "t": "\t"}.get(kind, kind))
        self.at += width
        return int(self.body[self.at - width : self.at], 16)

    def peek(self) -> str:
        return self.body[self.at : self.at + 1]

    def skip(self, count: int) -> None:
        """Go on, over blanks as well."""
        self.at += count
        while self.peek() == " ":
            self.at += 1
