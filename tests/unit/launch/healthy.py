"""Healthy starts and stops with random timing: what a false alarm would be raised for."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.unit.launch.rig import Rig

PHASES = ("process start", "config", "workers", "weights", "compile", "profiling", "KV cache", "HTTP")
# Slowest against usual; the recorded pauses times the pace, times this, stay below the time after which it counts as
# hung, as they do with the real times.
SLOWEST = 100.0
STALL_S = 60.0
SERVES_S = 1.5
LONGEST_S = 180.0


@dataclass(frozen=True)
class Healthy:
    """One start and its stop; ``alarms`` are causes that were named, ``given_up``: it ended before it was told to."""

    number: int
    slow: dict[str, float]
    phase: str | None
    elapsed_s: float
    exit_code: int
    ready: bool
    given_up: bool
    alarms: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    @property
    def clean(self) -> bool:
        # A signal that comes while Python itself still starts ends that.
        stopped = (0,) if self.ready else (130, -signal.SIGTERM) if self.phase is None else (130,)
        return not self.alarms and not self.given_up and self.exit_code in stopped


def healthy_start(number: int, root: Path, engine: Path, rng: random.Random, pace: float) -> Healthy:
    """Start with phases up to ``SLOWEST`` × slower, and stop anywhere: at once, in a phase, or while it serves."""
    rig = Rig(root, engine)
    rig.content["launch"]["stall_timeout"] = f"{STALL_S:.0f}s"
    rig.content["launch"]["probe_interval"] = f"{rng.choice((200, 500, 1500))}ms"
    slow = {phase: round(SLOWEST ** rng.random(), 1) for phase in rng.sample(PHASES, rng.randint(0, 3))}
    token_s, helpers, helper_s = rng.choice((0.0, 0.0, 0.3)), rng.choice((0, 1, 3)), rng.uniform(0.0, 1.5)
    rig.tell(pace=pace, jitter=1.0, slow=slow, token_s=token_s, helpers=helpers, helper_s=helper_s)
    early_s = rng.choice((None, None, rng.uniform(0.2, 5.0)))

    begin_s = time.monotonic()
    process = rig.start("launch")
    try:
        while process.poll() is None and time.monotonic() - begin_s < (early_s or LONGEST_S):
            state = rig.directory.peek()
            if state is not None and state.ready is not None:
                time.sleep(rng.uniform(0.0, SERVES_S))
                break
            time.sleep(0.05)
        given_up = process.poll() is not None
        code = rig.stop(process)
    finally:
        rig.end()
    state = rig.directory.peek()
    alarms = [failure.cause for failure in rig.failures()]
    if state is not None and state.cause:
        alarms.append(state.cause)
    return Healthy(
        number=number,
        slow=slow,
        phase=state.phase if state else None,
        elapsed_s=round(time.monotonic() - begin_s, 2),
        exit_code=code,
        ready=state is not None and state.ready is not None,
        given_up=given_up,
        alarms=tuple(alarms),
    )
