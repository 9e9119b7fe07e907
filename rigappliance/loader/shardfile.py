"""Reading an open shard, with errors that say which tensor was wanted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from .errors import changed, ends_early, not_opened, read_failed
from .header import Shard

# Linux takes up to 1024 buffers a call (IOV_MAX).
BUFFERS_A_CALL = 1024


class ShardFile:
    """An open shard. Raises ``LoadError``, also where it is not the file any more whose header was read."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        try:
            self.descriptor = os.open(shard.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise not_opened(shard.name, error) from error
        self.check()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def fill(self, buffers: Sequence[memoryview], offset: int, tensor: str) -> None:
        """Read ``buffers`` full, one after the other, from byte ``offset`` of the file."""
        for first in range(0, len(buffers), BUFFERS_A_CALL):
            some = buffers[first : first + BUFFERS_A_CALL]
            offset = self._fill(some, offset, tensor)

    def fill_each(self, memory: memoryview, size: int, places: Iterable[tuple[int, int]], tensor: str) -> None:
        """Read ``size`` bytes for each place: from a byte of the file, to a byte of ``memory``."""
        # A large tensor has tens of thousands of rows: nothing is called for one but the system.
        preadv, descriptor, rest, at, to = os.preadv, self.descriptor, iter(places), 0, 0
        while True:
            try:
                for at, to in rest:
                    if preadv(descriptor, (memory[to : to + size],), at) != size:
                        break
                else:
                    return
            except OSError:
                pass
            # Once more: it reads what came short to its end, or can say why it does not come.
            self.fill([memory[to : to + size]], at, tensor)

    def _fill(self, buffers: Sequence[memoryview], offset: int, tensor: str) -> int:
        wanted = sum(map(len, buffers))
        while wanted:
            try:
                got = os.preadv(self.descriptor, buffers, offset)
            except OSError as error:
                raise read_failed(self.shard.name, f"tensor {tensor}", offset, wanted, error) from error
            if got == 0:
                size = os.fstat(self.descriptor).st_size
                raise ends_early(self.shard.name, f"tensor {tensor}", offset, wanted, size)
            offset += got
            wanted -= got
            if wanted:
                buffers = rest_of(buffers, got)
        return offset

    def check(self) -> None:
        """The file still has the length and the time of its header: otherwise half of it may be new, half old."""
        status = os.fstat(self.descriptor)
        known = self.shard.identity
        if status.st_size < known.size_bytes:
            # Cut: as whoever reads there would say it.
            first = next((place for place in self.shard.places if place.end > status.st_size), None)
            if first is not None:
                count = first.end - first.begin
                raise ends_early(self.shard.name, f"tensor {first.name}", first.begin, count, status.st_size)
        if (status.st_size, status.st_mtime_ns) != (known.size_bytes, known.modified_ns):
            found = f"{status.st_size} bytes, written {status.st_mtime_ns} ns"
            raise changed(self.shard.name, found, f"{known.size_bytes} bytes, written {known.modified_ns} ns")


def rest_of(buffers: Sequence[memoryview], done: int) -> list[memoryview]:
    """What is left of ``buffers`` after ``done`` bytes."""
    left = []
    for buffer in buffers:
        if done >= len(buffer):
            done -= len(buffer)
        else:
            left.append(buffer[done:])
            done = 0
    return left
