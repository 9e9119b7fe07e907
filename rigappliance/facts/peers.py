"""Which cards can read each other's memory without going through the host's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rigappliance.facts.nvml import ask

READ = 0
P2P_OK = 0
# nvmlGpuP2PStatus_t in nvml.h.
REASONS = {
    1: "the chipset does not support it",
    2: "the cards do not support it",
    3: "the cards are on different I/O hubs",
    4: "it is switched off by a registry key of the driver",
    5: "the driver does not support it for these cards",
}


@dataclass(frozen=True)
class PeerFacts:
    """``pairs`` of cards that answered, each counted once; ``connected`` of them have access to each other."""

    pairs: int = 0
    connected: int = 0
    reasons: tuple[str, ...] = ()


def read_peers(nvml: Any, handles: Sequence[Any]) -> PeerFacts:
    """Every pair of ``handles``. Raises nothing."""
    statuses = [
        status
        for index, one in enumerate(handles)
        for other in handles[index + 1 :]
        if (status := ask(nvml, "nvmlDeviceGetP2PStatus", one, other, READ)) is not None
    ]
    refused = sorted({status for status in statuses if status != P2P_OK})
    return PeerFacts(
        pairs=len(statuses),
        connected=sum(status == P2P_OK for status in statuses),
        reasons=tuple(REASONS.get(status, f"status {status}") for status in refused),
    )
