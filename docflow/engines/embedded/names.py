"""Names of the parties that no label announces: the issuer in its letterhead, the recipient over an address."""

from __future__ import annotations

from functools import cached_property

from docflow.engines.embedded.head import Found, Head, block_of
from docflow.engines.embedded.lexicon import lexicon, tokens, words_of
from docflow.engines.embedded.lines import HeadLine, without_number
from docflow.fields.text import fold
from docflow.reading.layout import Cell

_SENDERS = ("issuer", "owner", "employer", "landlord", "laboratory", "insurer")


class Names:
    """Candidates for the names of issuer and recipient."""

    def __init__(self, head: Head) -> None:
        self._head = head

    @cached_property
    def issuers(self) -> list[Found]:
        """Candidates for the issuer's name, the likeliest first."""
        found: list[Found] = []
        cells = self._head.cells
        body = self._head.body_start
        usual = self._head.context.layouts[0].height if self._head.context.layouts else 0.0
        for place, cell in enumerate(cells):
            if cell.noise or cell.contact or cell.registration or cell.title:
                continue
            if cell.labelled and not cell.suffix:
                continue
            score = 1.0 - 0.12 * min(place, 12) + self._look(cells, place)
            if place >= body:
                score -= 0.5
            if usual and cell.line.level(cell.start, cell.end).height > 1.35 * usual:
                score += 0.4
            if self._head.is_announced(cell, "customer", "ship_to"):
                score -= 1.5
            if self._head.is_announced(cell, "owner"):
                score -= 1.6  # whose shop it is by law; its own name stands over it
            elif self._head.is_bare_address(cell) and not self._head.is_repeated(cell):
                score -= 0.7  # a name and an address without telephone or tax number: who the letter goes to
            found.append(self._name(cells, place, score))
        for place, cell in enumerate(self._head.feet):
            if cell.noise or cell.title or (cell.contact and not cell.suffix) or cell.registration or cell.labelled:
                continue
            legal = any(
                one.registration or one.contact or one.address >= 0.7 for one in self._head.feet[place + 1 : place + 3]
            )
            if self._head.is_announced(cell, "owner"):
                continue
            if legal and (cell.suffix or self._head.is_repeated(cell)):
                found.append(self._name(self._head.feet, place, 0.3 + self._look(self._head.feet, place)))
        return sorted(found, key=lambda one: -one.score)

    def _look(self, cells: list[HeadLine], place: int) -> float:
        """How much a cell looks like a company's name, wherever it stands."""
        cell = cells[place]
        score = 1.6 if cell.suffix else 0.0
        score += 0.5 if cell.trade else 0.0
        score += 0.8 if cell.numbered else 0.0
        if cell.address >= 0.7 and not cell.suffix:
            score -= 1.2 if cell.address >= 1.0 else 0.7
        if sum(char.isdigit() for char in cell.text) > 0.3 * len(cell.text):
            score -= 0.8
        follower = cells[place + 1] if place + 1 < len(cells) else None
        if follower is not None and (follower.registration or follower.address >= 0.7):
            score += 0.6
        if cell.text.startswith(("(", "[")):
            score -= 1.0
        if self._head.is_repeated(cell):
            score += 0.9
        if sum(char.isalpha() for char in cell.text) < 5:
            score -= 0.4
        if len(cell.text) > 60 or _is_sentence(cell.text):
            score -= 1.2
        return score

    def _name(self, cells: list[HeadLine], place: int, score: float) -> Found:
        """The name at a cell, with the lines above or below that it goes over."""
        first = last = place
        starts = self._head.reader.suffix_starts
        while last + 1 < len(cells) and last - first < 3 and _goes_on(cells[last], cells[last + 1], starts):
            last += 1
        while first > 0 and last - first < 3 and _goes_on(cells[first - 1], cells[first], starts):
            first -= 1
        taken = cells[first : last + 1]
        if len(taken) > 1 and any(cell.suffix for cell in taken) and not cells[place].suffix:
            score += 1.4
        begin = self._name_begins(taken[0])
        if begin:
            taken = [self._head.reader.span(taken[0].line, begin, taken[0].end), *taken[1:]]
        text = self._without_title(" ".join(cell.text.strip() for cell in taken))
        clean = self._without_place(without_number(text).strip(" .,*-:;_|"), cells[last + 1 : last + 5])
        if clean and text.strip().startswith(clean) and text.strip()[len(clean) : len(clean) + 1] == ".":
            clean += "."
        pieces = []
        left = len(clean)
        for cell in taken:
            length = len(cell.text.strip())
            if left <= 0:
                break
            lead = len(cell.text) - len(cell.text.lstrip())
            start = cell.start + lead
            pieces.append(cell.line.piece(start, start + min(length, left)))
            left -= length + 1
        return Found(clean or text, tuple(pieces), score, tuple(cell.line.number for cell in taken))

    def _name_begins(self, cell: HeadLine) -> int:
        """Where the name begins behind a label ("Sold by: ...") or a title; 0 where nothing stands before it."""
        for label in self._head.labels.get(cell.line.number, ()):
            leads = cell.start <= label.span.start <= cell.start + 3
            if leads and label.marked and max(label.names.get(name, 0.0) for name in _SENDERS) >= 1.0:
                rest = cell.line.text[label.span.end : cell.end]
                return label.span.end + len(rest) - len(rest.lstrip(" :.-"))
        return 0

    def _without_title(self, text: str) -> str:
        """The name without what the document calls itself, where that stands on the same line."""
        words = tokens(text)
        for length in (3, 2, 1):
            if len(words) > length and tuple(word.text for word in words[-length:]) in lexicon().titles:
                return text[: words[-length].start].rstrip(" -:,.")
        return text

    def _without_place(self, name: str, below: list[HeadLine]) -> str:
        """The name up to its suffix, where only the place of the branch follows, which the address says again."""
        end = self._head.reader.suffix_end(name)  # of the last one: "Trading Inc."
        rest = fold(name[end:]).strip(" -,.@")
        if end and rest and any(rest in fold(cell.text) for cell in below if cell.address > 0):
            return name[:end]
        return name

    @cached_property
    def recipients(self) -> list[Found]:
        """Names over an address with nothing else, as in a letter's address window, the likeliest first."""
        found = []
        for place, cell in enumerate(self._head.cells):
            if cell.noise or cell.contact or cell.registration or cell.title or cell.labelled or cell.address >= 0.7:
                continue
            block = block_of(cell)
            top = next(
                (one for one in block.cells if not self._head.is_senders_line(one) and not _is_salutation(one)), None
            )
            if (
                top is not None
                and not self._head.is_repeated(cell)
                and top.line is cell.line.line
                and self._head.in_bare_block(cell)
            ):
                found.append(self._name(self._head.cells, place, 0.7 - 0.01 * place))
        return sorted(found, key=lambda one: -one.score)


def _is_salutation(cell: Cell) -> bool:
    """Whether a cell holds nothing but a form of address: "Frau", "Mr"."""
    return all(word in lexicon().persons for word in words_of(cell.text))


def _is_sentence(text: str) -> bool:
    """Whether most words of a text are small ones."""
    words = [word for word in text.split() if word[0].isalpha()]
    return len(words) >= 5 and sum(word[0].islower() for word in words) > 0.6 * len(words)


def _goes_on(first: HeadLine, second: HeadLine, starts: frozenset[str]) -> bool:
    """Whether a name goes on in the next line: a bracket is open, or the next line is no name of its own."""
    if second.address >= 1.0 or second.contact or second.registration or second.title or first.title:
        return False
    if second.labelled and not (second.suffix and _is_suffix(second, starts)):  # "Enterprise" is also a label
        return False
    if second.line.number - first.line.number > 1:
        return False
    if first.text.count("(") > first.text.count(")") and second.text.count(")") > second.text.count("("):
        return True
    if first.suffix:
        wrapped = _is_suffix(second, starts)  # "House Pte." and "Ltd." on the next line
        return wrapped or (second.line is first.line and _only_suffix(second, starts))
    if first.registration or first.contact or first.labelled or first.noise:
        return False
    if first.address >= 1.0:
        return False
    if first.text.rstrip().endswith(("&", "-", " and", " AND", "+")):
        return True
    return second.suffix and _only_suffix(second, starts)


def _is_suffix(cell: HeadLine, starts: frozenset[str]) -> bool:
    """Whether a line is a suffix and nothing else, of two words at most."""
    words = cell.text.lower().replace(".", " ").split()
    return 0 < len(words) <= 2 and all(word in starts for word in words)


def _only_suffix(cell: HeadLine, starts: frozenset[str]) -> bool:
    """Whether a line begins as no name does: with a suffix, an ampersand, a bracket."""
    words = without_number(cell.text).lower().replace(".", " ").split()
    return bool(words) and (words[0] in starts or words[0][0] in "(&")
