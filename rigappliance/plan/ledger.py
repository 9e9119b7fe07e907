"""A ledger: what uses a memory, by name, in bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

# How a number came to be: from the checkpoint's headers and the engine's own rules; from a coefficient that was
# measured somewhere (see its source); from what the operator declared.
Basis = Literal["derived", "measured", "declared"]


@dataclass(frozen=True)
class Line:
    """One use of a memory. ``name`` is stable (``weights``, ``kv-cache``); ``note`` is a clause for people."""

    name: str
    size_bytes: int
    basis: Basis
    note: str = ""


@dataclass(frozen=True)
class Ledger:
    """What uses the memory of one ``owner`` (``card 0``, ``RAM while loading``), in the order in which it is taken."""

    owner: str
    capacity_bytes: int
    lines: tuple[Line, ...]

    @property
    def used_bytes(self) -> int:
        return sum(line.size_bytes for line in self.lines)

    @property
    def free_bytes(self) -> int:
        """Negative where it does not fit."""
        return self.capacity_bytes - self.used_bytes

    @property
    def overflow(self) -> Line | None:
        """The first line that finds no room, or ``None`` where all fit."""
        left_bytes = self.capacity_bytes
        for line in self.lines:
            left_bytes -= line.size_bytes
            if left_bytes < 0:
                return line
        return None

    def bytes_of(self, *names: str) -> int:
        """The sum of the lines called so."""
        return sum(line.size_bytes for line in self.lines if line.name in names)

    def as_dict(self) -> dict[str, Any]:
        overflow = self.overflow
        return {
            **asdict(self),
            "used_bytes": self.used_bytes,
            "free_bytes": self.free_bytes,
            "overflow": overflow.name if overflow else None,
        }
