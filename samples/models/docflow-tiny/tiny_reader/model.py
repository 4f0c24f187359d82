"""The model: a plain Qwen2-VL, written so that training it on a page of glyphs is fast on one core.

The weights are those of ``Qwen2VLForConditionalGeneration`` under its own names; only the way of computing differs. A
page is a grid of cells of 28 x 28 pixels, so the patch embedding of a cell is looked up in a table of glyphs; what
stands before the questions is computed once for all questions about a page, and in the last layer only as keys and
values. The image is learned in gray: the three channels and two frames of Qwen2-VL's patches get the same weights.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CELL = 28
PATCH = 14
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
EPSILON = 1e-6
NEVER = -1e9
"""Added to the score of what may not be attended to."""
AROUND = (-2, -1, 0, 1, 2)
"""The characters that a cell learns to tell, counted from its left one: two before it, its own two, one after it."""
SHARPNESS = 8.0
ROWS_SEED = 7
NAME_SIZE = 32
"""Of the direction in which a cell says which row it stands in, and of the one for the row above."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    vocabulary: int
    hidden: int = 192
    layers: int = 5
    heads: int = 6
    inner: int = 512
    vision_width: int = 128
    vision_layers: int = 3
    vision_heads: int = 4
    theta: float = 1e5
    sections: tuple[int, int, int] = (4, 6, 6)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Batch:
    """Pages of one size with questions about them. ``before`` is the same text before every page.

    ``left`` and ``right`` are rows of the glyph table (pages x cells); ``letters`` the bytes that stand in the cells
    (pages x cells x 2). ``ids``, ``after`` (distance from the page's end) and ``question`` (which question a token
    belongs to; -1 is padding) describe what follows the page; ``targets`` is what comes next, -100 where it is given;
    ``weights`` says how much it counts.
    """

    rows: int
    columns: int
    before: Tensor
    left: Tensor
    right: Tensor
    letters: Tensor
    ids: Tensor
    after: Tensor
    question: Tensor
    targets: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Batch:
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        return Batch(**moved)


class VisionBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=EPSILON), nn.LayerNorm(width, eps=EPSILON)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 2 * width), "fc2": nn.Linear(2 * width, width)})

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        pages, cells, width = x.shape
        qkv = self.attn["qkv"](self.norm1(x)).view(pages, cells, 3, self.heads, -1)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        seen = functional.scaled_dot_product_attention(turned(q, cos, sin), turned(k, cos, sin), v)
        x = x + self.attn["proj"](seen.transpose(1, 2).reshape(pages, cells, width))
        inner = self.mlp["fc1"](self.norm2(x))
        return x + self.mlp["fc2"](inner * torch.sigmoid(1.702 * inner))


class Vision(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.vision_width
        self.gray = nn.Parameter(torch.zeros(width, PATCH, PATCH))
        self.blocks = nn.ModuleList([VisionBlock(width, shape.vision_heads) for _ in range(shape.vision_layers)])
        merged = 4 * width
        self.merger = nn.ModuleDict(
            {
                "ln_q": nn.LayerNorm(width, eps=EPSILON),
                "mlp": nn.Sequential(nn.Linear(merged, merged), nn.GELU(), nn.Linear(merged, shape.hidden)),
            }
        )
        size = width // shape.vision_heads
        self.frequencies = [10000.0 ** (-4 * i / size) for i in range(size // 4)]

    def forward(self, batch: Batch, glyphs: Tensor) -> Tensor:
        weights = self.gray.flatten(1).t()
        upper, lower = (-(part.flatten(1) @ weights) for part in (glyphs[:, :PATCH], glyphs[:, PATCH:]))
        quarters = [functional.embedding(side, half) for half in (upper, lower) for side in (batch.left, batch.right)]
        paper = self.gray.sum((1, 2)) * (1 - sum(MEAN) / 3)  # what a patch is made of before anything is printed on it
        x = (torch.stack(quarters, 2) + paper).flatten(1, 2)
        cos, sin = self.rotation(batch.rows, batch.columns, x)
        for block in self.blocks:
            x = block(x, cos, sin)
        merged = self.merger["ln_q"](x).view(*batch.left.shape, -1)
        made: Tensor = self.merger["mlp"](merged)
        return made

    def rotation(self, rows: int, columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """By the places of the patches, which come cell by cell."""
        cell = torch.arange(rows * columns, device=like.device)[:, None]
        quarter = torch.arange(4, device=like.device)
        down = (2 * (cell // columns) + quarter // 2).flatten()
        across = (2 * (cell % columns) + quarter % 2).flatten()
        turns = torch.tensor(self.frequencies, device=like.device)
        angles = torch.cat([down[:, None] * turns, across[:, None] * turns], 1)
        angles = torch.cat([angles, angles], 1)
        return angles.cos(), angles.sin()


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        hidden = shape.hidden
        self.heads = shape.heads
        self.self_attn = nn.ModuleDict(
            {name: nn.Linear(hidden, hidden) for name in ("q_proj", "k_proj", "v_proj")}
            | {"o_proj": nn.Linear(hidden, hidden, bias=False)}
        )
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": nn.Linear(hidden, shape.inner, bias=False),
                "up_proj": nn.Linear(hidden, shape.inner, bias=False),
                "down_proj": nn.Linear(shape.inner, hidden, bias=False),
            }
        )
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(hidden), RmsNorm(hidden)

    def split(self, name: str, x: Tensor) -> Tensor:
        return self.self_attn[name](x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def finish(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.self_attn["o_proj"](seen.transpose(1, 2).flatten(2))
        normed = self.post_attention_layernorm(x)
        return x + self.mlp["down_proj"](functional.silu(self.mlp["gate_proj"](normed)) * self.mlp["up_proj"](normed))

    def forward(
        self,
        page: Tensor,
        text: Tensor,
        of_page: tuple[Tensor, Tensor],
        of_text: tuple[Tensor, Tensor],
        mask: Tensor,
        *,
        last: bool,
    ) -> tuple[Tensor, Tensor]:
        """``page`` is all that stands before the questions, ``text`` the questions and answers."""
        p, t = self.input_layernorm(page), self.input_layernorm(text)
        page_k, page_v = turned(self.split("k_proj", p), *of_page), self.split("v_proj", p)
        k = torch.cat([page_k, turned(self.split("k_proj", t), *of_text)], 2)
        v = torch.cat([page_v, self.split("v_proj", t)], 2)
        q = turned(self.split("q_proj", t), *of_text)
        text = self.finish(text, attention(q, k, v, of_text_only=mask))
        if last:
            return page, text
        q = turned(self.split("q_proj", p), *of_page)
        page = self.finish(page, attention(q, page_k, page_v, causal=True))
        return page, text


class RmsNorm(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x.float(), x.shape[-1:], self.weight, EPSILON)


class Language(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList([Layer(shape) for _ in range(shape.layers)])
        self.norm = RmsNorm(shape.hidden)


class Reader(nn.Module):
    """The model and, for training only, the rotation by which a cell tells which characters stand in and around it."""

    def __init__(self, shape: Shape, glyphs: Tensor, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.visual, self.language_model = Vision(shape), Language(shape)
        self.register_buffer("shift", torch.zeros(shape.hidden, shape.hidden))
        dice = torch.Generator().manual_seed(ROWS_SEED)
        self.register_buffer("row_names", torch.linalg.qr(torch.randn(shape.hidden, shape.hidden, generator=dice))[0])
        size = shape.hidden // shape.heads
        self.frequencies = [shape.theta ** (-2 * i / size) for i in range(size // 2)]
        self.axes = [axis for axis, pairs in enumerate(shape.sections) for _ in range(pairs)]
        self._begin(glyphs, torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _begin(self, glyphs: Tensor, dice: torch.Generator) -> None:
        """The first weights. To read is to copy in order, and the heads that do it are there from the beginning.

        ``shift`` is a rotation. Its powers say how far a character is away: a token of text is to hold the characters
        before it, each shifted once for each step back, and a cell those around it. So a head finds the cell that goes
        on from a text where both agree, and the next character there, one shift away.
        """
        for name, weights in self.named_parameters():
            if weights.dim() == 2 and "norm" not in name:
                weights.normal_(0, weights.shape[1] ** -0.5, generator=dice)
            elif name.endswith("bias"):
                weights.zero_()
        self.language_model.embed_tokens.weight.normal_(0, self.shape.hidden**-0.5, generator=dice)
        depth = 2 * self.shape.layers
        self.shift.copy_(torch.linalg.qr(torch.randn(self.shift.shape, generator=dice))[0])
        for layer in self.language_model.layers:
            layer.self_attn["o_proj"].weight.mul_(depth**-0.5)
            layer.mlp["down_proj"].weight.mul_(depth**-0.5)
            layer.self_attn["k_proj"].weight.copy_(layer.self_attn["q_proj"].weight)  # like attends to like
        for block in self.visual.blocks:
            block.attn["proj"].weight.mul_(0.5)
            block.mlp["fc2"].weight.mul_(0.5)
        self._begin_patches(glyphs, dice)
        self._begin_neighbours()
        if self.shape.vision_layers > 2:
            self._begin_rows()
        self._begin_copying()

    def _begin_patches(self, glyphs: Tensor, dice: torch.Generator) -> None:
        """A patch is half a letter: the weights are the directions in which these differ, all of the same size."""
        ink = torch.cat([glyphs[:, :PATCH], glyphs[:, PATCH:]]).flatten(1)
        ink = ink - ink.mean(0)
        _, spread, directions = torch.linalg.svd(ink, full_matrices=False)
        count = min(self.shape.vision_width, int((spread > 0.02 * spread[0]).sum()))
        self.visual.gray.zero_()
        self.visual.gray[:count] = (directions / spread[:, None] * math.sqrt(len(ink)))[:count].view(-1, PATCH, PATCH)
        self.visual.gray -= self.visual.gray.mean((1, 2), keepdim=True)
        # Paper must not be nothing: a norm would make of nothing whatever rounding leaves of it.
        paper = 0.5 * torch.randn(self.shape.vision_width, 1, 1, generator=dice)
        self.visual.gray += paper / (PATCH * PATCH * (1 - sum(MEAN) / 3))

    def _begin_neighbours(self) -> None:
        """In the first block of the vision half a letter sees the letters beside it and its other half."""
        for head, (down, across) in enumerate([(0, -1), (0, 1), (0, -2), (1, 0)][: self.shape.vision_heads]):
            self._point(0, head, down, across, sharp=3)

    def _begin_rows(self) -> None:
        """In the third block it sees its row, the rows above and below, and what stands to its left.

        Whatever reads a value must find where it begins: beside a label, or in the row after another one.
        """
        block = self.visual.blocks[2]
        block.attn["proj"].weight.zero_()
        block.mlp["fc2"].weight.zero_()
        block.attn["qkv"].weight[: 2 * self.shape.vision_width] *= 0.3
        for head, down in enumerate([0, -2, 2][: self.shape.vision_heads]):
            self._point(2, head, down, 0, sharp=0)
        if self.shape.vision_heads > 3:
            self._point(2, 3, 0, -10, sharp=1)

    def _point(self, block: int, head: int, down: int, across: int, *, sharp: int) -> None:
        """Let a head of the vision look so many patches away; ``sharp`` is how exactly across (0: the whole row)."""
        width, turns = self.shape.vision_width, self.visual.frequencies
        size = width // self.shape.vision_heads
        bias = self.visual.blocks[block].attn["qkv"].bias
        q, k = (bias[part + head * size : part + (head + 1) * size] for part in (0, width))
        used = {0: range(0), 1: range(2, 4), 3: range(3)}[sharp]
        phases = [*(turn * down for turn in turns[:3]), *(turns[pair] * across for pair in used)]
        point_at(q, k, phases, [*range(3), *(len(turns) + pair for pair in used)], 6.0)

    def _begin_copying(self) -> None:
        """In the first layer text gathers what stands before it; in the second it finds the place on the page."""
        hidden, heads = self.shape.hidden, self.shape.heads
        size = hidden // heads
        first, second = (layer.self_attn for layer in self.language_model.layers[:2])
        pairs = self.shape.sections[0]
        for head in range(min(4, heads)):
            part = slice(head * size, (head + 1) * size)
            for name in ("q_proj", "k_proj"):
                first[name].weight[part] *= 0.3
            point_at(
                first["q_proj"].bias[part],
                first["k_proj"].bias[part],
                [-turn * (head + 1) for turn in self.frequencies[:pairs]],
                list(range(pairs)),
                6.0,
            )
            carried = first["v_proj"].weight[part]
            first["o_proj"].weight[:, part] = 0.2 / (head + 1) * self.shifted(head + 1) @ carried.t()
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            # half of the heads take the text's end for a cell's left character, half for the one before the cell
            back = head % 2
            second["q_proj"].weight[part] *= 1.5
            second["k_proj"].weight[part] = second["q_proj"].weight[part] @ self.shifted(-back)
            second["o_proj"].weight[:, part] = self.shifted(1 - back) @ second["v_proj"].weight[part].t()

    def shifted(self, times: int) -> Tensor:
        """The rotation, so many times; backwards where it is negative."""
        step: Tensor = self.shift if times > 0 else self.shift.t()
        return torch.linalg.matrix_power(step, abs(times))

    def forward(self, batch: Batch, glyphs: Tensor, *, seeing: bool = True) -> tuple[Tensor, Tensor]:
        """The last states of what follows the page (pages x tokens x hidden), and the cells as the model sees them.

        Without ``seeing`` the vision learns nothing from it.
        """
        with torch.set_grad_enabled(seeing and torch.is_grad_enabled()):
            cells = self.visual(batch, glyphs)
        embed = self.language_model.embed_tokens
        pages = cells.shape[0]
        before = embed(batch.before).expand(pages, -1, -1)
        page = torch.cat([before.to(cells.dtype), cells], 1)
        text = embed(batch.ids)
        of_page, of_text = self.rotations(batch)
        mask = self.mask(batch)
        for number, layer in enumerate(self.language_model.layers):
            last = number == self.shape.layers - 1
            page, text = layer(page, text, of_page, of_text, mask, last=last)
        return self.language_model.norm(text), cells

    def logits(self, states: Tensor) -> Tensor:
        """What comes next, over the vocabulary."""
        return functional.linear(states, self.language_model.embed_tokens.weight)

    def glyph_logits(self, cells: Tensor) -> Tensor:
        """Which bytes stand in a cell and around it: cells x 5 x 256."""
        table = self.language_model.embed_tokens.weight[:256] * SHARPNESS
        # a character that stands further on is shifted back as often
        return torch.stack([functional.linear(cells @ self.shifted(-offset), table) for offset in AROUND], -2)

    def row_logits(self, own: Tensor, below: Tensor) -> Tensor:
        """How much each cell of ``below`` looks as if it stood under each of ``own``: pages x rows x rows.

        A cell names its row and the one above it, in the same words: so whoever has copied from a row finds the next.
        """
        names = functional.normalize(own @ self.row_names[:, :NAME_SIZE], dim=-1)
        above = functional.normalize(below @ self.row_names[:, NAME_SIZE : 2 * NAME_SIZE], dim=-1)
        return SHARPNESS * above @ names.transpose(-1, -2)

    def rotations(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Cosines and sines by Qwen2-VL's positions: time, height, width; text goes on after the page's longer side."""
        device = batch.ids.device
        start = batch.before.shape[-1]
        cell = torch.arange(batch.rows * batch.columns, device=device)
        words = torch.arange(start, device=device)
        places = [torch.zeros_like(cell), cell // batch.columns, cell % batch.columns]
        page = torch.stack([torch.cat([words, start + place]) for place in places])
        turns = torch.tensor(self.frequencies, device=device)
        angles = page.float()[self.axes].t() * turns
        angles = torch.cat([angles, angles], 1)
        after = (start + max(batch.rows, batch.columns) + batch.after).float()
        text = after[..., None] * turns
        text = torch.cat([text, text], -1)[:, None]
        return (angles.cos(), angles.sin()), (text.cos(), text.sin())

    def mask(self, batch: Batch) -> Tensor:
        """What a token may attend to beside all of the page: its own question so far. Added to the scores."""
        length = batch.ids.shape[1]
        same = batch.question[:, :, None] == batch.question[:, None, :]
        may = same & torch.ones(length, length, dtype=torch.bool, device=same.device).tril()
        return torch.zeros(same.shape, device=same.device).masked_fill_(~may, NEVER)[:, None]


def attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, of_text_only: Tensor | None = None) -> Tensor:
    """Attention in plain matrix products: on CPU, in bfloat16, torch's own is up to eight times slower backwards.

    ``of_text_only`` is a mask for the last keys; those before them are seen by everybody.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if causal:
        length = q.shape[-2]
        scores = scores + torch.full((length, length), NEVER, dtype=scores.dtype, device=q.device).triu(1)
    if of_text_only is not None:
        given = scores.shape[-1] - of_text_only.shape[-1]
        scores = torch.cat([scores[..., :given], scores[..., given:] + of_text_only.to(scores.dtype)], -1)
    with torch.autocast(scores.device.type, enabled=False):  # which would write the shares in float32, twice the memory
        shares = scores.to(v.dtype).softmax(-1)
    seen: Tensor = shares @ v
    return seen


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, on the two halves of a head."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return x * cos + torch.cat([-second, first], -1) * sin


def point_at(q: Tensor, k: Tensor, phases: list[float], pairs: list[int], strength: float) -> None:
    """Set biases so that a head attends most where the rotation of these pairs differs by these angles."""
    half = len(q) // 2
    for phase, pair in zip(phases, pairs, strict=True):
        k[pair] += strength
        # the key at offset d is turned by d * f against the query: it is matched by a query turned as much
        q[pair] += strength * math.cos(phase)
        q[pair + half] += strength * math.sin(phase)
