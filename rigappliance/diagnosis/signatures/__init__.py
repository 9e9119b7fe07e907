"""All signatures, from the particular to the general: of several that fit a line, the first one counts."""

from __future__ import annotations

from rigappliance.diagnosis.signature import Signature
from rigappliance.diagnosis.signatures.cardmemory import CARD_MEMORY
from rigappliance.diagnosis.signatures.cards import CARDS
from rigappliance.diagnosis.signatures.checkpoint import CHECKPOINT
from rigappliance.diagnosis.signatures.consequences import CONSEQUENCES
from rigappliance.diagnosis.signatures.crashes import CRASHES
from rigappliance.diagnosis.signatures.environment import ENVIRONMENT
from rigappliance.diagnosis.signatures.harmless import HARMLESS
from rigappliance.diagnosis.signatures.hostmemory import HOST_MEMORY
from rigappliance.diagnosis.signatures.hub import HUB
from rigappliance.diagnosis.signatures.jit import JIT
from rigappliance.diagnosis.signatures.machine import MACHINE
from rigappliance.diagnosis.signatures.options import OPTIONS
from rigappliance.diagnosis.signatures.ranks import RANKS

SIGNATURES: tuple[Signature, ...] = (
    *HARMLESS,
    *HOST_MEMORY,
    *CARD_MEMORY,
    *CARDS,
    *JIT,
    *CRASHES,
    *MACHINE,
    *CHECKPOINT,
    *HUB,
    *RANKS,
    *OPTIONS,
    *ENVIRONMENT,
    *CONSEQUENCES,
)
BY_NAME = {signature.name: signature for signature in SIGNATURES}
