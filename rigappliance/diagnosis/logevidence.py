"""What of an engine's log matters for its end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hit:
    """A line that speaks for a cause; ``number`` counts from 1."""

    signature: str
    cause: str
    number: int
    text: str


@dataclass(frozen=True)
class LogEvidence:
    """``hits`` in the order of the log, bounded in number; ``last_lines`` without progress bars and blank lines."""

    hits: tuple[Hit, ...] = ()
    last_lines: tuple[str, ...] = ()
    lines: int = 0
    serving: bool = False  # HTTP had come up
