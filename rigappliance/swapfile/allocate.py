"""Blocks on the disk for every byte of a file: preallocated, or written with zeros.

Both go on from what is there. What the blocks hold does not matter to swapping, so
that it is the file system's own list of them that says how far an earlier run came.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

from rigappliance.swapfile.declared import PAGE_BYTES
from rigappliance.swapfile.extents import first_hole
from rigappliance.swapfile.filesystem import Way
from rigappliance.units import SIZE_UNITS

# A hard disk needs some tenths of a second for the block lists of one, and a signal waits for no longer.
PREALLOCATE_BYTES = 2 * SIZE_UNITS["GiB"]
# Between two of these a signal can end the work.
PIECE_BYTES = 4 * SIZE_UNITS["MiB"]
# After each the disk has what was written: two seconds of a hard disk, of which one commit takes a hundredth.
SYNC_BYTES = 256 * SIZE_UNITS["MiB"]

Told = Callable[[int], None]


def allocate(fd: int, size_bytes: int, way: Way, advance: Told, make_room: Told) -> None:
    """Give the file ``size_bytes`` and blocks for all of them.

    ``make_room`` is asked before each step whether its bytes may be taken, and
    raises where not; ``advance`` is told how far it is. Raises ``OSError``.
    """
    if os.fstat(fd).st_size > size_bytes:
        os.ftruncate(fd, size_bytes)
    if way is Way.PREALLOCATED and preallocate(fd, size_bytes, advance, make_room):
        return
    write(fd, size_bytes, advance, make_room)


def preallocate(fd: int, size_bytes: int, advance: Told, make_room: Told) -> bool:
    """``False`` where the file system cannot: ext4 can be one that was made as ext3."""
    advance(0)
    for start in range(0, size_bytes, PREALLOCATE_BYTES):
        length = min(PREALLOCATE_BYTES, size_bytes - start)
        make_room(min(length, lacking_bytes(fd, size_bytes)))
        try:
            fallocate(fd, start, length)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
                return False
            raise
        advance(start + length)
    return True


def lacking_bytes(fd: int, size_bytes: int) -> int:
    """What the file still takes from the disk: less than a step where an earlier run has made a part of it."""
    return max(size_bytes - os.fstat(fd).st_blocks * 512, 0)


def fallocate(fd: int, start_bytes: int, length_bytes: int) -> None:
    """fallocate(2). Not Python's posix_fallocate, where the C library writes if the file system cannot preallocate."""
    libc = ctypes.CDLL(None, use_errno=True)
    while libc.fallocate(fd, 0, ctypes.c_int64(start_bytes), ctypes.c_int64(length_bytes)) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def write(fd: int, size_bytes: int, advance: Told, make_room: Told) -> None:
    zeros = memoryview(bytes(PIECE_BYTES))
    if os.fstat(fd).st_size == 0:
        # On a file system without a journal only the order of the writing keeps
        # old blocks from showing up in the first page, by which the file is recognised.
        write_all(fd, zeros[:PAGE_BYTES], 0)
        os.fsync(fd)
    done = resume_point(fd, size_bytes)
    advance(done)
    while done < size_bytes:
        end = min(done - done % SYNC_BYTES + SYNC_BYTES, size_bytes)
        make_room(min(end - done, lacking_bytes(fd, size_bytes)))
        for start in range(done, end, PIECE_BYTES):
            write_all(fd, zeros[: min(PIECE_BYTES, end - start)], start)
        os.fdatasync(fd)
        # Nobody reads these zeros, and the page cache has better use for the RAM.
        os.posix_fadvise(fd, done, end - done, os.POSIX_FADV_DONTNEED)
        done = end
        advance(done)


def resume_point(fd: int, size_bytes: int) -> int:
    """Bytes that need no writing: all, or the whole steps that are on the disk."""
    present = min(os.fstat(fd).st_size, size_bytes)
    reached = first_hole(fd, present)
    return reached if reached == size_bytes else reached - reached % SYNC_BYTES


def write_all(fd: int, content: memoryview, start_bytes: int) -> None:
    while content:
        count = os.pwrite(fd, content, start_bytes)
        content, start_bytes = content[count:], start_bytes + count
