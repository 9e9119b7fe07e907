"""Durations of earlier starts, and what they say about this one.

A start is comparable to another of the same engine, checkpoint, layout and
host; a first start with empty caches is told apart from later ones only by
being the slowest, so the median is taken over the latest few.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import Any

from rigappliance.launch.phases import Phase
from rigappliance.launch.state import NONSENSE, StateDirectory

RECENT = 5
KEPT = 200

# Hand-measured on the reference rig: 77.1 GB of weights in 28 min from its HDD,
# then 15 to 20 min of compilation, profiling and graph capture.
SEED_BYTES_PER_S = 77.1e9 / (28 * 60)
SEED_AFTER_WEIGHTS_S = {Phase.COMPILE: 8 * 60.0, Phase.PROFILE: 4 * 60.0, Phase.GRAPHS: 5 * 60.0, Phase.HTTP: 30.0}
SEED_BASIS = "no earlier start here; the reference rig's 77.1 GB in 28 min, then 15 to 20 min"


@dataclass(frozen=True)
class Key:
    """What makes two starts comparable."""

    engine: str
    model: str
    layout: str
    host: str


@dataclass(frozen=True)
class Entry:
    """One finished start: seconds by phase label, of a start that became ready."""

    key: Key
    started: float
    durations_s: dict[str, float]


@dataclass(frozen=True)
class Estimate:
    """Seconds until ready, and what that rests on; None where nothing is known."""

    remaining_s: float | None
    basis: str


def read_history(directory: StateDirectory) -> list[Entry]:
    """All entries, oldest first. Lines that make no sense are left out and the file is set aside."""
    try:
        text = directory.history_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    entries, bad = [], 0
    for line in text.splitlines():
        try:
            entries.append(entry_from(json.loads(line)))
        except NONSENSE:
            bad += 1
    if bad:
        directory.set_aside(directory.history_file, f"has {bad} line(s) that are no history")
        _write(directory, entries)
    return entries


def entry_from(content: Any) -> Entry:
    """Raises one of ``NONSENSE`` for anything but a whole entry."""
    durations = {str(name): float(seconds) for name, seconds in content["durations_s"].items()}
    if any(not 0 <= seconds < 1e7 for seconds in durations.values()):
        raise ValueError("a duration is out of range")
    return Entry(Key(**content["key"]), float(content["started"]), durations)


def append(directory: StateDirectory, entry: Entry) -> None:
    """Add one entry; old ones beyond ``KEPT`` are dropped. A full disk is passed over."""
    _write(directory, [*read_history(directory), entry][-KEPT:])


def _write(directory: StateDirectory, entries: list[Entry]) -> None:
    directory.replace(directory.history_file, "".join(json.dumps(asdict(entry)) + "\n" for entry in entries))


class Estimator:
    """Time left of a start of ``key`` whose checkpoint has ``checkpoint_bytes``."""

    def __init__(self, entries: list[Entry], key: Key, checkpoint_bytes: int, *, seeded: bool) -> None:
        recent = [entry for entry in entries if entry.key == key][-RECENT:]
        self.expected_s: dict[Phase, float] = {}
        if recent:
            plural = "s" if len(recent) > 1 else ""
            self.basis = f"{len(recent)} earlier start{plural} here"
            for phase in Phase:
                seconds = [entry.durations_s.get(phase.label, 0.0) for entry in recent]
                self.expected_s[phase] = statistics.median(seconds)
        elif seeded:
            self.basis = SEED_BASIS
            self.expected_s = {Phase.WEIGHTS: checkpoint_bytes / SEED_BYTES_PER_S, **SEED_AFTER_WEIGHTS_S}
        else:
            self.basis = "no earlier start here; this one will be the first that is measured"

    def estimate(self, phase: Phase, in_phase_s: float, share: float | None) -> Estimate:
        """Time left when ``phase`` has taken ``in_phase_s`` and is ``share`` done (None: unknown)."""
        if not self.expected_s:
            return Estimate(None, self.basis)
        later = sum(seconds for after, seconds in self.expected_s.items() if after > phase)
        expected = self.expected_s.get(phase, 0.0)
        basis = self.basis
        if share and in_phase_s > 5:
            # What this start has done already says more than any other start.
            here = in_phase_s / share - in_phase_s
            basis = f"{basis}; {phase.label} by this start's own rate"
        else:
            here = max(expected - in_phase_s, 0.0)
        return Estimate(here + later, basis)
