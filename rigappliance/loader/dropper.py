"""Taking out of the page cache what no rank wants any more."""

from __future__ import annotations

import contextlib
import mmap
import os

from .header import Shard
from .memory import MIB

PAGE_BYTES = mmap.PAGESIZE
LARGEST_STEP_BYTES, SMALLEST_STEP_BYTES = 8 * MIB, MIB // 4


class Dropper:
    """Goes through the stream once, behind the slowest rank. Raises nothing: pages that stay do no harm."""

    def __init__(self, shards: tuple[Shard, ...], window_bytes: int) -> None:
        self.shards = list(shards)
        step_bytes = max(SMALLEST_STEP_BYTES, min(LARGEST_STEP_BYTES, window_bytes // 8))
        self.step_bytes = step_bytes // PAGE_BYTES * PAGE_BYTES
        self.position = 0
        self._descriptor = -1

    def behind(self, position: int) -> None:
        while self.shards:
            shard = self.shards[0]
            end = shard.first + shard.size_bytes
            upto = min(position, end)
            # Whole steps, which end on a page; the last one of a shard is shorter.
            if upto < end:
                upto = shard.first + (upto - shard.first) // self.step_bytes * self.step_bytes
            if upto <= self.position:
                return
            self._drop(shard, upto)
            self.position = upto
            if upto < end:
                return
            self.shards.pop(0)
            self.close()

    def _drop(self, shard: Shard, upto: int) -> None:
        with contextlib.suppress(OSError):
            if self._descriptor < 0:
                self._descriptor = os.open(shard.path, os.O_RDONLY | os.O_CLOEXEC)
            length = 0 if upto == shard.first + shard.size_bytes else upto - self.position
            os.posix_fadvise(self._descriptor, self.position - shard.first, length, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
