"""Whether a stretch of a file is in the page cache: what is there needs no disk, and no pass over it.

By cachestat (https://docs.kernel.org/, Linux 6.5; newer ones answer the file's owner and its writers alone). mincore
would pretend to others that all is there.

What is counted as there is read all the same, not taken from a mapping: a page that the disk failed to give counts too,
and kills whoever touches it (SIGBUS), where a read of it says what is wrong.
"""

from __future__ import annotations

import ctypes
import mmap

# The same on all architectures, as every call since 424.
SYS_CACHESTAT = 451
PAGE_BYTES = mmap.PAGESIZE


class Range(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class Counts(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64) for name in ("cached", "dirty", "writeback", "evicted", "recently_evicted")
    )


def all_cached(descriptor: int, offset: int, size: int) -> bool:
    """Every page of ``size`` bytes from ``offset`` on; no where the kernel does not say."""
    pages = -(-(offset + size) // PAGE_BYTES) - offset // PAGE_BYTES
    return size > 0 and pages_cached(descriptor, offset, size) >= pages


def pages_cached(descriptor: int, offset: int, size: int) -> int:
    """How many pages of them; none where the kernel does not say."""
    wanted, found = Range(offset, size), Counts()
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(SYS_CACHESTAT, descriptor, ctypes.byref(wanted), ctypes.byref(found), 0) != 0:
        return 0
    return int(found.cached)
