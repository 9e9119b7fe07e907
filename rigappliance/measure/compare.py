"""Better, worse, or within the noise."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

# Less is no change, whatever the spread: one earlier run says nothing about how runs differ from day to day.
LEAST_CHANGE_FEW = 0.12
LEAST_CHANGE = 0.03
RUNS_THAT_TELL = 3
# The range of all that ever was would grow until nothing lies beyond it.
RECENT = 5


class Verdict(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    SAME = "within the noise"
    FEW = "too few to tell"


@dataclass(frozen=True)
class Comparison:
    """``change``: of the median against that of all earlier values. ``noise``: what it would have to exceed."""

    verdict: Verdict
    change: float
    noise: float
    runs: int

    def __str__(self) -> str:
        if self.verdict is Verdict.FEW:
            return f"? {self.change:+.0%} (of {self.runs})"
        if self.verdict is Verdict.SAME:
            return f"~ {self.change:+.0%} ({self.noise:.0%})"
        return f"{self.verdict} {self.change:+.0%}"

    def as_dict(self) -> dict[str, object]:
        return {"verdict": str(self.verdict), "change": self.change, "noise": self.noise, "earlier_runs": self.runs}


def compare(now: Sequence[float], earlier: Sequence[Sequence[float]], *, more_is_better: bool) -> Comparison | None:
    """``now`` against the values of each of the latest of the earlier runs, oldest first; None where one side has none.

    A verdict needs two things: no value of this run lies among the earlier ones, and the medians differ by more than
    either side spreads, and by more than the least change that counts.  A single value knows no spread of its own: it
    needs several runs to be held against, and more of a change.
    """
    earlier = [run for run in earlier if run][-RECENT:]
    then = [value for run in earlier for value in run]
    if not now or not then or not statistics.median(then):
        return None
    middle = statistics.median(then)
    change = statistics.median(now) / middle - 1
    several = len(earlier) >= RUNS_THAT_TELL
    least = LEAST_CHANGE if several and len(now) > 1 else LEAST_CHANGE_FEW
    noise = max(least, (max(now) - min(now)) / middle, (max(then) - min(then)) / middle)
    apart = min(now) > max(then) or max(now) < min(then)
    if len(now) == 1 and not several:
        verdict = Verdict.FEW
    elif not apart or abs(change) <= noise:
        verdict = Verdict.SAME
    else:
        verdict = Verdict.BETTER if (change > 0) == more_is_better else Verdict.WORSE
    return Comparison(verdict, change, noise, len(earlier))
