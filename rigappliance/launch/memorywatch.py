"""What is known about memory from the start of an engine to its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rigappliance.diagnosis.observations import MemoryEvidence
from rigappliance.facts.host import parse_meminfo
from rigappliance.launch import cgroup

# Ordinary processes get their pages from these; the first 16 MiB are for ancient devices.
UNUSED_ZONES = ("DMA",)


class MemoryWatch:
    """Counters against those at the start, and the lowest values that samples saw.

    ``before`` are the counters at the start where somebody else wrote them down.
    """

    def __init__(self, root: Path = Path("/"), before: Mapping[str, int] | None = None) -> None:
        self.root = root
        self.group = cgroup.own_group(root)
        self.before = dict(self._counters() if before is None else before)
        self.swap_total_bytes: int | None = None
        self.swap_free_low_bytes: int | None = None
        self.available_low_bytes: int | None = None
        self._order: int | None = None
        if before is None:
            self.sample()

    def sample(self) -> None:
        """One small file of the kernel's; cheap enough for every second."""
        memory = parse_meminfo(cgroup.read(self.root / "proc/meminfo"))
        self.swap_total_bytes = memory.get("SwapTotal", self.swap_total_bytes)
        self.swap_free_low_bytes = lower(self.swap_free_low_bytes, memory.get("SwapFree"))
        self.available_low_bytes = lower(self.available_low_bytes, memory.get("MemAvailable"))

    def evidence(self) -> MemoryEvidence:
        if self._order is None:
            # When first asked: what the engine held becomes whole again soon after its end.
            self._order = largest_free_order(cgroup.read(self.root / "proc/buddyinfo"))
        now = self._counters()
        # A group that was made anew counts from zero again.
        since = {name: count - min(self.before.get(name, 0), count) for name, count in now.items()}
        return MemoryEvidence(
            limit_bytes=cgroup.limit_bytes(self.group) if self.group else None,
            peak_bytes=cgroup.peak_bytes(self.group) if self.group else None,
            limit_hits=since.get("limit_hits"),
            kills=since.get("kills"),
            machine_kills=since.get("machine_kills"),
            swap_total_bytes=self.swap_total_bytes,
            swap_free_low_bytes=self.swap_free_low_bytes,
            available_low_bytes=self.available_low_bytes,
            swap_refusals=since.get("swap_refusals"),
            largest_free_order=self._order,
        )

    def _counters(self) -> dict[str, int]:
        found = cgroup.counters(self.group) if self.group else {}
        kills = cgroup.table(self.root / "proc/vmstat").get("oom_kill")
        return found if kills is None else {**found, "machine_kills": kills}


def lower(known: int | None, seen: int | None) -> int | None:
    return seen if known is None else known if seen is None else min(known, seen)


def largest_free_order(buddyinfo: str) -> int | None:
    """The largest order of which a zone of ``/proc/buddyinfo`` has a free block; None where the file says nothing."""
    largest = None
    for line in buddyinfo.splitlines():
        # Node 0, zone   Normal   7253   5801 …
        words = line.split()
        if len(words) < 5 or words[2] != "zone" or words[3] in UNUSED_ZONES:
            continue
        free = [order for order, count in enumerate(words[4:]) if count.isdigit() and int(count)]
        largest = max(largest or 0, free[-1] if free else 0)
    return largest
