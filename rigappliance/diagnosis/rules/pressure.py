"""Killed by systemd-oomd."""

from __future__ import annotations

import re

from rigappliance.diagnosis.finding import JOURNAL, found
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence

_OOMD = re.compile(r"systemd-oomd killed|Killed \S+ due to (?:memory pressure|memory used|swap used)|result 'oomd'")


def by_oomd(seen: Observations) -> Diagnosis | None:
    lines = [line for line in seen.journal_lines if _OOMD.search(line)]
    return found("oomd", Confidence.CERTAIN, [Evidence(JOURNAL, line) for line in lines[:3]]) if lines else None
