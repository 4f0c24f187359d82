"""The issuer's address: the lines of the letterhead that look like one, up to the postcode and its region."""

from __future__ import annotations

from docflow.engines.embedded.head import Found, Head
from docflow.engines.embedded.lines import HeadLine


def addresses(head: Head) -> list[Found]:
    """Candidates for the issuer's address, the likeliest first."""
    cells = head.cells
    found: list[Found] = []
    place = 0
    while place < len(cells):
        if (
            (cells[place].address >= 0.7 or _over_a_postcode(cells, place))
            and not (cells[place].title or cells[place].suffix or _names_a_place(cells, place))
            and not head.is_announced(cells[place], "customer", "ship_to")
        ):
            taken, after = _run(head, cells, place)
            found.append(_address(head, taken, place))
            place = max(after, place + 1)
        else:
            place += 1
    return sorted(found, key=lambda one: -one.score)


def _run(head: Head, cells: list[HeadLine], place: int) -> tuple[list[HeadLine], int]:
    """The cells of one address from ``place`` on: up to the postcode, and a state or country behind it."""
    taken: list[HeadLine] = []
    complete = False
    skipped = 0
    while place < len(cells):
        cell = cells[place]
        if complete:
            if cell.region or (_ends_an_address(cell) and not taken[-1].has_region):
                taken.append(cell)
                place += 1
                continue
            break
        if taken and taken[-1].text.rstrip().endswith(",") and head.reader.is_postcode(cell.text):
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
            if not (taken and not cell.noise and any(one.address >= 0.7 and not one.labelled for one in nearby[:1])):
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


def _address(head: Head, taken: list[HeadLine], place: int) -> Found:
    score = 0.5 * min(3.0, sum(min(1.5, cell.address) for cell in taken)) - 0.12 * place
    if any(cell.postcode for cell in taken):
        score += 1.0
    parts, pieces = [], []
    for cell in taken:
        start, end = cell.start, cell.end
        label = next(
            (
                one
                for one in head.labels.get(cell.line.number, ())
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


def _names_a_place(cells: list[HeadLine], place: int) -> bool:
    """Whether a line with a town in it is a name over the address ("Harbour Grill Leeds"), or a branch in brackets."""
    cell = cells[place]
    if cell.text.startswith("("):
        return True
    follower = cells[place + 1] if place + 1 < len(cells) else None
    numbered = any(char.isdigit() for char in cell.text)
    begins = follower is not None and follower.address >= 0.7 and any(char.isdigit() for char in follower.text[:8])
    return begins and not numbered and not (follower is not None and follower.postcode)


def _over_a_postcode(cells: list[HeadLine], place: int) -> bool:
    """Whether a line that looks a little like a street stands right over the line of a postcode."""
    return place + 1 < len(cells) and cells[place].address >= 0.4 and cells[place + 1].postcode


def _ends_an_address(cell: HeadLine) -> bool:
    """Whether a line is the rest of a town and its region, wrapped behind the postcode."""
    digits = any(char.isdigit() for char in cell.text)
    return cell.has_region and not digits and len(cell.text.split()) <= 4 and not (cell.labelled or cell.title)


def _town_beside(cell: HeadLine) -> bool:
    """Whether words stand behind the postcode, or the line is more than the postcode."""
    tail = cell.text.rstrip(" .,;")
    return not tail[-4:].isdigit()
