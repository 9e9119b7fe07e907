"""The checksum of a file as it lies on the disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from rigappliance.fetch.listing import Algorithm

BLOCK_BYTES = 8 * 1024**2


def digest_of(path: Path, algorithm: Algorithm, on_block: Callable[[int], None]) -> tuple[str, os.stat_result]:
    """The checksum, and the status that the file had before it was read. ``on_block`` gets the bytes of each block.

    What was just downloaded is written out and dropped from the page cache
    first: otherwise the memory would be verified and not the disk, and a power
    cut could take what is remembered as verified.  Raises ``OSError``.
    """
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        status = os.fstat(fd)
        if algorithm == "sha256":
            state = hashlib.sha256()
        else:
            state = hashlib.sha1(b"blob %d\0" % status.st_size, usedforsecurity=False)
        block = memoryview(bytearray(BLOCK_BYTES))
        position = 0
        while count := file.readinto(block):
            position += count
            # The disk fetches the next block while this one is hashed.
            os.posix_fadvise(fd, position, BLOCK_BYTES, os.POSIX_FADV_WILLNEED)
            state.update(block[:count])
            on_block(count)
        # The engine needs the page cache more.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return state.hexdigest(), status
