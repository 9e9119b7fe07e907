"""Memory enough, but not in one piece."""

from __future__ import annotations

from rigappliance.diagnosis.finding import KERNEL, MACHINE, found, of_hit
from rigappliance.diagnosis.kernellog import page_failure
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.diagnosis.signature import Role
from rigappliance.units import format_size

# With less available memory than this the machine was short of memory and not of pieces.
ENOUGH_BYTES = 512 << 20
# Up to this order the kernel goes on trying; without anything larger, what needs more fails.
SMALL_ORDER = 3
# Causes in the log that a failed allocation in the kernel can hide behind.
_HIDES_BEHIND = ("allocation-refused", "jit-failed", "part-crashed", "ranks-unreachable", "driver-missing")


def fragmented(seen: Observations) -> Diagnosis | None:
    memory = seen.memory
    if memory.available_low_bytes is not None and memory.available_low_bytes < ENOUGH_BYTES:
        return None
    said = next(iter(seen.log.of(Role.ROOT) or seen.log.of(Role.HINT)), None)
    if said and said.cause not in _HIDES_BEHIND:
        return None
    known = memory.available_low_bytes is not None and memory.largest_free_order is not None
    small = memory.largest_free_order is not None and memory.largest_free_order <= SMALL_ORDER
    failure = page_failure(seen.kernel_lines)
    if failure and not (known and memory.largest_free_order is not None and memory.largest_free_order > failure[0]):
        evidence = [Evidence(KERNEL, failure[1])]
        confidence = Confidence.LIKELY if known else Confidence.POSSIBLE
    elif known and small and said and said.cause in ("allocation-refused", "jit-failed"):
        evidence, confidence = [], Confidence.LIKELY
    else:
        return None
    if said:
        evidence.append(of_hit(said))
    if known:
        available = format_size(memory.available_low_bytes or 0)
        words = f"{available} available at the least, but no free block above order {memory.largest_free_order}"
        evidence.append(Evidence(MACHINE, words))
    return found("memory-fragmented", confidence, evidence)
