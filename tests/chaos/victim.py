"""A run of docflow that tells how far it is, and can be made to wait where a kill is rare.

    python -m tests.chaos.victim DOCUMENTS OUT --tell FD [--pause-at POINT --after N]

It writes lines to the file descriptor FD: ``done`` for each document that is finished, ``part`` for each part that has
its name, ``paused`` once it stands at POINT, ``again`` when a chunk waits for its next attempt, ``flow`` when a Prefect
flow takes the run over. The run itself is docflow's own, without any change but that chunks hold fewer documents.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from docflow import api
from docflow.errors import DocflowError, EngineError
from docflow.runs import Run, RunOptions, chunks
from docflow.runs.execution import Execution
from docflow.settings import load_settings
from docflow.storage.places import Place, place_of
from tests.chaos.papers import TicketEngine, ticket

POINTS = ("rename", "renamed", "remove", "again")
"""Before a part gets its name, after it, before one that is replaced goes, and while a chunk is tried again."""


class Story:
    """What the process tells of itself, and where it is to wait for its end."""

    def __init__(self, descriptor: int, out: Place, pause_at: str | None, after: int, engine: TicketEngine) -> None:
        self._descriptor = descriptor
        self._out = os.path.abspath(out) if isinstance(out, Path) else str(out)
        self._pause_at, self._after, self._engine = pause_at, after, engine
        self._done = 0

    def tell(self, word: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._descriptor, f"{word}\n".encode())

    def finished(self, _: object) -> None:
        self._done += 1
        if self._pause_at == "again" and self._done == self._after:
            self._engine.fail_next.set()
        self.tell("done")

    def at(self, point: str) -> None:
        if point == self._pause_at and self._done >= self._after:
            self.tell("paused")
            threading.Event().wait()

    def hears(self, path: str | os.PathLike[str]) -> bool:
        """Whether a path is a part of the dataset."""
        name = os.path.abspath(path)
        return name.startswith(self._out) and name.endswith(".parquet")


@contextlib.contextmanager
def listening(story: Story) -> Iterator[None]:
    """Within it, the story hears of every part that gets its name or goes, and of chunks that are tried again."""
    replace, unlink, run_chunk = os.replace, os.unlink, Execution.run_chunk

    def heard_replace(source: Any, target: Any, **options: Any) -> None:
        if not story.hears(target):
            return replace(source, target, **options)
        story.at("rename")
        replace(source, target, **options)
        story.tell("part")
        story.at("renamed")
        return None

    def heard_unlink(path: Any, **options: Any) -> None:
        if story.hears(path):
            story.at("remove")
        unlink(path, **options)

    def heard_chunk(execution: Execution, chunk: chunks.Chunk) -> chunks.ChunkSummary:
        try:
            return run_chunk(execution, chunk)
        except EngineError as error:
            if error.retryable:
                story.tell("again")
            raise

    heard: list[tuple[object, str, Callable[..., Any]]] = [
        (os, "replace", heard_replace),
        (os, "rename", heard_replace),
        (os, "unlink", heard_unlink),
        (os, "remove", heard_unlink),
        (Execution, "run_chunk", heard_chunk),
    ]
    for owner, name, function in heard:
        setattr(owner, name, function)
    yield


def hold_for_flow(story: Story, engine: TicketEngine) -> None:
    """Let the engine answer from when a flow has the run."""
    from docflow.flows import running

    in_thread = running._in_thread
    engine.open.clear()

    def begun(execution: Execution) -> Run:
        story.tell("flow")
        engine.open.set()
        return in_thread(execution)

    running._in_thread = begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", type=Path)
    parser.add_argument("out", type=place_of, help="a folder, or a place in a bucket")
    parser.add_argument("--tell", type=int, required=True, help="the file descriptor to write to")
    parser.add_argument("--pause-at", choices=POINTS)
    parser.add_argument("--after", type=int, default=0, help="documents that are finished before it pauses")
    parser.add_argument("--runner", default="direct")
    parser.add_argument("--flow-first", action="store_true", help="no document is finished before there is a flow")
    parser.add_argument("--retry-failed", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.02, help="time that the engine takes")
    parser.add_argument("--chunk", type=int, default=20, help="documents in a chunk")
    given = parser.parse_args()
    chunks.MOST_DOCUMENTS = given.chunk
    engine = TicketEngine(given.seconds, refuses=not given.retry_failed)
    story = Story(given.tell, given.out, given.pause_at, given.after, engine)
    options = RunOptions(
        sources=(given.documents,),
        program=ticket,
        engine=engine,
        out=given.out,
        runner=given.runner,
        retry_failed=given.retry_failed,
        settings=load_settings({"extraction.grounding": "text-layer"}),
    )
    with listening(story):
        if given.flow_first:
            hold_for_flow(story, engine)
        try:
            run = api.run(options, on_result=story.finished)
        except DocflowError as error:
            print(f"{type(error).__name__}: {error.message}\n{error.hint}", file=sys.stderr)
            return 3
    for note in run.notes:
        print(note, file=sys.stderr)
    return run.exit_code


if __name__ == "__main__":
    sys.exit(main())
