"""Which of the waiting reads is next.

A rotational disk gets the scheduler mq-deadline by default where it has one hardware queue (SATA), so that is what is
on by default here: one-way sweeps in the order of offsets, in batches, and an old request before a new batch. The
drive's own queue (NCQ) would reorder a little further; ``fifo`` is for a disk without either.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field

# The scheduler's defaults: block/mq-deadline.c of Linux 6.18, `fifo_batch` and `read_expire`.
BATCH = 16
EXPIRE_S = 0.5


@dataclass(order=True)
class Read:
    """One request of the kernel: ``unique`` is its name for the answer, the rest is where and when."""

    offset_bytes: int
    unique: int
    size_bytes: int = field(compare=False)
    inode: int = field(compare=False)
    at_bytes: int = field(compare=False)
    arrived_s: float = field(compare=False)


class Elevator:
    def __init__(self, fifo: bool = False) -> None:
        self.fifo = fifo
        self._sorted: list[Read] = []
        self._arrived: deque[Read] = deque()
        self._left_of_batch = 0

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, read: Read) -> None:
        insort(self._sorted, read)
        self._arrived.append(read)

    def take(self, head_bytes: int, now_s: float) -> Read:
        """The next one for a head at ``head_bytes``. There has to be one."""
        oldest = self._oldest()
        if self.fifo:
            return self._remove(oldest)
        index = bisect_left(self._sorted, head_bytes, key=lambda read: read.offset_bytes)
        ends_here = index == len(self._sorted)
        if self._left_of_batch == 0 or ends_here:
            self._left_of_batch = BATCH
            if now_s - oldest.arrived_s > EXPIRE_S:
                self._left_of_batch -= 1
                return self._remove(oldest)
        self._left_of_batch -= 1
        return self._remove(self._sorted[0 if ends_here else index])

    def earliest_s(self) -> float:
        return self._oldest().arrived_s

    def _oldest(self) -> Read:
        return self._arrived[0]

    def _remove(self, read: Read) -> Read:
        self._sorted.pop(bisect_left(self._sorted, read))
        self._arrived.remove(read)
        return read
