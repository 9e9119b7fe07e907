"""Where a file's bytes lie on the disk: FIEMAP, or SEEK_HOLE where the file system has no FIEMAP.

FIEMAP first, since SEEK_HOLE calls a preallocated range a hole as long as nothing
was written to it, and to the kernel's swapping it is none.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass

FS_IOC_FIEMAP = 0xC020660B
SYNC_FIRST = 0x1
HEADER = struct.Struct("=QQLLLL")
EXTENT = struct.Struct("=QQQ16xL12x")
EXTENTS_A_CALL = 512

LAST = 0x1
# linux/fiemap.h. Extents of these kinds have no place of their own on the disk that pages could be swapped to.
UNUSABLE = {
    0x2: "of unknown place",
    0x8: "compressed or encrypted",
    0x200: "inside the inode",
    0x400: "packed with other files",
    0x2000: "shared with another file",
}
NO_FIEMAP = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)


@dataclass(frozen=True)
class Extent:
    """``length_bytes`` from ``start_bytes`` of the file that lie in one piece; ``flags`` are those of FIEMAP."""

    start_bytes: int
    length_bytes: int
    flags: int

    @property
    def end_bytes(self) -> int:
        return self.start_bytes + self.length_bytes


def read_extents(fd: int, *, sync: bool = True) -> list[Extent] | None:
    """All extents in order, or ``None`` where the file system does not tell. ``sync`` writes what is not yet placed."""
    found: list[Extent] = []
    start = 0
    while True:
        buffer = bytearray(HEADER.size + EXTENTS_A_CALL * EXTENT.size)
        HEADER.pack_into(buffer, 0, start, 2**63 - 1 - start, SYNC_FIRST if sync else 0, 0, EXTENTS_A_CALL, 0)
        try:
            fcntl.ioctl(fd, FS_IOC_FIEMAP, buffer)
        except OSError as error:
            if error.errno in NO_FIEMAP:
                return None
            raise
        count = HEADER.unpack_from(buffer)[3]
        for index in range(count):
            logical, _, length, flags = EXTENT.unpack_from(buffer, HEADER.size + index * EXTENT.size)
            found.append(Extent(logical, length, flags))
        if count == 0 or found[-1].flags & LAST:
            return found
        start = found[-1].end_bytes


def first_gap(extents: list[Extent], size_bytes: int) -> int:
    """Offset of the first byte without a place, or ``size_bytes`` where every one has it."""
    reached = 0
    for extent in extents:
        if extent.start_bytes > reached:
            break
        reached = max(reached, extent.end_bytes)
    return min(reached, size_bytes)


def first_hole(fd: int, size_bytes: int) -> int:
    """Offset of the first hole in the file's first ``size_bytes``, or ``size_bytes`` where there is none."""
    extents = read_extents(fd)
    if extents is not None:
        return first_gap(extents, size_bytes)
    status = os.fstat(fd)
    if status.st_blocks * 512 >= size_bytes or size_bytes == 0:
        return size_bytes
    return min(os.lseek(fd, 0, os.SEEK_HOLE), size_bytes)


def unusable_kind(extents: list[Extent]) -> str | None:
    """Why one of ``extents`` cannot be swapped to, or ``None``."""
    flags = 0
    for extent in extents:
        flags |= extent.flags
    return next((words for flag, words in UNUSABLE.items() if flags & flag), None)
