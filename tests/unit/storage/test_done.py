"""What a run keeps in mind of what is done."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from docflow.storage.done import Done

EARLY = dt.datetime(2024, 3, 12, 8, 30, 1, 999_999, tzinfo=dt.UTC)
LATE = EARLY + dt.timedelta(microseconds=1)
A, B = (Path("a.parquet"),), (Path("b.parquet"), Path("c.parquet"))


def test_the_newest_rows_of_a_document_are_found_in_whatever_order_they_come() -> None:
    for rows in (((EARLY, A), (LATE, B)), ((LATE, B), (EARLY, A))):
        done = Done()
        for made, paths in rows:
            done.add("one", "d", made, paths)
        assert done.newest("d") == (LATE, B)


def test_of_two_that_came_at_the_same_time_the_later_one_counts() -> None:
    done = Done()
    done.add("one", "d", EARLY, B)
    done.add("one", "d", EARLY, A)
    assert done.newest("d") == (EARLY, A)


def test_a_source_is_done_with_its_own_bytes_alone() -> None:
    done = Done()
    done.add("one", "d", EARLY, A)
    assert done.has("one", "d")
    assert not done.has("two", "d")
    assert not done.has("one", "e")
    assert "d" in done
    assert "e" not in done
    assert done.newest("e") is None


@given(st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2100, 1, 1)), st.integers(0, 40))
def test_times_and_places_come_back_as_they_were(made: dt.datetime, before: int) -> None:
    made = made.replace(tzinfo=dt.UTC)
    done = Done()
    for number in range(before):
        done.add("other", str(number), EARLY, (Path(f"{number}.parquet"),))
    done.add("one", "d", made, A)
    micro = (made - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    done.add("two", "e", micro, B)
    assert done.newest("d") == (made, A)
    assert done.newest("e") == (made, B)
