"""A line about every 5 % or every 10 s, with rate and time left."""

from __future__ import annotations

from rigappliance.swapfile.machine import Output
from rigappliance.swapfile.progress import Progress
from rigappliance.units import SIZE_UNITS

GIB = SIZE_UNITS["GiB"]


def lines_of(total: int, points: list[tuple[float, int]]) -> list[str]:
    """What is said where at each of ``points``, seconds and bytes, progress is told."""
    lines: list[str] = []
    statuses: list[str] = []
    clock = iter([seconds for seconds, _ in points])
    progress = Progress("making it", total, Output(lines.append, statuses.append), lambda: next(clock))
    for _, done in points:
        progress.at(done)
    assert statuses == lines
    return lines


def test_the_rigs_disk() -> None:
    """100 MiB/s: 5 % take 65 s, so that most lines come of the 10 s."""
    step = 256 * SIZE_UNITS["MiB"]
    lines = lines_of(128 * GIB, [(2.56 * index, step * index) for index in range(513)])
    assert lines[0] == "making it: 1.0 GiB of 128.0 GiB (1%), 100.0 MiB/s, about 21 min 40 s left"
    assert lines[-1].startswith("making it: 128.0 GiB of 128.0 GiB (100%), 100.0 MiB/s, about 0.0 s left")
    assert len(lines) == 140


def test_a_faster_one_a_line_every_five_percent() -> None:
    lines = lines_of(GIB, [(index * 0.5, index * GIB // 100) for index in range(101)])
    assert len(lines) == 20
    assert lines[0].startswith("making it: 61.4 MiB of 1.0 GiB (6%), 20.5 MiB/s")


def test_one_that_is_done_at_once_says_nothing() -> None:
    assert lines_of(GIB, [(index * 0.001, index * GIB // 100) for index in range(101)]) == []


def test_what_is_there_already_counts_for_the_share_and_not_for_the_rate() -> None:
    lines = lines_of(4 * GIB, [(0.0, 2 * GIB), (10.0, 3 * GIB)])
    assert lines == [
        "making it: going on at 2.0 GiB of 4.0 GiB (50%)",
        "making it: 3.0 GiB of 4.0 GiB (75%), 102.4 MiB/s, about 10 s left",
    ]


def test_a_disk_that_does_not_move_is_no_division_by_zero() -> None:
    assert lines_of(4 * GIB, [(0.0, 0), (11.0, 0)]) == ["making it: 0 B of 4.0 GiB (0%), nothing written yet"]
