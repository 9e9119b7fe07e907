"""What it was not, and by what that is known."""

from __future__ import annotations

from collections.abc import Iterator

from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.signature import Role
from rigappliance.units import format_size

# Nearer to its limit than this, nothing is ruled out.
NEAR = 0.9
DISK_BYTES = 1 << 30


def ruled_out(seen: Observations) -> tuple[str, ...]:
    """Clauses, each of which is true in itself, whatever the cause."""
    return tuple(_clauses(seen))


def _clauses(seen: Observations) -> Iterator[str]:
    memory = seen.memory
    if memory.kills == 0:
        yield "no process of the unit was killed for want of memory (memory.events)"
    elif memory.kills is None and memory.machine_kills == 0:
        yield "the kernel killed nothing for want of memory (/proc/vmstat)"
    if memory.kills == 0 and memory.machine_kills:
        yield "what the kernel killed for want of memory was no process of this unit (/proc/vmstat, memory.events)"
    if memory.limit_bytes and memory.peak_bytes is not None and memory.peak_bytes < NEAR * memory.limit_bytes:
        peak, limit = format_size(memory.peak_bytes), format_size(memory.limit_bytes)
        yield f"it used at most {peak} of its limit of {limit} (memory.peak)"
    free, total = memory.swap_free_low_bytes or 0, memory.swap_total_bytes or 0
    if free > (1 - NEAR) * total and not memory.swap_refusals:
        yield f"the swap was not full: at least {format_size(free)} were free (/proc/meminfo)"
    if seen.disk_free_bytes is not None and seen.disk_free_bytes >= DISK_BYTES:
        yield f"the disk was not full: {format_size(seen.disk_free_bytes)} are free"
    if not seen.log.of(Role.ROOT) and not seen.log.of(Role.HINT) and seen.log.lines:
        yield f"no known message of a failure is among the {seen.log.lines} lines of the log"
