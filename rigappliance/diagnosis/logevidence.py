"""What of an engine's log matters for its end."""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.diagnosis.signature import Role


@dataclass(frozen=True)
class Hit:
    """A line that speaks for a cause; ``number`` counts from 1. A consequence has no cause."""

    signature: str
    cause: str
    number: int
    text: str
    role: Role = Role.ROOT


@dataclass(frozen=True)
class LogEvidence:
    """``hits`` in the order of the log, bounded in number; ``last_lines`` without progress bars and blank lines."""

    hits: tuple[Hit, ...] = ()
    last_lines: tuple[str, ...] = ()
    lines: int = 0
    serving: bool = False  # HTTP had come up
    from_start: bool = False  # the log begins where the engine did
    stopping: bool = False  # it says that it was told to stop, before anything failed

    def of(self, role: Role) -> tuple[Hit, ...]:
        return tuple(hit for hit in self.hits if hit.role is role)
