"""The batcher: every caller gets its own answer, batches are bounded, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.engines.batching import BatchProcessor
from docflow.errors import BadAnswer

FOR_EVER = 3600.0


@dataclass
class Text:
    text: str


@dataclass
class Output:
    outputs: list[Text]


@dataclass
class Echo:
    """Answers each prompt with itself and its parameters; keeps the batches."""

    batches: list[list[str]] = field(default_factory=list)
    parameters: list[list[Any]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    began: threading.Event = field(default_factory=threading.Event)
    held: bool = False
    fails: bool = False

    def generate(self, prompts: Sequence[str], sampling_params: Sequence[Any]) -> list[Output]:
        self.batches.append(list(prompts))
        self.parameters.append(list(sampling_params))
        self.began.set()
        if self.held:
            assert self.go.wait(60)
        if self.fails:
            raise RuntimeError("out of memory")
        return [
            Output([Text(f"{prompt}/{params}"), Text("second")])
            for prompt, params in zip(prompts, sampling_params, strict=True)
        ]


async def begun(engine: Echo) -> None:
    assert await asyncio.to_thread(engine.began.wait, 60)


@given(
    st.lists(st.tuples(st.text(max_size=5), st.integers()), max_size=40),
    st.integers(min_value=1, max_value=7),
    st.lists(st.booleans(), max_size=40),
)
def test_every_caller_gets_the_answer_to_its_own_prompt(
    asked: list[tuple[str, int]], most: int, pauses: list[bool]
) -> None:
    engine = Echo()

    async def run() -> list[str]:
        batcher: BatchProcessor[str, int] = BatchProcessor(engine, most, 0.0005)
        tasks = []
        for number, (prompt, params) in enumerate(asked):
            tasks.append(asyncio.create_task(batcher.add_request(prompt, params)))
            if number < len(pauses) and pauses[number]:
                await asyncio.sleep(0.001)
        answers = await asyncio.gather(*tasks)
        await batcher.close()
        return answers

    assert asyncio.run(run()) == [f"{prompt}/{params}" for prompt, params in asked]
    assert [prompt for batch in engine.batches for prompt in batch] == [prompt for prompt, _ in asked], "oldest first"
    assert [one for batch in engine.parameters for one in batch] == [params for _, params in asked]
    assert all(1 <= len(batch) <= most for batch in engine.batches)


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(min_value=1, max_value=5))
def test_callers_that_gave_up_are_not_asked_for(gave_up: list[bool], most: int) -> None:
    engine = Echo()

    async def run() -> list[Any]:
        batcher: BatchProcessor[str, None] = BatchProcessor(engine, 31, FOR_EVER)
        tasks = [asyncio.create_task(batcher.add_request(str(n), None)) for n in range(len(gave_up))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task, leaves in zip(tasks, gave_up, strict=True):
            if leaves:
                task.cancel()
        await asyncio.gather(
            *(task for task, leaves in zip(tasks, gave_up, strict=True) if leaves), return_exceptions=True
        )
        missing = 31 - gave_up.count(False)
        fill = [asyncio.create_task(batcher.add_request("fill", None)) for _ in range(missing)]
        answers = await asyncio.gather(*tasks, *fill, return_exceptions=True)
        await batcher.close()
        return answers[: len(tasks)]

    answers = asyncio.run(run())
    stayed = [str(number) for number, leaves in enumerate(gave_up) if not leaves]
    assert len(engine.batches) == 1, "the batch is full of callers that still wait"
    assert engine.batches[0][: len(stayed)] == stayed
    for answer, leaves in zip(answers, gave_up, strict=True):
        assert isinstance(answer, asyncio.CancelledError) == leaves


def test_a_full_batch_goes_at_once_and_a_partial_one_waits_its_time() -> None:
    engine = Echo()

    async def run() -> None:
        batcher: BatchProcessor[str, None] = BatchProcessor(engine, 3, FOR_EVER)
        tasks = [asyncio.create_task(batcher.add_request(str(number), None)) for number in range(4)]
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.ALL_COMPLETED, timeout=0.2)
        assert (len(done), len(waiting)) == (3, 1)
        await batcher.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting.pop()

    asyncio.run(run())
    assert engine.batches == [["0", "1", "2"]]


def test_a_partial_batch_goes_without_another_request() -> None:
    engine = Echo()

    async def run() -> str:
        batcher: BatchProcessor[str, None] = BatchProcessor(engine, 32, 0.01)
        answer = await asyncio.wait_for(batcher.add_request("alone", None), 60)
        await batcher.close()
        return answer

    assert asyncio.run(run()) == "alone/None"


def test_an_error_reaches_everybody_in_its_batch_and_nobody_else() -> None:
    engine = Echo(fails=True)

    async def run() -> None:
        batcher: BatchProcessor[str, None] = BatchProcessor(engine, 3, FOR_EVER)
        found = await asyncio.gather(*(batcher.add_request(str(n), None) for n in range(3)), return_exceptions=True)
        assert [str(error) for error in found if isinstance(error, RuntimeError)] == ["out of memory"] * 3
        engine.fails = False
        again = await asyncio.gather(*(batcher.add_request(str(n), None) for n in range(3)))
        assert again == ["0/None", "1/None", "2/None"]
        await batcher.close()

    asyncio.run(run())


def test_requests_are_taken_while_a_batch_is_at_the_engine() -> None:
    engine = Echo(held=True)

    async def run() -> None:
        batcher: BatchProcessor[str, None] = BatchProcessor(engine, 2, 0.0)
        first = asyncio.create_task(batcher.add_request("first", None))
        await begun(engine)
        later = [asyncio.create_task(batcher.add_request(str(number), None)) for number in range(3)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not first.done()
        assert len(batcher._queue) == 3, "the lock is not held while the engine is at work"
        engine.go.set()
        await asyncio.gather(first, *later)
        await batcher.close()

    asyncio.run(run())
    assert engine.batches == [["first"], ["0", "1"], ["2"]]


def test_a_caller_that_gives_up_during_its_batch_costs_the_others_nothing() -> None:
    engine = Echo(held=True)

    async def run() -> None:
        batcher: BatchProcessor[str, None] = BatchProcessor(engine, 2, FOR_EVER)
        one, other = (asyncio.create_task(batcher.add_request(name, None)) for name in ("one", "other"))
        await begun(engine)
        one.cancel()
        engine.go.set()
        assert await other == "other/None"
        with pytest.raises(asyncio.CancelledError):
            await one
        await batcher.close()

    asyncio.run(run())


def test_an_engine_that_answers_too_few_or_nothing_is_told_to_its_callers() -> None:
    class Short(Echo):
        def generate(self, prompts: Sequence[str], sampling_params: Sequence[Any]) -> list[Output]:
            return [Output([])] if prompts == ["empty"] else []

    async def run() -> None:
        batcher: BatchProcessor[str, None] = BatchProcessor(Short(), 1, 0.0)
        with pytest.raises(BadAnswer, match="no completion"):
            await batcher.add_request("empty", None)
        with pytest.raises(BadAnswer, match="0 answers to 1"):
            await batcher.add_request("short", None)
        await batcher.close()

    asyncio.run(run())


def test_nobody_waiting_is_nothing_to_do() -> None:
    engine = Echo()

    async def run() -> None:
        batcher: BatchProcessor[str, None] = BatchProcessor(engine)
        await batcher.close()
        await batcher.close()

    asyncio.run(run())
    assert engine.batches == []
    with pytest.raises(ValueError):
        BatchProcessor(engine, 0)
