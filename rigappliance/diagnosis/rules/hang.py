"""Alive, and doing nothing."""

from __future__ import annotations

from rigappliance.diagnosis.finding import MACHINE, PROBE, STACK, found, last_lines
from rigappliance.diagnosis.logevidence import Hit
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.diagnosis.rules.logcause import told_its_end
from rigappliance.diagnosis.signature import Role
from rigappliance.diagnosis.signatures import BY_NAME
from rigappliance.units import format_duration

SHOWN_STACKS = 12


def told_why(seen: Observations) -> bool:
    """Whether it is no hang of its own: a rank that said why it ended leaves the others waiting for ever."""
    certain = any(_is_certain(hit) for hit in seen.log.of(Role.ROOT))
    return told_its_end(seen.log) or (certain and not seen.ready)


def _is_certain(hit: Hit) -> bool:
    signature = BY_NAME.get(hit.signature)
    return signature is not None and signature.confidence is Confidence.CERTAIN


def hung(seen: Observations) -> Diagnosis | None:
    failed_probe = bool(seen.probe) and not seen.core_dead and not seen.dead_parts and seen.exit_status is None
    if (seen.quiet_s is None and not failed_probe) or told_why(seen):
        return None
    evidence = []
    if seen.quiet_s is not None:
        quiet = format_duration(seen.quiet_s)
        when = "while serving" if seen.ready else f"during {seen.phase.label}"
        evidence.append(Evidence(MACHINE, f"nothing moved for {quiet} {when}"))
    if seen.probe:
        evidence.append(Evidence(PROBE, seen.probe))
    evidence += last_lines(seen.log, 1)
    evidence += [Evidence(STACK, stack) for stack in seen.stacks[:SHOWN_STACKS]]
    confidence = Confidence.CERTAIN if seen.quiet_s is not None else Confidence.LIKELY
    remedy = (
        "read what its processes were doing; raise launch.probe_timeout if they were only slow"
        if failed_probe
        else "read what its processes were doing; raise launch.stall_timeout if they were only slow"
    )
    return found("hung", confidence, evidence, remedy)
