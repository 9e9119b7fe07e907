"""Another user of the same disk: random small reads at a rate, as pages that come back from a swap file there.

Run as ``rival.py FILE READS_A_SECOND`` until it is killed; it never catches up on what it was late with.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

FILE = "swap.img"
SIZE_BYTES = 8 << 30
# Four pages: vm.page-cluster is 3 at most by default, and most neighbours are in memory already.
READ_BYTES = 16 << 10


def write_file(directory: Path) -> None:
    with (directory / FILE).open("wb") as file:
        file.truncate(SIZE_BYTES)


@contextmanager
def rival(directory: Path, reads_a_second: float) -> Iterator[None]:
    """One at work on the disk at ``directory`` for the time of the block; none at a rate of 0."""
    if reads_a_second <= 0:
        yield
        return
    process = Popen([sys.executable, __file__, str(directory / FILE), str(reads_a_second)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main(path: str, reads_a_second: float) -> None:
    rng, descriptor = random.Random(7), os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    while True:
        begin = time.monotonic()
        os.pread(descriptor, READ_BYTES, rng.randrange(SIZE_BYTES // READ_BYTES) * READ_BYTES)
        time.sleep(max(0.0, begin + 1 / reads_a_second - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
