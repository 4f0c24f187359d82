"""Bundles: several made documents in one file, and where each begins."""

from __future__ import annotations

import io
from itertools import pairwise

import pypdfium2
import pytest
from maker.bundles import bundle


@pytest.mark.parametrize("number", range(4))
def test_a_bundle_is_the_same_each_time_and_its_documents_follow_each_other(number: int) -> None:
    made = bundle(5, number, scanned=False)
    again = bundle(5, number, scanned=False)
    assert (made.parts, made.kinds) == (again.parts, again.kinds)
    pages = len(pypdfium2.PdfDocument(io.BytesIO(made.content)))
    assert 2 <= len(made.parts) == len(made.kinds) <= 7
    assert made.parts[0][0] == 1
    assert all(first <= last for first, last in made.parts)
    assert all(0 < later[0] - earlier[1] <= 2 for earlier, later in pairwise(made.parts))  # a blank back between
    assert made.parts[-1][1] in (pages, pages - 1)
