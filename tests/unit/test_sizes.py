"""Numbers of bytes as people read them."""

from __future__ import annotations

import pytest

from docflow.sizes import GIB, KIB, MIB, shown_size


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (KIB, "1.0 KiB"),
        (54_375, "53.1 KiB"),
        (12 * MIB, "12.0 MiB"),
        (3 * GIB // 2, "1.5 GiB"),
        (8192 * GIB, "8,192.0 GiB"),
    ],
)
def test_bytes_are_shown_in_the_unit_that_leaves_a_number_to_read(count: int, shown: str) -> None:
    assert shown_size(count) == shown
