"""One look at a start, and its one-line description for the journal, systemd and `status`."""

from __future__ import annotations

from dataclasses import dataclass, field

from rigappliance.launch.history import Estimate
from rigappliance.launch.phases import Bar, Phase
from rigappliance.units import format_duration, format_size


@dataclass(frozen=True)
class Snapshot:
    """Times in seconds since the start; memory in bytes."""

    phase: Phase
    elapsed_s: float
    in_phase_s: float
    bar: Bar | None
    weights_loaded: bool
    checkpoint_bytes: int
    estimate: Estimate
    durations_s: dict[Phase, float] = field(default_factory=dict)
    engine_rss_bytes: int = 0
    engine_read_bytes: int = 0
    vram_used_bytes: int = 0
    quiet_s: float = 0.0

    @property
    def share(self) -> float | None:
        """How much of the phase is done, 0 to 1, where the engine says."""
        if self.bar is None or self.bar.total == 0:
            return None
        return self.bar.done / self.bar.total


def progress(snapshot: Snapshot) -> str:
    """What the phase has done so far: shards and bytes, graphs, or nothing."""
    bar = snapshot.bar
    if snapshot.phase is Phase.WEIGHTS and bar and bar.in_bytes:
        return f"{format_size(bar.done)} of {format_size(bar.total)} read"
    if snapshot.phase is Phase.WEIGHTS and bar:
        done = snapshot.checkpoint_bytes * bar.done // bar.total
        whole = format_size(snapshot.checkpoint_bytes)
        return f"{bar.done}/{bar.total} shards, {format_size(done)} of {whole}"
    if snapshot.phase is Phase.GRAPHS and bar:
        return f"{bar.done}/{bar.total} graphs"
    if snapshot.phase is Phase.WEIGHTS and snapshot.engine_read_bytes:
        return f"{format_size(snapshot.engine_read_bytes)} read from disk"
    return ""


def time_left(snapshot: Snapshot) -> str:
    """``"about 12 min left"``, or that nobody knows."""
    remaining = snapshot.estimate.remaining_s
    return "time left unknown" if remaining is None else f"about {format_duration(remaining)} left"


def describe(snapshot: Snapshot) -> str:
    """The whole on one line, without what the estimate rests on."""
    parts = [snapshot.phase.label]
    if text := progress(snapshot):
        parts.append(text)
    if snapshot.phase is not Phase.READY:
        parts.append(time_left(snapshot))
    return ", ".join(parts)
