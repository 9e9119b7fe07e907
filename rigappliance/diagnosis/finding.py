"""How rules say what they found."""

from __future__ import annotations

from collections.abc import Iterable

from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.logevidence import Hit, LogEvidence
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence

LOG, KERNEL, JOURNAL, CARDS = "engine log", "kernel log", "journal", "NVML"
EVENTS, EXIT, PROCESS, PROBE, STACK = "memory.events", "exit status", "process", "proof of life", "stack"
MACHINE = "machine"


def found(cause: str, confidence: Confidence, evidence: Iterable[Evidence], remedy: str = "") -> Diagnosis:
    """A diagnosis with the cause's own remedy where no better one is given."""
    entry = CAUSES[cause]
    return Diagnosis(entry, confidence, tuple(evidence), remedy=remedy or entry.remedy)


def of_hit(hit: Hit) -> Evidence:
    return Evidence(LOG, hit.text, hit.number)


def last_lines(log: LogEvidence, count: int) -> tuple[Evidence, ...]:
    return tuple(Evidence(LOG, line) for line in log.last_lines[-count:]) if count else ()
