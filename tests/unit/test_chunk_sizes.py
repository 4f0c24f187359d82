"""How many documents go to a worker at once: by the seconds that they take, and by how many are left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from docflow.runs import RunOptions
from docflow.runs.chunks import MOST_DOCUMENTS
from docflow.runs.model import Run
from docflow.runs.orders import Outcome
from docflow.runs.scaling import FIRST_DOCUMENTS, ScaledExecution


def execution(*, threads: int = 2, found: int = 1_000, all_found: bool = False) -> Any:
    made: Any = ScaledExecution(RunOptions(sources=("scans",), runner="dask"))
    made._cluster, made._found, made._all_found = SimpleNamespace(threads=threads), found, all_found
    return made


def took(seconds: float, files: int = 1) -> Outcome:
    return Outcome(counted=Run(id="", program="", engine="", runner="", files=files), seconds=seconds)


def test_the_first_chunks_are_small() -> None:
    assert execution()._size(0) == FIRST_DOCUMENTS


@pytest.mark.parametrize(("each", "documents"), [(0.001, MOST_DOCUMENTS), (0.5, 50), (5.0, 5), (60.0, 1)])
def test_a_chunk_is_about_25_seconds_of_work_and_no_larger_than_any(each: float, documents: int) -> None:
    made = execution()
    made._learn(took(10 * each, files=10))
    assert made._size(0) == documents


def test_chunks_get_smaller_when_little_is_left_but_not_below_two_seconds_of_work() -> None:
    made = execution(threads=2, found=1_000, all_found=True)
    made._learn(took(0.5))
    sizes = []
    while made._begun < made._found:
        sizes.append(min(made._size(0), made._found - made._begun))
        made._begun += sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], min(sizes[:-1])) == (50, 4)


def test_a_chunk_of_which_nothing_came_teaches_nothing() -> None:
    made = execution()
    made._learn(took(3.0, files=0))
    assert made._size(0) == FIRST_DOCUMENTS
