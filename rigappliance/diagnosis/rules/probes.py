"""What a failed proof of life says beyond that it failed."""

from __future__ import annotations

import re

from rigappliance.diagnosis.finding import PROBE, found, of_hit
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.diagnosis.signature import Role

# Without a tokenizer the engine starts, and then refuses every prompt.
_NO_TOKENIZER = re.compile(
    r"decoder prompt cannot be empty|default chat template is no longer allowed|tokenizer", re.IGNORECASE
)


def no_tokenizer(seen: Observations) -> Diagnosis | None:
    if " 400" not in seen.probe or not _NO_TOKENIZER.search(seen.probe):
        return None
    said = [of_hit(hit) for hit in seen.log.of(Role.ROOT) if hit.cause == "tokenizer-missing"]
    return found("tokenizer-missing", Confidence.LIKELY, (Evidence(PROBE, seen.probe), *said[:1]))
