"""Whether anything moves: the difference between slow and hung.

A start on a starved machine can be silent for twenty minutes and healthy.  It
is hung only when none of its counters moves: no output, no byte read, no page
fault, no card memory taken, and less CPU time than idling costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rigappliance.launch.proctree import TICKS_PER_S, ProcessStat, read_bytes_from_disk

# Idle event loops, timers and heartbeat threads of four to ten processes stay
# below this share of one core; anything that computes is far above it.
IDLE_CPU_SHARE = 0.02
# Idle processes fault now and then; reading through mmap or swap faults all the time.
IDLE_FAULTS_PER_S = 20.0


@dataclass(frozen=True)
class Counters:
    """Sums over the engine's tree. ``vram_bytes`` is what all cards have in use, 0 without a card."""

    at_s: float
    log_bytes: int
    read_bytes: int
    cpu_ticks: int
    faults: int
    rss_bytes: int
    vram_bytes: int
    processes: int


def count(tree: Iterable[ProcessStat], at_s: float, log_bytes: int, vram_bytes: int) -> Counters:
    stats = list(tree)
    return Counters(
        at_s=at_s,
        log_bytes=log_bytes,
        read_bytes=sum(read_bytes_from_disk(stat.pid) for stat in stats),
        cpu_ticks=sum(stat.cpu_ticks for stat in stats),
        faults=sum(stat.minor_faults + stat.major_faults for stat in stats),
        rss_bytes=sum(stat.rss_bytes for stat in stats),
        vram_bytes=vram_bytes,
        processes=len(stats),
    )


def what_moved(old: Counters, new: Counters) -> list[str]:
    """Names of what moved between two samples; empty if the engine may be hung.

    Sums can fall when a process leaves; that is movement too.
    """
    elapsed = max(new.at_s - old.at_s, 1e-6)
    moved = []
    if new.log_bytes != old.log_bytes:
        moved.append("log")
    if new.processes != old.processes:
        moved.append("processes")
    if new.read_bytes != old.read_bytes:
        moved.append("bytes read")
    if (new.cpu_ticks - old.cpu_ticks) / TICKS_PER_S > IDLE_CPU_SHARE * elapsed:
        moved.append("CPU time")
    if new.faults - old.faults > IDLE_FAULTS_PER_S * elapsed:
        moved.append("page faults")
    # Drivers move a few pages on their own.
    if abs(new.vram_bytes - old.vram_bytes) > 1 << 20:
        moved.append("card memory")
    return moved


class StallClock:
    """Time since something last moved.

    Rates are taken between samples that are some time apart, so that one tick
    of a clock is not mistaken for work.
    """

    def __init__(self, first: Counters, window_s: float = 2.0) -> None:
        self.reference = first
        self.window_s = window_s
        self.last_movement_s = first.at_s
        self.moved: list[str] = []

    def sample(self, counters: Counters) -> bool:
        """Take a sample; true if it shows movement."""
        if counters.log_bytes == self.reference.log_bytes and counters.at_s - self.reference.at_s < self.window_s:
            return False
        self.moved = what_moved(self.reference, counters)
        self.reference = counters
        if self.moved:
            self.last_movement_s = counters.at_s
        return bool(self.moved)

    def stalled_s(self, now_s: float) -> float:
        return now_s - self.last_movement_s
