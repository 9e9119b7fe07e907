"""Size of /dev/shm, through which the engine's processes talk to each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rigappliance.facts.host import space_of

PLACE = "dev/shm"


@dataclass(frozen=True)
class SharedMemoryFacts:
    """``None`` where there is no such directory."""

    total_bytes: int | None = None
    free_bytes: int | None = None


def read_shared_memory(root: Path = Path("/")) -> SharedMemoryFacts:
    """Raises nothing."""
    return SharedMemoryFacts(*space_of(root / PLACE))
