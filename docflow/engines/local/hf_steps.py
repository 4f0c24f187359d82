"""One step of a batch: every answer takes its next token, held to its form, sampled its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import LogitsProcessor, StoppingCriteria

from docflow.engines.local.writing import Writing
from docflow.errors import DocflowError


class Choosing(LogitsProcessor):  # type: ignore[misc]
    """Chooses each answer's token, and leaves Transformers no other.

    Probabilities are those of the model after the form's mask, whatever the temperature: as servers tell them.
    """

    def __init__(self, writings: Sequence[Writing], fail: Sequence[Callable[[BaseException], None]]) -> None:
        self.writings, self._fail = writings, fail
        self._top = max(writing.sampling.top for writing in writings)
        self._random = [_random(writing) for writing in writings]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = self._masked(scores.float())
        shares = scores - torch.logsumexp(scores, dim=-1, keepdim=True)
        chosen = scores.argmax(dim=-1)
        for row, generator in enumerate(self._random):
            if generator is not None and not self.writings[row].done:
                chosen[row] = _sampled(scores[row], self.writings[row], generator)
        probs = shares.gather(-1, chosen[:, None]).exp()[:, 0].tolist()
        tokens = chosen.tolist()
        likeliest: list[list[tuple[int, float]]] = [[] for _ in tokens]
        if self._top:
            best = shares.topk(min(self._top, shares.shape[-1]), dim=-1)
            likeliest = [
                [(token, share) for token, share in zip(ids, values, strict=True) if share > 0]
                for ids, values in zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
            ]
        for row, writing in enumerate(self.writings):
            if not writing.done:
                self._take(row, writing, tokens[row], probs[row], likeliest[row][: writing.sampling.top])
        forced = torch.full_like(scores, -torch.inf)
        return forced.scatter_(-1, chosen[:, None], 0.0)

    def _masked(self, scores: torch.Tensor) -> torch.Tensor:
        """What the forms do not allow is impossible."""
        for row, writing in enumerate(self.writings):
            if writing.done or writing.held is None:
                continue
            try:
                allowed = torch.from_numpy(writing.held.allowed())
            except DocflowError as error:
                self._failed(row, writing, error)
                continue
            scores[row].masked_fill_(~allowed.to(scores.device), -torch.inf)
        return scores

    def _take(
        self, row: int, writing: Writing, token: int, prob: float, likeliest: Sequence[tuple[int, float]]
    ) -> None:
        try:
            writing.take(token, prob, reversed(likeliest))
        except Exception as error:  # noqa: BLE001 (one answer's trouble, or its listener's; the others go on)
            self._failed(row, writing, error)

    def _failed(self, row: int, writing: Writing, error: BaseException) -> None:
        writing.give_up()
        self._fail[row](error)


class Ended(StoppingCriteria):  # type: ignore[misc]
    """Which answers are done."""

    def __init__(self, choosing: Choosing) -> None:
        self._choosing = choosing

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        return torch.tensor([writing.done for writing in self._choosing.writings], device=input_ids.device)


def _random(writing: Writing) -> torch.Generator | None:
    """Where an answer's chance comes from: its seed, or the machine."""
    if writing.sampling.temperature <= 0:
        return None
    generator = torch.Generator()
    if writing.sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(writing.sampling.seed & (2**63 - 1))
    return generator


def _sampled(scores: torch.Tensor, writing: Writing, generator: torch.Generator) -> torch.Tensor:
    """A token by chance: among the likeliest, as the sampling bounds them."""
    sampling = writing.sampling
    values, ids = (scores / sampling.temperature).sort(descending=True)
    if sampling.top_k:
        values, ids = values[: sampling.top_k], ids[: sampling.top_k]
    probs = values.softmax(dim=-1)
    if sampling.top_p < 1:
        before = probs.cumsum(dim=-1) - probs
        probs = probs.masked_fill(before >= sampling.top_p, 0.0)
    at = torch.multinomial(probs.cpu(), 1, generator=generator).to(ids.device)
    return ids[at][0]
