r"""Regular expressions as grammars of llama.cpp (GBNF). Pure.

Not every expression: those that schemas and choices become, and what people write for a field. Characters and escapes,
classes, groups, alternatives, repetition; an anchor at either end, as everything is matched as a whole. Look-around,
back references and lazy repetition have no place in a grammar, and raise SchemaError.
"""

from __future__ import annotations

from dataclasses import dataclass

from docflow.errors import SchemaError

MOST_REPEATS = 500
_MOST_RULES = 1900
"""llama.cpp writes a bounded repetition out, and what is repeated may not become more than 2,000 rules."""
_MOST_DEPTH = 100
_LAST = 0x10FFFF
_CLASSES = {
    "d": ((0x30, 0x39),),
    "w": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    "s": ((0x09, 0x0D), (0x20, 0x20)),
}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


def regex_grammar(pattern: str) -> str:
    """The grammar whose texts are those that the expression matches as a whole. Raises SchemaError."""
    return f"root ::= {_Parser(pattern).whole().text}\n"


def literal(text: str) -> str:
    """A text as a grammar's literal."""
    return '"' + "".join(_in_literal(letter) for letter in text) + '"'


def _in_literal(letter: str) -> str:
    return "\\" + letter if letter in '"\\' else letter if _shows(ord(letter)) else _code(ord(letter))


def _code(point: int) -> str:
    return f"\\x{point:02X}" if point < 0x100 else f"\\u{point:04X}" if point < 0x10000 else f"\\U{point:08X}"


def _shows(point: int) -> bool:
    return 0x20 <= point < 0x7F


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a grammar, whether it may match nothing, and how many rules llama.cpp makes of it."""

    text: str
    empty: bool
    rules: int = 0


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0

    def whole(self) -> _Piece:
        if self.next() == "^":
            self.at += 1
        found = self.alternatives(0)
        if self.at < len(self.pattern):
            raise self.refused("a bracket is closed that was not opened")
        return found

    def alternatives(self, depth: int) -> _Piece:
        if depth > _MOST_DEPTH:
            raise self.refused(f"it is nested more than {_MOST_DEPTH} levels deep")
        found = [self.sequence(depth)]
        while self.next() == "|":
            self.at += 1
            found.append(self.sequence(depth))
        text = " | ".join(piece.text or '""' for piece in found)
        return _Piece(text, any(piece.empty for piece in found), sum(piece.rules for piece in found))

    def sequence(self, depth: int) -> _Piece:
        pieces: list[_Piece] = []
        run = ""  # letters that stand side by side are one literal
        while self.next() not in ("", "|", ")"):
            if self.next() == "$" and self.at + 1 == len(self.pattern):
                self.at += 1
                break
            letter, atom = self.atom(depth)
            if letter and self.next() not in ("*", "+", "?", "{"):
                run += letter
                continue
            if run:
                pieces.append(_Piece(literal(run), False))
                run = ""
            pieces.append(self.repeated(atom))
        if run:
            pieces.append(_Piece(literal(run), False))
        return _Piece(
            " ".join(piece.text for piece in pieces),
            all(piece.empty for piece in pieces),
            sum(piece.rules for piece in pieces),
        )

    def repeated(self, atom: _Piece) -> _Piece:
        mark = self.next()
        if mark not in ("*", "+", "?", "{"):
            return atom
        self.at += 1
        least, most = (0, None) if mark == "*" else (1, None) if mark == "+" else (0, 1)
        if mark == "{":
            least, most = self.bounds()
        if self.next() in ("*", "+", "?", "{"):
            raise self.refused("what is repeated is repeated again")
        if least == 0 and most == 0:
            return _Piece('""', True)
        if atom.empty and most is None:
            raise self.refused("it repeats what may be empty")
        times = max(least, most or 0, 1)
        if times > MOST_REPEATS or times * max(1, atom.rules) > _MOST_RULES:
            raise self.refused(f"it asks for more than {MOST_REPEATS} repetitions, or for those of too much")
        if mark == "{":
            mark = f"{{{least}}}" if most == least else f"{{{least},{'' if most is None else most}}}"
        made = 1 if most is None else most - least
        return _Piece(f"{atom.text}{mark}", atom.empty or least == 0, atom.rules + made)

    def bounds(self) -> tuple[int, int | None]:
        end = self.pattern.find("}", self.at)
        least, comma, most = self.pattern[self.at : max(end, 0)].partition(",")
        digits = (least + most).isascii() and (least or "0").isdigit() and (most or "0").isdigit()
        if end < 0 or not digits or not (least or most) or len(least + most) > 8 or not (least or comma):
            raise self.refused("a number of repetitions cannot be read")
        self.at = end + 1
        low = int(least or 0)
        high = (int(most) if most else None) if comma else low
        if high is not None and high < low:
            raise self.refused("a number of repetitions cannot be read")
        return low, high

    def atom(self, depth: int) -> tuple[str, _Piece]:
        """The next part: the letter it stands for ("" for anything else), and it as a piece."""
        mark = self.take()
        if mark == "(":
            if self.next() == "?":
                if self.pattern[self.at : self.at + 2] != "?:":
                    raise self.refused("it looks around, or names a group")
                self.at += 2
            inner = self.alternatives(depth + 1)
            if self.next() != ")":
                raise self.refused("a bracket is not closed")
            self.at += 1
            return "", _Piece(f"({inner.text})", inner.empty, inner.rules + 1)
        if mark == "[":
            return "", _Piece(self.members(), False)
        if mark == ".":
            return "", _Piece("[^\\n]", False)
        if mark == "\\":
            kind = self.next()
            if kind.lower() in _CLASSES:
                self.at += 1
                return "", _Piece(_class(_CLASSES[kind.lower()], negated=kind.isupper()), False)
            mark = self.escaped()
        elif mark in "*+?{^$":
            raise self.refused(f"a {mark} stands where it says nothing")
        return mark, _Piece(literal(mark), False)

    def members(self) -> str:
        """A class in square brackets, whose opening one has been read."""
        negated = self.next() == "^"
        self.at += negated
        found: list[tuple[int, int]] = []
        first = True
        while first or self.next() != "]":
            first = False
            low = self.member(found)
            if low is None:
                continue
            high = low
            if self.next() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                upper = self.member([])
                if upper is None or upper < low:
                    raise self.refused("a range of characters ends before it begins")
                high = upper
            found.append((low, high))
        self.at += 1
        return _class(tuple(found), negated=negated)

    def member(self, found: list[tuple[int, int]]) -> int | None:
        """One character of a class; None where it was a class itself, which is put in ``found``."""
        mark = self.take()
        if mark != "\\":
            return ord(mark)
        kind = self.next()
        if kind in _CLASSES:
            self.at += 1
            found += _CLASSES[kind]
            return None
        if kind.lower() in _CLASSES:
            raise self.refused(f"\\{kind} stands in a class")
        return ord(self.escaped())

    def escaped(self) -> str:
        """The character of an escape, whose backslash has been read."""
        kind = self.take()
        if kind in _HEX_DIGITS:
            digits = self.pattern[self.at : self.at + _HEX_DIGITS[kind]]
            try:
                point = int(digits, 16) if digits.isalnum() and len(digits) == _HEX_DIGITS[kind] else -1
            except ValueError:
                point = -1
            if not 0 <= point <= _LAST or 0xD800 <= point <= 0xDFFF:
                raise self.refused("the code of a character cannot be read")
            self.at += len(digits)
            return chr(point)
        if kind in _CONTROLS:
            return _CONTROLS[kind]
        if kind.isalnum():
            raise self.refused(f"\\{kind} is not known")
        return kind

    def next(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self) -> str:
        found = self.next()
        if not found:
            raise self.refused("it ends in the middle")
        if 0xD800 <= ord(found) <= 0xDFFF:
            raise self.refused("it holds half a character")
        self.at += 1
        return found

    def refused(self, what: str) -> SchemaError:
        return SchemaError(
            f"the regular expression {self.pattern[:80]!r} cannot be asked for of llama.cpp: {what} (at {self.at})",
            hint="Characters, classes, groups, alternatives and bounded repetition can.",
        )


def _class(ranges: tuple[tuple[int, int], ...], *, negated: bool = False) -> str:
    if not ranges:  # cannot be written in an expression; [^] of a grammar would match anything
        raise AssertionError("a class of characters holds none")
    text = "".join(_in_class(low) if low == high else f"{_in_class(low)}-{_in_class(high)}" for low, high in ranges)
    return f"[{'^' if negated else ''}{text}]"


def _in_class(point: int) -> str:
    return _code(point) if chr(point) in '\\[]^-"' or not _shows(point) else chr(point)
