"""How fast a file comes off its disk, read in order, gently and not from memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

READ_BYTES = 256 * 1024**2
BLOCK_BYTES = 4 * 1024**2
# A disk that fails or an idle class that never gets its turn must not hold the check for ever.
TIME_S = 15.0


@dataclass(frozen=True)
class DiskSpeed:
    """``problem`` says why nothing was measured."""

    file: str
    read_bytes: int = 0
    duration_s: float = 0.0
    problem: str | None = None

    @property
    def bytes_s(self) -> float:
        return self.read_bytes / self.duration_s if self.duration_s else 0.0


def measure(path: Path, limit_bytes: int = READ_BYTES) -> DiskSpeed:
    """Read the first part of ``path``, after asking the kernel to forget it. Raises nothing."""
    try:
        with idle(), path.open("rb", buffering=0) as file:
            fd = file.fileno()
            size = min(os.fstat(fd).st_size, limit_bytes)
            # What was just written stays in memory until it is on the disk.
            os.fsync(fd)
            os.posix_fadvise(fd, 0, size, os.POSIX_FADV_DONTNEED)
            block, done, began = memoryview(bytearray(BLOCK_BYTES)), 0, time.monotonic()
            while done < size and time.monotonic() - began < TIME_S:
                count = file.readinto(block[: size - done])
                if not count:
                    break
                done += count
            duration = time.monotonic() - began
            # What was read to be timed is not worth the page cache.
            os.posix_fadvise(fd, 0, done, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        return DiskSpeed(str(path), problem=error.strerror or str(error))
    if not done:
        return DiskSpeed(str(path), problem="there is nothing to read in it")
    return DiskSpeed(str(path), done, duration)


@contextmanager
def idle() -> Iterator[None]:
    """This process last in line at the disk, and back where it was afterwards."""
    process = psutil.Process()
    before = process.ionice()
    # A place in line goes with two of the classes alone.
    place = before.value if before.ioclass in (psutil.IOPRIO_CLASS_RT, psutil.IOPRIO_CLASS_BE) else None
    # A measurement that may not stand back is one all the same.
    with suppress(psutil.AccessDenied):
        process.ionice(psutil.IOPRIO_CLASS_IDLE)
    try:
        yield
    finally:
        with suppress(psutil.AccessDenied):
            process.ionice(before.ioclass, place)
