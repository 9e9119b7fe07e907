"""What of an engine's log matters for its end."""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.diagnosis.signature import Role

# Lines that may follow an exception that ended a process.
CLOSING = 1


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
    late: Hit | None = None  # the last exception after that: of a stop, or the reason of one that nobody asked for

    @property
    def ends_with_error(self) -> bool:
        """Whether its last word is an exception after a stop: what stopped it was then an error, and no order."""
        return self.late is not None and self.late.number >= self.lines - CLOSING

    def of(self, role: Role) -> tuple[Hit, ...]:
        return tuple(hit for hit in self.hits if hit.role is role)
