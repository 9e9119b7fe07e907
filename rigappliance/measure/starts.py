"""How long a start took, and how long earlier ones like it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rigappliance.launch.history import Entry, Key
from rigappliance.launch.phases import Phase
from rigappliance.launch.state import StartState
from rigappliance.measure.compare import Comparison, compare

# Line of the report → the phases that it sums.
PARTS: dict[str, tuple[Phase, ...]] = {
    "load": (Phase.WEIGHTS,),
    "silent": (Phase.COMPILE, Phase.PROFILE, Phase.KV_CACHE, Phase.GRAPHS),
    "start": tuple(phase for phase in Phase if phase is not Phase.READY),
}


@dataclass(frozen=True)
class StartPart:
    """Seconds of one part, and against earlier starts of the same engine, model, layout and host."""

    name: str
    seconds: float
    comparison: Comparison | None

    def as_dict(self) -> dict[str, Any]:
        against = self.comparison.as_dict() if self.comparison else None
        return {"name": self.name, "seconds": self.seconds, "against": against}


def phases_of(state: StartState) -> dict[str, float]:
    """Seconds by phase of a start that is over; serving is none."""
    return {
        record.name: record.seconds
        for record in state.phases
        if record.seconds is not None and record.name != Phase.READY.label
    }


def sums(phases: Mapping[str, float]) -> dict[str, float]:
    return {name: sum(phases.get(phase.label, 0.0) for phase in parts) for name, parts in PARTS.items()}


def start_parts(state: StartState, key: Key, history: Sequence[Entry]) -> list[StartPart]:
    """Of the start that ``state`` tells of; its own entry is among the history."""
    own = sums(phases_of(state))
    earlier = [sums(each.durations_s) for each in history if each.key == key and each.started < state.started]
    return [
        StartPart(name, seconds, compare([seconds], [[each[name]] for each in earlier], more_is_better=False))
        for name, seconds in own.items()
        if seconds
    ]
