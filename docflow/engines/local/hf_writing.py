"""A model of Transformers that writes, with images or without: requests in, batches through it, replies out."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from docflow.engines.chat import Reply
from docflow.engines.local.conversations import ByTemplate, Prompt, Template, too_long
from docflow.engines.local.gathering import Gathering
from docflow.engines.local.grammars import Grammars
from docflow.engines.local.model import Embedded, Form, Sampling
from docflow.engines.local.writing import Writing
from docflow.errors import CannotEmbed, EngineError, EngineUnavailable, NotEnoughMemory

if TYPE_CHECKING:
    import torch

_OF_TOKENS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""What a processor gives for each token; anything else it gives for each image or piece of one."""


@dataclass(eq=False)
class _Job:
    """A request that was made ready for the model."""

    inputs: Mapping[str, torch.Tensor]
    writing: Writing
    reply: Future[Reply] = field(default_factory=Future)

    @property
    def length(self) -> int:
        return int(self.inputs["input_ids"].shape[1])

    @property
    def kind(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        shapes = ((key, tuple(given.shape[1:])) for key, given in self.inputs.items() if key not in _OF_TOKENS)
        return tuple(sorted(shapes))

    def fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self.reply.set_exception(error)

    def finish(self) -> None:
        with suppress(InvalidStateError):
            self.reply.set_result(self.writing.reply(self.length))


class WritingModel(ByTemplate):
    """A model that is loaded. Threads ask it at once and are answered in batches."""

    backend = "transformers"

    def __init__(self, name: str, model: Any, tokenizer: Any, processor: Any, context: int, batch: int) -> None:
        """``processor`` is None for a model that takes no images."""
        import transformers

        self._name, self._context = name, context
        self._model, self._tokenizer, self._processor = model, tokenizer, processor
        self._template = Template(processor or tokenizer, tokenizer, sees=processor is not None)
        ends = _ends(model, tokenizer)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends)
        # Nothing of the model's own settings for writing: a request says how it wants to be answered.
        model.generation_config = transformers.GenerationConfig(
            eos_token_id=sorted(ends), pad_token_id=self._pad, do_sample=False, num_beams=1
        )
        size = model.get_output_embeddings().weight.shape[0]
        self._grammars = Grammars(tokenizer, size, ends)
        self._reading = threading.Lock()  # a tokenizer is for one thread at a time
        self._gathering = Gathering(self._write, batch)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Raises CannotEmbed: this model writes."""
        raise CannotEmbed(
            f"{self._name} gives no embeddings",
            hint="Load a model that was made for them (bge, e5, Qwen3-Embedding ...).",
        )

    def close(self) -> None:
        """Fail who waits, and let go of the model."""
        self._gathering.close(EngineUnavailable(f"{self._name} was unloaded", retryable=False))
        self._model = self._processor = None
        _free()

    def _answer(
        self,
        prompt: Prompt,
        sampling: Sampling,
        form: Form | None,
        on_text: Callable[[str], bool] | None,
        *,
        bare: bool,
    ) -> Reply:
        inputs = self._inputs(prompt, bare=bare)
        length = inputs["input_ids"].shape[1]
        if length >= self._context:
            raise too_long(length, self._context)
        held = self._grammars.held_to(form) if form is not None else None
        job = _Job(inputs, Writing(self._grammars, sampling, held, self._context - length, on_text))
        if not self._gathering.add(job):
            raise EngineUnavailable(f"{self._name} was unloaded", retryable=False)
        return job.reply.result()

    def _inputs(self, prompt: Prompt, *, bare: bool) -> dict[str, torch.Tensor]:
        """The prompt as the model takes it, on the CPU. A template writes the first token itself."""
        with self._reading:
            if prompt.images:
                from PIL import Image

                images = [Image.open(io.BytesIO(image)).convert("RGB") for image in prompt.images]
                made = self._processor(text=[prompt.text], images=images, add_special_tokens=False, return_tensors="pt")
            else:
                made = self._tokenizer([prompt.text], add_special_tokens=bare, return_tensors="pt")
        return {key: given for key, given in made.items() if hasattr(given, "shape")}

    # --- in the thread of the batches ---------------------------------------------------------------------------

    def _write(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            job.writing.look()
            if job.writing.done:
                job.finish()
        jobs = [job for job in jobs if not job.writing.done]
        if not jobs:
            return
        try:
            self._generate(jobs)
        except Exception as error:  # whatever Transformers raises of a batch is the model's trouble
            if not _is_memory(error):
                raise EngineError(f"{self._name} failed: {type(error).__name__}") from error
            _free()
            for job in jobs:  # what is too much at once may go one by one
                if len(jobs) > 1 and not job.writing.begun:
                    self._write([job])
                else:
                    job.fail(self._too_much(job))

    def _too_much(self, job: _Job) -> NotEnoughMemory:
        return NotEnoughMemory(
            f"there is not enough memory for a conversation of {job.length} tokens with {self._name}",
            hint="Show it fewer or smaller pages (extraction.page_tokens), or take a smaller max_batch.",
        )

    def _generate(self, jobs: Sequence[_Job]) -> None:
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        from docflow.engines.local.hf_steps import Choosing, Ended

        choosing = Choosing([job.writing for job in jobs], [job.fail for job in jobs])
        inputs = {key: given.to(self._model.device) for key, given in _together(jobs, self._pad).items()}
        for key, given in inputs.items():
            if given.is_floating_point():
                inputs[key] = given.to(self._model.dtype)
        with torch.inference_mode():
            self._model.generate(
                **inputs,
                max_new_tokens=max(job.writing.most for job in jobs),
                logits_processor=LogitsProcessorList([choosing]),
                stopping_criteria=StoppingCriteriaList([Ended(choosing)]),
            )
        for job in jobs:
            job.finish()


def _together(jobs: Sequence[_Job], pad: int) -> dict[str, torch.Tensor]:
    """Several requests as one: texts filled up at their beginning to the longest, images one after the other."""
    import torch

    longest = max(job.length for job in jobs)
    made = {}
    for key in jobs[0].inputs:
        given = [job.inputs[key] for job in jobs]
        if key in _OF_TOKENS:
            filler = pad if key == "input_ids" else 0
            given = [torch.nn.functional.pad(one, (longest - one.shape[1], 0), value=filler) for one in given]
        made[key] = torch.cat(given)
    return made


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer."""
    ends = model.generation_config.eos_token_id
    found = {ends} if isinstance(ends, int) else set(ends or ())
    if tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    return found


def _is_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def _free() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
