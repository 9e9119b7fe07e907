"""What torch's allocator takes from a card beyond the tensors that it is asked for (c10/cuda/CUDACachingAllocator)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from rigappliance.plan.sharding.parts import padded

ROUND_BYTES = 512
# Up to this size tensors share segments of 2 MiB; up to 10 MiB segments of 20 MiB; beyond, each has its own.
SMALL_BYTES, SMALL_SEGMENT_BYTES = 1 << 20, 2 << 20
MIDDLE_BYTES, MIDDLE_SEGMENT_BYTES = 10 << 20, 20 << 20


def slack_bytes(sizes: Iterable[int]) -> int:
    """For tensors that stay, in the order in which they are asked for."""
    taken = asked = 0
    small: list[int] = []
    large: list[int] = []
    for size in sizes:
        asked += size
        rounded = padded(size, ROUND_BYTES)
        if rounded <= SMALL_BYTES:
            taken += place(small, rounded, SMALL_SEGMENT_BYTES)
        elif rounded < MIDDLE_BYTES:
            taken += place(large, rounded, MIDDLE_SEGMENT_BYTES)
        else:
            taken += place(large, rounded, padded(rounded, SMALL_SEGMENT_BYTES))
    return taken - asked


def place(free: list[int], size: int, segment: int) -> int:
    """Put ``size`` into the smallest free block that holds it; the bytes of a new segment where there is none.

    ``free`` stays sorted.
    """
    at = bisect_left(free, size)
    opened = 0 if at < len(free) else segment
    left = (segment if opened else free.pop(at)) - size
    if left:
        insort(free, left)
    return opened
