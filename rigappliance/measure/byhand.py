"""The reference rig's numbers, taken by hand before there was anything that took them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Another quantisation of the model differs by far more, and a name may be anything.
SAME_SIZE = 0.005
FILE = Path(__file__).parent / "data/rig_by_hand.json"


@dataclass(frozen=True)
class ByHand:
    """Seconds and tokens a second, each from the least to the most that was seen."""

    model: str
    checkpoint_bytes: int
    source: str
    note: str
    figures: dict[str, tuple[float, float]]

    def of(self, checkpoint_bytes: int) -> bool:
        """Whether this is the model that was measured, by its weights; numbers of another one say nothing about it."""
        return abs(checkpoint_bytes / self.checkpoint_bytes - 1) < SAME_SIZE


@cache
def by_hand() -> ByHand:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    figures = {name: (float(least), float(most)) for name, (least, most) in content["figures"].items()}
    return ByHand(content["model"], content["checkpoint_bytes"], content["source"], content["note"], figures)


def against(value: float, seen: tuple[float, float]) -> str:
    """``"1.6 times"``, or a span where the number itself was one."""
    least, most = sorted((value / seen[0], value / seen[1]))
    return f"{least:.2g} times" if f"{least:.2g}" == f"{most:.2g}" else f"{least:.2g} to {most:.2g} times"
