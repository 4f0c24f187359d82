"""What agents say that a session uses, well typed or not."""

from __future__ import annotations

import pytest

from docflow.deploy.backendai.figures import use_of
from docflow.deploy.backendai.manager import Session


@pytest.mark.parametrize("said", ["nan", "NaN", "inf", float("inf"), "1e999", "much", None, [], {}])
def test_a_figure_that_is_no_number_is_not_told(said: object) -> None:
    figures = {"mem": {"current": said, "capacity": "1073741824"}, "cpu_util": {"pct": said}}
    use = use_of(Session("1", "mine", "RUNNING", figures=figures))
    assert (use.memory, use.memory_total, use.cpu) == (None, 1 << 30, None)
