"""One training run: steps, validation, and a checkpoint from which it goes on exactly."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional

from tiny_reader import batches, pages, questions
from tiny_reader.batches import Made, Sheet
from tiny_reader.curriculum import Lesson, Progress
from tiny_reader.glyphs import ink_table
from tiny_reader.model import AROUND, NEVER, Batch, Reader, Shape
from tiny_reader.questions import IGNORED
from tiny_reader.vocabulary import Vocabulary

GLYPH_CELLS = 1024
"""Cells of a batch whose characters are asked for."""
GLYPH_WEIGHT = 1.0
ROW_WEIGHT = 0.3
RECORDS_FROM = 5
SEEING_EVERY = 3
"""From that level on the vision learns with every such step only: it costs half of the step."""
KEPT = 0.99
"""Of the averaged weights, which are the ones that are exported, a step keeps this share."""


@dataclass(frozen=True)
class Plan:
    """How a run is trained. The learning rate rises, stays, and falls over the last part of ``steps``."""

    seed: int = 1
    steps: int = 100_000
    rate: float = 2e-3
    warm_up: int = 100
    decay: float = 0.4
    tokens: int = 6000
    optimizer: str = "muon"

    def rate_at(self, step: int) -> float:
        falling = max(1.0, self.decay * self.steps)
        left = min(1.0, max(0.0, (self.steps - step) / falling))
        return self.rate * min(1.0, (step + 1) / self.warm_up) * (0.05 + 0.95 * left)


@dataclass
class Run:
    """A model in training; ``peers`` processes take a step together, each with a batch of its own."""

    plan: Plan
    shape: Shape
    folder: Path
    device: torch.device
    vocabulary: Vocabulary
    rank: int = 0
    peers: int = 1
    step: int = 0
    cpu_seconds: float = 0.0
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.glyphs = torch.from_numpy(ink_table())
        self.model = Reader(self.shape, self.glyphs, self.plan.seed).to(self.device)
        self.average = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.glyphs = self.glyphs.to(self.device)
        self.optimizers = list(optimizers(self.model, self.plan))
        self.started = time.process_time()

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    # --- a step -----------------------------------------------------------------------------------------------------

    def lesson(self) -> Lesson:
        return self.progress.lesson(random.Random(json.dumps(["lesson", self.plan.seed, self.step])))

    def learn(self) -> dict[str, Any]:
        """One step; what it saw comes back."""
        lesson = self.lesson()
        made = batches.batch_at(self.plan.seed, self.step, self.rank, lesson, self.vocabulary, self.plan.tokens)
        batch = made.batch.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            seeing = self.progress.level < RECORDS_FROM or self.step % SEEING_EVERY == 0
            states, cells = self.model(batch, self.glyphs, seeing=seeing)
            asked = batch.targets != IGNORED
            each = functional.cross_entropy(
                self.model.logits(states[asked]).float(), batch.targets[asked], reduction="none"
            )
            loss = (each * batch.weights[asked]).sum() / batch.weights[asked].sum()
            reading, seen = self.glyph_loss(batch, cells)
            under, followed = self.row_loss(batch, cells)
        (loss + GLYPH_WEIGHT * reading + ROW_WEIGHT * under if seeing else loss).backward()
        if self.peers > 1:
            self.agree()
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
        rate = self.plan.rate_at(self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            share = max(1 - KEPT, 1 / (self.step + 1))
            for name, value in self.model.named_parameters():
                self.average[name].lerp_(value, share)
        self.step += 1
        level, mean = self.progress.level, float(loss.detach())
        advanced = self.progress.saw(lesson.task, mean, len(made.answers), len(made.sheets))
        return {
            "step": self.step,
            "task": lesson.task,
            "part": lesson.part,
            "level": level,
            "loss": round(float(loss.detach()), 4),
            "glyphs": round(float(reading.detach()), 4),
            "seen": round(seen, 4),
            "rows": round(float(under.detach()), 4),
            "followed": round(followed, 4),
            "norm": round(norm, 3),
            "rate": round(rate, 6),
            "pages": len(made.sheets),
            "questions": len(made.answers),
            "mean": {task: round(value, 4) for task, value in self.progress.losses.items()},
            "advanced": advanced,
        }

    def agree(self) -> None:
        """The mean of all processes' gradients, in each. All have the same lesson, so the same weights learn."""
        learning = [weights.grad for weights in self.model.parameters() if weights.grad is not None]
        whole = torch.cat([grad.flatten() for grad in learning])
        distributed.all_reduce(whole)
        for grad, mean in zip(learning, whole.split([grad.numel() for grad in learning]), strict=True):
            grad.copy_(mean.view_as(grad) / self.peers)

    def glyph_loss(self, batch: Batch, cells: Tensor) -> tuple[Tensor, float]:
        """How well some of the cells tell their characters and those beside them."""
        pages_of, count = batch.left.shape
        text = batch.letters.view(pages_of, batch.rows, 2 * batch.columns)
        wide = functional.pad(text, (2, 1), value=32)
        letters = wide.unfold(2, len(AROUND), 2).reshape(pages_of * count, len(AROUND))
        dice = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + self.step)
        chosen = torch.randint(pages_of * count, (GLYPH_CELLS,), generator=dice).to(cells.device)
        logits = self.model.glyph_logits(cells.flatten(0, 1)[chosen]).float()
        wanted = letters[chosen]
        right = (logits.argmax(-1) == wanted).float().mean()
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten()), float(right)

    def row_loss(self, batch: Batch, cells: Tensor) -> tuple[Tensor, float]:
        """How well a cell tells which row is above its own: one cell of each row is asked, of those with letters."""
        pages_of = cells.shape[0]
        grid = cells.view(pages_of, batch.rows, batch.columns, -1)
        dice = torch.Generator().manual_seed(self.plan.seed * 1_000_033 + self.step)
        own, below = (
            grid[:, range(batch.rows), torch.randint(batch.columns, (batch.rows,), generator=dice)] for _ in range(2)
        )
        filled = (batch.letters.view(pages_of, batch.rows, -1) != 32).any(-1)
        logits = self.model.row_logits(own, below).float().masked_fill(~filled[:, None], NEVER)
        asked = (filled[:, 1:] & filled[:, :-1]).flatten()
        wanted = torch.arange(batch.rows - 1, device=cells.device).expand(pages_of, -1).flatten()[asked]
        given = logits[:, 1:].flatten(0, 1)[asked]
        right = (given.argmax(-1) == wanted).float().mean()
        return functional.cross_entropy(given, wanted), float(right)

    # --- validation -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """The averaged weights on pages that never change. An answer is right where every token would be chosen."""
        kept = {name: value.detach().clone() for name, value in self.model.named_parameters()}
        self.load_weights(self.average)
        result: dict[str, Any] = {}
        for name, made in self.validation_sets():
            result[name] = self.judged(made)
        self.load_weights(kept)
        fields = result["record"]["fields"]
        self.progress.best_field = max(self.progress.best_field, *fields.values())
        return result

    def judged(self, made: Made) -> dict[str, Any]:
        batch = made.batch.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            states, _ = self.model(batch, self.glyphs)
            best = torch.cat([self.model.logits(part).argmax(-1) for part in states.split(4)])
        right = (best == batch.targets).cpu()
        letters = answers = 0
        of_letters = 0
        fields: dict[str, list[bool]] = {}
        begun: dict[str, list[bool]] = {}
        for page, first, ends, question in made.answers:
            place = -1
            hits = right[page, first : first + len(ends) + 1].tolist()
            answers += all(hits)
            letters += sum(hits)
            of_letters += len(hits)
            for path, start, end in question.spans:
                inside = [
                    hit
                    for hit, stop, begin in zip(hits, ends, [0, *ends], strict=False)
                    if stop > start and begin < end
                ]
                fields.setdefault(path, []).append(all(inside))
                place += path == "items.description"
                if path.startswith("items.") and len(inside) > 2:
                    begun.setdefault(f"{path.removeprefix('items.')} {place + 1}", []).append(inside[1])
        out: dict[str, Any] = {
            "tokens": round(letters / of_letters, 4),
            "answers": round(answers / len(made.answers), 4),
        }
        if fields:
            out["fields"] = {path: round(sum(hits) / len(hits), 3) for path, hits in fields.items()}
            out["first letters"] = {path: round(sum(hits) / len(hits), 3) for path, hits in begun.items()}
        return out

    def validation_sets(self) -> Iterator[tuple[str, Made]]:
        for name, rows, columns in (("small", 4, 10), ("large", 16, 16)):
            rng = random.Random(f"validation/{name}")
            system, sheets = batches.lesson_sheets(rng, Lesson("reading", rows, columns), 4000)
            yield name, batches.assembled(rng, self.vocabulary, system, sheets, columns)
        rng = random.Random("validation/record")
        sheets = []
        for _ in range(40):
            receipt = pages.receipt(rng, 16, rng.randint(1, 4))
            asked = questions.record_question(receipt.record, pages.FIELDS, questions.SEPARATORS[0])
            sheets.append(Sheet(receipt.rows, [asked]))
        yield "record", batches.assembled(rng, self.vocabulary, questions.system_text(pages.FIELDS), sheets, 16)

    # --- keeping ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        for name, value in self.model.named_parameters():
            value.copy_(weights[name])

    def spent(self) -> float:
        """CPU seconds of this run so far; the other processes count as much as this one, with which they take turns."""
        return self.cpu_seconds + self.peers * (time.process_time() - self.started)

    def save(self) -> None:
        """Write the checkpoint: whole or not at all. Batches and lessons go by seed and step: no dice are kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "shape": self.shape.as_dict(),
            "plan": vars(self.plan),
            "phrases": list(self.vocabulary.phrases),
            "step": self.step,
            "cpu_seconds": self.spent(),
            "progress": self.progress.as_dict(),
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        temporary = self.checkpoint.with_suffix(".new")
        with temporary.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self.checkpoint)

    def restore(self) -> bool:
        """Go on from the checkpoint; False where there is none."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["phrases"] != list(self.vocabulary.phrases):
            raise SystemExit(f"{self.checkpoint} was trained on other prompts than docflow sends now")
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.step, self.cpu_seconds = state["step"], state["cpu_seconds"]
        self.progress = Progress(**state["progress"])
        self.started = time.process_time()
        return True


def optimizers(model: Reader, plan: Plan) -> Iterator[torch.optim.Optimizer]:
    """Matrices inside the layers are trained by Muon, all else by Adam; the rate of Muon is in Adam's measure."""
    named = [(name, weights) for name, weights in model.named_parameters()]
    inner = [w for name, w in named if w.dim() == 2 and "embed_tokens" not in name]
    if plan.optimizer == "adam":
        inner = []
    chosen = set(map(id, inner))
    rest = [w for _, w in named if id(w) not in chosen]
    if inner:
        yield torch.optim.Muon(
            [{"params": inner, "share": 1.0}], lr=plan.rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
        )
    matrices = [w for w in rest if w.dim() > 1]
    vectors = [w for w in rest if w.dim() == 1]
    yield torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": 0.02, "share": 1.0},
            {"params": vectors, "weight_decay": 0.0, "share": 1.0},
        ],
        lr=plan.rate,
        betas=(0.9, 0.98),
        eps=1e-9,
    )
