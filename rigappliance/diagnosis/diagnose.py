"""From what was seen to a cause."""

from __future__ import annotations

import dataclasses

from rigappliance.diagnosis.finding import EXIT, found, last_lines, of_hit
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.diagnosis.ruledout import ruled_out
from rigappliance.diagnosis.rules import RULES, Rule
from rigappliance.diagnosis.signature import Role

SHOWN_LINES = 8
SHOWN_WORDS = 3


def diagnose(seen: Observations, without: frozenset[str] = frozenset(), rules: tuple[Rule, ...] = RULES) -> Diagnosis:
    """The cause of an engine's end, with evidence and remedy. Causes in ``without`` are passed over."""
    for rule in rules:
        diagnosis = rule(seen)
        if diagnosis is not None and diagnosis.cause.name not in without:
            return dataclasses.replace(diagnosis, ruled_out=ruled_out(seen))
    return dataclasses.replace(_unknown(seen), ruled_out=ruled_out(seen))


def _unknown(seen: Observations) -> Diagnosis:
    late = (seen.log.late,) if seen.log.late else ()
    words = (*seen.log.of(Role.NOTE), *seen.log.of(Role.CONSEQUENCE), *late)
    evidence = [of_hit(hit) for hit in sorted(words, key=lambda hit: hit.number)[:SHOWN_WORDS]]
    if seen.exit_status is not None:
        evidence.insert(0, Evidence(EXIT, str(seen.exit_status)))
    shown = {item.text for item in evidence}
    evidence += [item for item in last_lines(seen.log, SHOWN_LINES) if item.text not in shown]
    return found("unknown", Confidence.POSSIBLE, evidence)
