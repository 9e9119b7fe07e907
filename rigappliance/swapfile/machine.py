"""What the work on a swap file needs to know of the machine and of whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rigappliance.facts.host import SwapDevice, parse_swaps, read_text


@dataclass(frozen=True)
class Machine:
    """``root`` holds ``proc`` and ``sys``; ``owner_uid`` is the only user that may do the work and own the file."""

    root: Path = Path("/")
    owner_uid: int = 0

    @property
    def mountinfo_text(self) -> str:
        return read_text(self.root / "proc/self/mountinfo") or ""

    @property
    def swaps(self) -> tuple[SwapDevice, ...]:
        """The active swap areas; none where ``/proc/swaps`` cannot be read."""
        return parse_swaps(read_text(self.root / "proc/swaps") or "")


@dataclass(frozen=True)
class Output:
    """``line`` writes one line for people and logs; ``status`` replaces what systemd shows of the unit."""

    line: Callable[[str], None]
    status: Callable[[str], None]

    def warn(self, text: str) -> None:
        self.line(f"warning: {text}")


def this_machine() -> Machine:
    return Machine()
