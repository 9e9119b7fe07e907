"""What a failed proof of life says beyond that it failed."""

from __future__ import annotations

import re

from rigappliance.diagnosis.finding import PROBE, found, last_lines, of_hit
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.diagnosis.rules.logcause import told_its_end
from rigappliance.diagnosis.signature import Role

# Without a tokenizer the engine starts, and then refuses every prompt.
_NO_TOKENIZER = re.compile(
    r"decoder prompt cannot be empty|default chat template is no longer allowed|tokenizer", re.IGNORECASE
)

# An answer is no hang, whatever it says.
_ANSWERED = re.compile(r"(?:answers|answered with) \d{3}\b")


def no_tokenizer(seen: Observations) -> Diagnosis | None:
    if " 400" not in seen.probe or not _NO_TOKENIZER.search(seen.probe):
        return None
    said = [of_hit(hit) for hit in seen.log.of(Role.ROOT) if hit.cause == "tokenizer-missing"]
    return found("tokenizer-missing", Confidence.LIKELY, (Evidence(PROBE, seen.probe), *said[:1]))


def refused(seen: Observations) -> Diagnosis | None:
    """The server is there and answers, again and again, what no healthy one would."""
    alive = not seen.core_dead and not seen.dead_parts and seen.exit_status is None
    if not alive or not _ANSWERED.search(seen.probe) or told_its_end(seen.log):
        return None
    return found("probes-refused", Confidence.CERTAIN, (Evidence(PROBE, seen.probe), *last_lines(seen.log, 1)))
