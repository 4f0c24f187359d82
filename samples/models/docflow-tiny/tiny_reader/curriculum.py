"""What is learned when: random letters first, on pages that grow; then fields of receipts; then whole records."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from tiny_reader.pages import PARTS, Part

Task = Literal["reading", "receipt"]
FEWEST_STEPS = 60
PART_SHARES = (18, 62, 2, 18)
MANY_GOODS: dict[Part, tuple[int, int]] = {"head": (1, 1), "goods": (2, 5), "sums": (1, 1), "till": (1, 4)}
RECEIPTS_FROM = 3
"""From this level on, letters are read from receipts, too."""
ALIKE_SHARE = 0.5
"""Of the last level's pages so many have words and sums that begin or end alike."""
MOST_RECEIPTS_WITHOUT_A_FIELD = 200_000
"""The stop rule: so many receipts, and no field of the validation set is ever right."""


@dataclass(frozen=True)
class Level:
    """How large pages of random letters are, and what is asked of receipts (no fields: none are shown).

    ``reading`` is the share of batches that stay reading, or reading gets worse; of the others ``parts`` show a part of
    a receipt only: a small page is cheap, and its many goods teach which of them comes next.
    The next level begins when the mean loss of an answer's token is below ``enough``. Random digits repeat each other
    on a page as nothing does on a receipt: to have them at 0.05 costs more than the rest of reading.
    """

    rows: int
    columns: int
    enough: float
    fields: tuple[int, int] = (0, 0)
    goods: tuple[int, int] = (0, 0)
    reading: float = 0.35
    parts: float = 0.0


LEVELS = (
    Level(2, 8, 0.2),
    Level(4, 10, 0.2),
    Level(7, 12, 0.2),
    Level(12, 14, 0.2),
    Level(18, 16, 0.2),
    Level(18, 16, 0.5, (1, 2), (1, 1)),
    Level(18, 16, 0.45, (1, 4), (1, 2)),
    Level(18, 16, 0.3, (2, 10), (1, 3)),
    Level(18, 16, 0.0, (10, 10), (1, 4), 0.08, 0.55),
)


@dataclass(frozen=True)
class Lesson:
    """One batch: its task and the sizes. Reading with goods is reading from receipts; ten fields are all."""

    task: Task
    rows: int
    columns: int
    fields: int = 0
    goods: tuple[int, int] = (0, 0)
    part: Part | None = None
    alike: bool = False


@dataclass
class Progress:
    """Where the curriculum stands: kept in the checkpoint, moved by the losses alone."""

    level: int = 0
    steps_here: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    questions: int = 0
    receipts: int = 0
    best_field: float = 0.0

    def lesson(self, rng: random.Random) -> Lesson:
        """The next batch's."""
        lesson = self._lesson(rng)
        return replace(lesson, alike=self.level + 1 == len(LEVELS) and rng.random() < ALIKE_SHARE)

    def _lesson(self, rng: random.Random) -> Lesson:
        level = LEVELS[self.level]
        if level.fields[1] and rng.random() >= level.reading:
            if rng.random() < level.parts:
                part = rng.choices(tuple(PARTS), PART_SHARES)[0]
                return Lesson("receipt", 0, rng.choice((14, 15, 16)), len(PARTS[part]), MANY_GOODS[part], part)
            fields = rng.randint(*level.fields)
            return Lesson("receipt", 0, rng.choice((14, 15, 16)), fields, level.goods)
        if self.level >= RECEIPTS_FROM and rng.random() < 0.4:  # a label's value, on pages as they really are
            return Lesson("reading", 18, rng.choice((14, 15, 16)), 0, (1, 3))
        if rng.random() < 0.3:  # smaller pages stay known
            level = LEVELS[rng.randint(0, self.level)]
        return Lesson("reading", rng.randint(max(2, level.rows * 2 // 3), level.rows), level.columns)

    def saw(self, task: Task, loss: float, questions: int, pages: int) -> bool:
        """Count a batch; says whether the next level begins with it."""
        kept = self.losses.get(task)
        self.losses[task] = loss if kept is None else 0.97 * kept + 0.03 * loss
        self.questions += questions
        self.receipts += pages if task == "receipt" else 0
        self.steps_here += 1
        asked: Task = "receipt" if LEVELS[self.level].fields[1] else "reading"
        if (
            self.level + 1 == len(LEVELS)
            or self.steps_here < FEWEST_STEPS
            or self.losses.get(asked, 1.0) >= LEVELS[self.level].enough
        ):
            return False
        self.level, self.steps_here = self.level + 1, 0
        self.losses.pop(asked)
        return True

    @property
    def hopeless(self) -> bool:
        """Whether the stop rule says that this leads nowhere."""
        return self.receipts >= MOST_RECEIPTS_WITHOUT_A_FIELD and self.best_field == 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
