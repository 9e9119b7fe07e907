"""Ends that say nothing of their own: asked for, cut off, or quiet."""

from __future__ import annotations

from rigappliance.diagnosis.finding import EXIT, MACHINE, PROBE, found, last_lines, of_hit
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.diagnosis.rules.logcause import told_its_end
from rigappliance.diagnosis.signature import Role
from rigappliance.units import format_size

# A disk with less than this is full for whoever wants to write a file.
FULL_BYTES = 1 << 20
SHOWN = 3
_CORE_WORDS = ("core-fatal", "engine-dead", "output-handler", "core-gone", "v0-background")


def stopped(seen: Observations) -> Diagnosis | None:
    return found("stopped", Confidence.CERTAIN, ()) if seen.asked else None


def power_cut(seen: Observations) -> Diagnosis | None:
    if not seen.rebooted:
        return None
    word = Evidence(MACHINE, "it was started again since, and nobody had stopped the engine")
    return found("power-cut", Confidence.CERTAIN, (word, *last_lines(seen.log, 1)))


def supervisor_killed(seen: Observations) -> Diagnosis | None:
    if not seen.supervisor_killed or told_its_end(seen.log):
        return None
    words = [Evidence("journal", line) for line in seen.journal_lines[-SHOWN:]]
    return found("supervisor-killed", Confidence.LIKELY, (*words, *last_lines(seen.log, 1)))


def core_dead(seen: Observations) -> Diagnosis | None:
    words = [hit for hit in seen.log.of(Role.CONSEQUENCE) if hit.signature in _CORE_WORDS]
    notes = [of_hit(hit) for hit in (*seen.log.of(Role.NOTE)[:1], *words)][:SHOWN]
    if seen.core_dead:
        said = Evidence(PROBE, seen.probe or "/health said that the core is dead")
        return found("core-dead", Confidence.CERTAIN, (said, *notes))
    if words and (seen.ready or seen.log.serving):
        return found("core-dead", Confidence.LIKELY, notes)
    return None


def silent_exit(seen: Observations) -> Diagnosis | None:
    if seen.exit_status != 0:
        return None
    status = Evidence(EXIT, "0, although nobody had asked it to stop")
    return found("silent-exit", Confidence.LIKELY, (status, *last_lines(seen.log, SHOWN)))


def disk_full(seen: Observations) -> Diagnosis | None:
    if seen.disk_free_bytes is None or seen.disk_free_bytes >= FULL_BYTES:
        return None
    free = Evidence(MACHINE, f"the state directory's disk has {format_size(seen.disk_free_bytes)} free")
    return found("disk-full", Confidence.POSSIBLE, (free, *last_lines(seen.log, 1)))
