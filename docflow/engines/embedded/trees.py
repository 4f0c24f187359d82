"""Charges printed as a tree: amounts under each other in one column, what they are part of told by how far they are in.

    Detail
      Data transfer             0.01
        Charges                 0.01
        VAT                     0.00
      Computing                 1.87
        Charges                 1.87

The items are the lines of the deepest level that has names of its own and adds up to a sum that the page prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal

from docflow.engines.embedded.itemline import ItemLine, parse_line
from docflow.engines.embedded.rows import is_sum_line
from docflow.engines.embedded.vocabulary import squash
from docflow.reading.layout import Line

_CENT = Decimal("0.01")


@dataclass(slots=True, eq=False)
class _Node:
    """A line with an amount, and those further in below it."""

    line: ItemLine
    left: float
    children: list[_Node] = field(default_factory=list)

    @property
    def amount(self) -> Decimal:
        assert self.line.amount is not None
        return self.line.amount.value

    @property
    def name(self) -> str:
        return squash(" ".join(word.text for word in self.line.rest))


def tree_items(lines: Sequence[Line], sums: Set[Decimal]) -> list[ItemLine]:
    """The lines that are items, where the lines of a page hold such a tree; none elsewhere."""
    best: list[ItemLine] = []
    for roots in _trees(lines):
        if _is_tree(roots):
            level = _items_of(roots)
            if any(abs(sum(node.amount for node in level) - value) <= _CENT for value in sums) and len(level) > len(
                best
            ):
                best = [node.line for node in level]
    return best


def _trees(lines: Sequence[Line]) -> Iterator[list[_Node]]:
    """The runs of lines that are a name and an amount in one column, each as the nodes that stand furthest out."""
    run: list[_Node] = []
    right = 0.0
    for line in lines:
        node = _node(line)
        end = line.box.x1
        if node is None or (run and abs(end - right) > line.height):
            if run:
                yield _nested(run)
            run = []
        if node is not None:
            run.append(node)
            right = end
    if run:
        yield _nested(run)


def _node(line: Line) -> _Node | None:
    if len(line.cells) != 2:
        return None
    item = parse_line(line)
    if item.amount is None or item.quantity or item.price or not any(char.isalpha() for char in line.cells[0].text):
        return None
    return _Node(item, line.box.x0)


def _nested(run: Sequence[_Node]) -> list[_Node]:
    roots: list[_Node] = []
    path: list[_Node] = []
    for node in run:
        step = 0.5 * node.line.line.height
        while path and node.left < path[-1].left + step:
            path.pop()
        (path[-1].children if path else roots).append(node)
        path.append(node)
    return roots


def _is_tree(roots: Sequence[_Node]) -> bool:
    """Whether every line that has lines further in is their sum, and two have."""
    nodes = list(_all(roots))
    parents = [node for node in nodes if node.children]
    adds_up = all(abs(sum(child.amount for child in node.children) - node.amount) <= _CENT for node in parents)
    return len(parents) > 1 and adds_up


def _all(nodes: Sequence[_Node]) -> Iterator[_Node]:
    for node in nodes:
        yield node
        yield from _all(node.children)


def _items_of(roots: Sequence[_Node]) -> list[_Node]:
    """The leaves, or what they are part of where their names come again under others or are those of sums."""
    leaves = [node for node in _all(roots) if not node.children]
    names = [node.name for node in leaves]
    own = [node for node in leaves if not is_sum_line(node.line.line) and names.count(node.name) == 1]
    if len(own) == len(leaves):
        return leaves
    items: list[_Node] = []
    for node in roots:
        inner = [child for child in node.children if child.children]
        items += _items_of(node.children) if inner else [node]
    return [node for node in items if not is_sum_line(node.line.line)]
