"""Who the document is from and where they are: the name and address at the head of the page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from docflow.engines.base import Piece
from docflow.engines.embedded.context import Context, PrintedLine
from docflow.engines.embedded.labels import Label
from docflow.engines.embedded.lexicon import lexicon, tokens
from docflow.engines.embedded.lines import HeadLine, LineReader, without_number
from docflow.fields.text import fold
from docflow.reading.layout import Cell

_SENDERS = ("issuer", "owner", "employer", "landlord", "laboratory", "insurer")
_HEAD_LINES = 14
"""How far down a letterhead may reach, in lines."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value made of one or several lines, with its places and how plausible it is."""

    text: str
    pieces: tuple[Piece, ...]
    score: float
    lines: tuple[int, ...] = ()


class Head:
    """The letterhead of the first page: candidates for the issuer's name and address."""

    def __init__(self, context: Context, labels: Mapping[int, list[Label]]) -> None:
        self._context = context
        self._labels = labels
        self.reader = LineReader(context, dict(labels))

    @cached_property
    def cells(self) -> list[HeadLine]:
        """The cells of the head, in reading order, up to where the body of the document begins."""
        if not self._context.layouts:
            return []
        page = self._context.layouts[0].page.number
        found: list[HeadLine] = []
        for line in self._context.printed[: _HEAD_LINES + 8]:
            if line.line.page != page:
                break
            if len(line.cells) > 3 and found:
                break  # the head of a table
            found += self._of_line(line)
        return _by_block(found)

    @cached_property
    def feet(self) -> list[HeadLine]:
        """The cells at the foot of the first page, where businesses print who they are by law."""
        if not self._context.layouts:
            return []
        layout = self._context.layouts[0]
        seen = {cell.line.number for cell in self.cells}
        low = [
            line
            for line in self._context.printed[: len(layout.lines)]
            if line.number not in seen and line.line.box.y0 > 0.8 * max(layout.page.height, layout.lines[-1].box.y1)
        ]
        return [cell for line in low for cell in self._of_line(line)]

    def _of_line(self, line: PrintedLine) -> list[HeadLine]:
        """A line's cells; cells close to each other count as one (a name set wide, a pair of words)."""
        groups: list[tuple[int, int]] = []
        for number, (start, end) in enumerate(line.spans):
            gap = line.cells[number].box.x0 - line.cells[number - 1].box.x1 if number else 0.0
            if groups and gap < 1.6 * line.cells[number].height:
                groups[-1] = (groups[-1][0], end)
            else:
                groups.append((start, end))
        return [self.reader.span(line, *part) for group in groups for part in self._sender(line, *group)]

    def _sender(self, line: PrintedLine, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of a sender's line ("Name - Street 5 - 12345 Town", over an address window); else the whole."""
        parts = []
        at = start
        for mark in _APART.finditer(line.text, start, end):
            parts.append((at, mark.start()))
            at = mark.end()
        if not parts or not self.reader.span(line, at, end).postcode:
            return [(start, end)]
        return [parts[0], (parts[0][1] + _APART.match(line.text, parts[0][1], end).end() - parts[0][1], end)]  # type: ignore[union-attr]

    # --- the name ---------------------------------------------------------------------------------------------

    @cached_property
    def names(self) -> list[Found]:
        """Candidates for the issuer's name, the likeliest first."""
        found: list[Found] = []
        cells = self.cells
        body = self._body_start()
        usual = self._context.layouts[0].height if self._context.layouts else 0.0
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
            if self._is_announced(cell, "customer", "ship_to"):
                score -= 1.5
            if self._is_announced(cell, "owner"):
                score -= 1.6  # whose shop it is by law; its own name stands over it
            elif self._is_bare_address(cell) and not self._is_repeated(cell):
                score -= 0.7  # a name and an address without telephone or tax number: who the letter goes to
            found.append(self._name(cells, place, score))
        for place, cell in enumerate(self.feet):
            if cell.noise or cell.title or (cell.contact and not cell.suffix) or cell.registration or cell.labelled:
                continue
            legal = any(
                one.registration or one.contact or one.address >= 0.7 for one in self.feet[place + 1 : place + 3]
            )
            if self._is_announced(cell, "owner"):
                continue
            if legal and (cell.suffix or self._is_repeated(cell)):
                found.append(self._name(self.feet, place, 0.3 + self._look(self.feet, place)))
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
        if self._is_repeated(cell):
            score += 0.9
        if sum(char.isalpha() for char in cell.text) < 5:
            score -= 0.4
        if len(cell.text) > 60 or _is_sentence(cell.text):
            score -= 1.2
        return score

    def _name(self, cells: list[HeadLine], place: int, score: float) -> Found:
        """The name at a cell, with the lines above or below that it goes over."""
        first = last = place
        starts = self.reader.suffix_starts
        while last + 1 < len(cells) and last - first < 3 and _goes_on(cells[last], cells[last + 1], starts):
            last += 1
        while first > 0 and last - first < 3 and _goes_on(cells[first - 1], cells[first], starts):
            first -= 1
        taken = cells[first : last + 1]
        if len(taken) > 1 and any(cell.suffix for cell in taken) and not cells[place].suffix:
            score += 1.4
        begin = self._name_begins(taken[0])
        if begin:
            taken = [self.reader.span(taken[0].line, begin, taken[0].end), *taken[1:]]
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
        for label in self._labels.get(cell.line.number, ()):
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
        end = self.reader.suffix_end(name)  # of the last one: "Trading Inc."
        rest = fold(name[end:]).strip(" -,.@")
        if end and rest and any(rest in fold(cell.text) for cell in below if cell.address > 0):
            return name[:end]
        return name

    def _body_start(self) -> int:
        """The number of the first cell behind the letterhead: a title, a labelled line after some lines."""
        for place, cell in enumerate(self.cells):
            if place >= 2 and (cell.title or (cell.labelled and not cell.registration)):
                return place
        return len(self.cells)

    def _is_repeated(self, cell: HeadLine) -> bool:
        """Whether the cell's text stands again where a sender's name does: at the foot, or over an address window.

        For a cell at the foot any other place counts.
        """
        name = fold(cell.text).strip(" .,:;-")
        if len(name) < 4:
            return False
        if any(foot.line is cell.line for foot in self.feet):
            return fold(self._context.text).count(name) > 1
        return any(name in line for line in self._sender_texts if line != fold(cell.text))

    @cached_property
    def _sender_texts(self) -> list[str]:
        """The lines, folded, that repeat a sender's name: those of the foot, and lines with a whole address."""
        lines = [fold(foot.text) for foot in self.feet if not foot.labelled]
        return [*lines, *(fold(cell.text) for cell in self._senders_lines)]

    @cached_property
    def _senders_lines(self) -> list[HeadLine]:
        """Lines that hold a name and a whole address, as over an address window."""
        return [cell for cell in self.cells if cell.postcode and len(cell.text) > 30 and cell.text.count(",") >= 2]

    def _is_announced(self, cell: HeadLine, *concepts: str) -> bool:
        """Whether a label over the cell, or before it on its line, says that this is one of these parties."""
        block = cell.line.cells[cell.line.cell_at(cell.start)].block
        for number in range(max(0, cell.line.number - 6), cell.line.number + 1):
            for label in self._labels.get(number, ()):
                other = max(label.names.get(concept, 0.0) for concept in concepts) >= 0.85
                if not (other and label.leads and (label.marked or number == cell.line.number)):
                    continue
                if number == cell.line.number:
                    return label.span.start <= cell.end
                if (
                    number >= cell.line.number - 2
                    or label.line.cells[label.line.cell_at(label.span.start)].block is block
                ):
                    return label.span.box.x0 <= block.box.x1 and block.box.x0 <= label.span.box.x1
        return False

    def _is_bare_address(self, cell: HeadLine) -> bool:
        """Whether the cell's block is a name and an address and nothing else, while the page's foot says who sends it."""
        says_who = bool(self._senders_lines) or any(foot.suffix or _is_legal(foot) for foot in self.feet)
        return says_who and self._in_bare_block(cell)

    @cached_property
    def recipients(self) -> list[Found]:
        """Names over an address with nothing else, as in a letter's address window, the likeliest first."""
        found = []
        for place, cell in enumerate(self.cells):
            if cell.noise or cell.contact or cell.registration or cell.title or cell.labelled or cell.address >= 0.7:
                continue
            block = cell.line.cells[cell.line.cell_at(cell.start)].block
            top = next((one for one in block.cells if not self._is_senders_line(one)), None)
            if (
                top is not None
                and not self._is_repeated(cell)
                and top.line is cell.line.line
                and self._in_bare_block(cell)
            ):
                found.append(self._name(self.cells, place, 0.7 - 0.01 * place))
        return sorted(found, key=lambda one: -one.score)

    def _in_bare_block(self, cell: HeadLine) -> bool:
        block = cell.line.cells[cell.line.cell_at(cell.start)].block
        if not 2 <= len(block.cells) <= 7:
            return False
        kept = [one for one in block.cells if not self._is_senders_line(one)]
        parts = [self.reader.cell(self._context.span_of(one).line, one.index) for one in kept]
        if any(part.contact or part.registration or part.title or part.labelled for part in parts):
            return False
        return any(part.address >= 0.7 for part in parts)

    def _is_senders_line(self, cell: Cell) -> bool:
        """Whether a cell holds a name and a whole address, as the line over an address window does."""
        line = self.reader.cell(self._context.span_of(cell).line, cell.index)
        return line.postcode and len(line.text) > 30 and line.text.count(",") + len(_APART.findall(line.text)) >= 2

    # --- the address ------------------------------------------------------------------------------------------

    @cached_property
    def addresses(self) -> list[Found]:
        """Candidates for the issuer's address, the likeliest first."""
        cells = self.cells
        found: list[Found] = []
        place = 0
        while place < len(cells):
            if (
                (cells[place].address >= 0.7 or _over_a_postcode(cells, place))
                and not (cells[place].title or cells[place].suffix)
                and not self._is_announced(cells[place], "customer", "ship_to")
            ):
                taken, after = self._run(cells, place)
                found.append(self._address(taken, place))
                place = max(after, place + 1)
            else:
                place += 1
        return sorted(found, key=lambda one: -one.score)

    def _run(self, cells: list[HeadLine], place: int) -> tuple[list[HeadLine], int]:
        """The cells of one address from ``place`` on: up to the postcode, and a state or country behind it."""
        taken: list[HeadLine] = []
        complete = False
        skipped = 0
        while place < len(cells):
            cell = cells[place]
            if complete:
                if cell.region or _ends_an_address(cell):
                    taken.append(cell)
                    place += 1
                    continue
                break
            if taken and taken[-1].text.rstrip().endswith(",") and self.reader.is_postcode(cell.text):
                taken.append(cell)
                place += 1
                break
            if cell.registration or (cell.contact and not taken):
                skipped += 1
                if skipped > 2:
                    break
                place += 1
                continue
            if cell.contact or cell.title or cell.labelled:
                break
            if cell.address <= 0:
                # A line of plain words belongs in between ("Taman Perindustrian", a building) when the address goes on.
                nearby = cells[place + 1 : place + 3]
                if not (
                    taken and not cell.noise and any(one.address >= 0.7 and not one.labelled for one in nearby[:1])
                ):
                    break
            taken.append(cell)
            complete = cell.postcode and _town_beside(cell)
            if cell.postcode and not complete:
                # The postcode stands alone at a line's end: its town is on the next line.
                follower = cells[place + 1] if place + 1 < len(cells) else None
                if follower is not None and not (
                    follower.contact or follower.registration or follower.labelled or follower.title
                ):
                    taken.append(follower)
                    place += 1
                complete = True
            place += 1
            if len(taken) >= 7:
                break
        return taken, place

    def _address(self, taken: list[HeadLine], place: int) -> Found:
        score = 0.5 * min(3.0, sum(min(1.5, cell.address) for cell in taken)) - 0.12 * place
        if any(cell.postcode for cell in taken):
            score += 1.0
        parts, pieces = [], []
        for cell in taken:
            start, end = cell.start, cell.end
            label = next(
                (
                    one
                    for one in self._labels.get(cell.line.number, ())
                    if one.leads and "address" in one.names and start <= one.span.start
                ),
                None,
            )
            if label is not None:
                start = label.span.end
            text = cell.line.text[start:end]
            lead = len(text) - len(text.lstrip(" :.;\"'*-"))
            start += lead
            text = text.strip(" :;\"'*").lstrip(".-")
            parts.append(text.rstrip(",;").strip())
            pieces.append(cell.line.piece(start, end))
        return Found(
            ", ".join(part for part in parts if part), tuple(pieces), score, tuple(cell.line.number for cell in taken)
        )


_APART = re.compile(r"\s+[-–·•|]\s+|\s*[·•|]\s*")


def _is_sentence(text: str) -> bool:
    """Whether most words of a text are small ones."""
    words = [word for word in text.split() if word[0].isalpha()]
    return len(words) >= 5 and sum(word[0].islower() for word in words) > 0.6 * len(words)


def _over_a_postcode(cells: list[HeadLine], place: int) -> bool:
    """Whether a line that looks a little like a street stands right over the line of a postcode."""
    return place + 1 < len(cells) and cells[place].address >= 0.4 and cells[place + 1].postcode


def _ends_an_address(cell: HeadLine) -> bool:
    """Whether a line is the rest of a town and its region, wrapped behind the postcode."""
    digits = any(char.isdigit() for char in cell.text)
    return cell.has_region and not digits and len(cell.text.split()) <= 4 and not (cell.labelled or cell.title)


def _is_legal(cell: HeadLine) -> bool:
    """Whether a line says who somebody is by law: a labelled tax or registration number."""
    letters = sum(char.isalpha() for char in cell.text)
    return cell.registration and letters >= 4 and len(cell.text) - letters >= 6


def _by_block(cells: list[HeadLine]) -> list[HeadLine]:
    """Cells with those of one block together, so that columns side by side do not mix."""
    order: dict[int, int] = {}
    keyed = []
    for cell in cells:
        block = id(cell.line.cells[cell.line.cell_at(cell.start)].block)
        keyed.append((order.setdefault(block, len(order)), cell))
    return [cell for _, cell in sorted(keyed, key=lambda one: one[0])]


def _goes_on(first: HeadLine, second: HeadLine, starts: frozenset[str]) -> bool:
    """Whether a name goes on in the next line: a bracket is open, or the next line is no name of its own."""
    if second.address >= 1.0 or second.contact or second.registration or second.title or second.labelled or first.title:
        return False
    if second.line.number - first.line.number > 1:
        return False
    if first.text.count("(") > first.text.count(")") and second.text.count(")") > second.text.count("("):
        return True
    if first.suffix and not (second.line is first.line and _only_suffix(second, starts)):
        return False
    if first.registration or first.contact or first.labelled or first.noise:
        return False
    if first.address >= 1.0:
        return False
    if first.text.rstrip().endswith(("&", "-", " and", " AND", "+")):
        return True
    return second.suffix and _only_suffix(second, starts)


def _only_suffix(cell: HeadLine, starts: frozenset[str]) -> bool:
    """Whether a line begins as no name does: with a suffix, an ampersand, a bracket."""
    words = without_number(cell.text).lower().replace(".", " ").split()
    return bool(words) and (words[0] in starts or words[0][0] in "(&")


def _town_beside(cell: HeadLine) -> bool:
    """Whether words stand behind the postcode, or the line is more than the postcode."""
    tail = cell.text.rstrip(" .,;")
    return not tail[-4:].isdigit()
