"""What nvidia-smi says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from docflow.deploy.local.hardware import MIB, Machine, parse_gpus, visible

SAID = """\
0, GPU-aaaa, NVIDIA A10G, 23028, 22515
1, GPU-bbbb, NVIDIA A10G, 23028, 22900
2, GPU-cccc, NVIDIA A10G, [N/A], [N/A]
"""


def test_gpus_are_read_and_the_emptiest_comes_first() -> None:
    gpus = visible(parse_gpus(SAID), None)
    assert [(gpu.number, gpu.free // MIB) for gpu in gpus] == [(1, 22900), (0, 22515)]


def test_only_what_the_user_leaves_visible_is_used() -> None:
    gpus = parse_gpus(SAID)
    assert [gpu.number for gpu in visible(gpus, "0")] == [0]
    assert [gpu.number for gpu in visible(gpus, "GPU-bb")] == [1]
    assert visible(gpus, "") == []


@given(st.text())
def test_nothing_that_is_printed_instead_is_taken_for_a_gpu_without_memory(said: str) -> None:
    for gpu in parse_gpus(said):
        assert gpu.total >= 0


def test_this_machine_has_memory_and_cores() -> None:
    machine = Machine.look()
    assert 0 < machine.available <= machine.memory
    assert machine.cores >= 1
