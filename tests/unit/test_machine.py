"""What this machine has: GPUs as nvidia-smi tells them, memory within containers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow import machine
from docflow.machine import Machine, main_memory, parse_gpus, usable_cores, visible
from docflow.sizes import GIB, MIB

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


V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group inside another, each with limits to be written."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    monkeypatch.setattr(machine, "_of_the_machine", lambda: (50 * GIB, 64 * GIB))
    monkeypatch.setattr(machine, "_limits", lambda: machine._up(tmp_path, "/outer/inner", *V2))
    return tmp_path


def limit(folder: Path, most: str, used: int, idle: int = 0) -> None:
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {idle}\nfile 9\n")


def test_the_narrowest_container_around_this_process_counts(groups: Path) -> None:
    assert main_memory() == (50 * GIB, 64 * GIB)
    limit(groups / "outer", str(8 * GIB), 3 * GIB, GIB)  # of which 1 GiB are pages that nobody reads
    limit(groups / "outer" / "inner", "max", 2 * GIB)
    assert main_memory() == (6 * GIB, 8 * GIB)
    limit(groups / "outer" / "inner", str(4 * GIB), 4 * GIB)
    assert main_memory() == (0, 4 * GIB)


def test_this_machine_tells_what_it_has() -> None:
    free, total = main_memory()
    assert 0 <= free < total
    assert usable_cores() >= 1
