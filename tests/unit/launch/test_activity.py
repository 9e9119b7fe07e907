"""Slow or hung: which counters are movement, and over which time."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from rigappliance.launch.activity import Counters, StallClock, count, what_moved
from rigappliance.launch.proctree import TICKS_PER_S, ProcessStat, read_stat

MIB = 1 << 20
STILL = Counters(
    at_s=100.0,
    log_bytes=5000,
    read_bytes=10_000,
    cpu_ticks=900,
    faults=4000,
    rss_bytes=MIB,
    vram_bytes=MIB,
    processes=4,
)


def later(seconds: float = 10.0, /, since: Counters = STILL, **changes: int) -> Counters:
    """``since`` some seconds later, with these amounts added."""
    values = {name: getattr(since, name) + amount for name, amount in changes.items()}
    return replace(since, at_s=since.at_s + seconds, **values)


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({}, []),
        ({"log_bytes": 1}, ["log"]),
        ({"processes": 1}, ["processes"]),
        ({"processes": -1}, ["processes"]),
        ({"read_bytes": 1}, ["bytes read"]),
        ({"read_bytes": -4096}, ["bytes read"]),
        # 10 s at 2 % of a core are 0.2 s.
        ({"cpu_ticks": int(0.19 * TICKS_PER_S)}, []),
        ({"cpu_ticks": int(0.21 * TICKS_PER_S)}, ["CPU time"]),
        ({"faults": 199}, []),
        ({"faults": 201}, ["page faults"]),
        ({"vram_bytes": MIB}, []),
        ({"vram_bytes": MIB + 1}, ["card memory"]),
        ({"vram_bytes": -MIB - 1}, ["card memory"]),
        ({"rss_bytes": 500 * MIB}, []),
        (
            {"log_bytes": 1, "processes": 1, "read_bytes": 1, "cpu_ticks": 900, "faults": 900, "vram_bytes": 9 * MIB},
            ["log", "processes", "bytes read", "CPU time", "page faults", "card memory"],
        ),
    ],
)
def test_what_moved(changes: dict[str, int], moved: list[str]) -> None:
    assert what_moved(STILL, later(10.0, STILL, **changes)) == moved


def test_two_samples_at_one_moment_are_no_division_by_zero() -> None:
    assert what_moved(STILL, STILL) == []
    assert what_moved(STILL, later(0.0, log_bytes=1)) == ["log"]


def test_idle_cpu_time_is_measured_against_the_time_between_samples() -> None:
    ticks = int(0.05 * TICKS_PER_S)
    assert what_moved(STILL, later(1.0, cpu_ticks=ticks)) == ["CPU time"]
    assert what_moved(STILL, later(10.0, cpu_ticks=ticks)) == []


def test_the_clock_counts_from_the_last_movement() -> None:
    clock = StallClock(STILL)
    assert clock.stalled_s(130.0) == 30.0
    assert clock.sample(later(40.0, read_bytes=1))
    assert (clock.stalled_s(150.0), clock.moved) == (10.0, ["bytes read"])
    assert not clock.sample(later(60.0, since=later(read_bytes=1)))
    assert clock.stalled_s(180.0) == 40.0


def test_a_rate_is_taken_over_the_window_and_not_over_one_tick() -> None:
    """One tick within 0.1 s would be 10 % of a core; over the window it is idling."""
    clock = StallClock(STILL, window_s=2.0)
    for tenth in range(1, 20):
        assert not clock.sample(later(tenth / 10, cpu_ticks=1))
    assert not clock.sample(later(2.5, cpu_ticks=1))
    assert clock.stalled_s(later(2.5).at_s) == 2.5


def test_little_by_little_within_a_window_adds_up() -> None:
    clock = StallClock(STILL, window_s=2.0)
    half_a_core = TICKS_PER_S // 20
    assert [clock.sample(later(tenth / 10, cpu_ticks=tenth * half_a_core)) for tenth in range(1, 21)] == [
        *[False] * 19, True,
    ]  # fmt: skip


def test_a_log_line_is_movement_at_once() -> None:
    clock = StallClock(STILL, window_s=2.0)
    assert clock.sample(later(0.1, log_bytes=80))
    assert clock.stalled_s(STILL.at_s + 0.1) == 0.0


def test_a_process_that_waits_stalls_for_ever_and_a_slow_disk_does_not() -> None:
    hung, slow = StallClock(STILL), StallClock(STILL)
    for second in range(1, 1201):
        hung.sample(later(float(second), cpu_ticks=second // 100))
        slow.sample(later(float(second), read_bytes=4096 * (second // 60)))
    assert hung.stalled_s(STILL.at_s + 1200) == 1200
    assert slow.stalled_s(STILL.at_s + 1200) < 62


def test_counting_adds_up_the_tree() -> None:
    own = read_stat(os.getpid())
    assert own is not None
    gone = ProcessStat(2**22 + 1, "gone", "S", 1, 3, 4, 5, 6, 7)
    counted = count([own, gone], at_s=1.5, log_bytes=8, vram_bytes=9)
    assert counted.processes == 2
    assert counted.cpu_ticks == own.cpu_ticks + 5
    assert counted.faults == own.minor_faults + own.major_faults + 7
    assert counted.rss_bytes == own.rss_bytes + 7
    assert (counted.at_s, counted.log_bytes, counted.vram_bytes) == (1.5, 8, 9)
    assert count([], 0.0, 0, 0) == Counters(0.0, 0, 0, 0, 0, 0, 0, 0)
