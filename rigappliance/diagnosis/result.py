"""What a diagnosis says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rigappliance.diagnosis.cause import Cause, Decision


class Confidence(StrEnum):
    CERTAIN = "certain"  # the kernel, systemd or the engine itself said so
    LIKELY = "likely"  # the evidence fits this and, as far as is known, nothing else
    POSSIBLE = "possible"  # something else could look the same


@dataclass(frozen=True)
class Evidence:
    """``text`` is the very line; ``source`` says where: "engine log", "kernel log", "memory.events", "exit status"…"""

    source: str
    text: str
    line: int | None = None


@dataclass(frozen=True)
class Diagnosis:
    """``ruled_out`` are clauses such as "no process was killed for want of memory (memory.events)"."""

    cause: Cause
    confidence: Confidence
    evidence: tuple[Evidence, ...] = ()
    ruled_out: tuple[str, ...] = ()
    # The cause's own remedy, with this case's numbers where they are known.
    remedy: str = ""

    @property
    def decision(self) -> Decision:
        return self.cause.decision
