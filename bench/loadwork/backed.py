"""Memory that is really there.

A virtual machine may give free memory back to its host (free page reporting, mm/page_reporting.c). Whoever gets such
pages next waits for the host, in time that looks like its own: the same load then takes twice as long, or not.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ORDER = Path("/sys/module/page_reporting/parameters/page_reporting_order")
# No free block is so large: nothing is reported.
NEVER = "11"
# Of the memory that is free; the rest is for whatever else goes on.
SHARE = 0.9


@contextmanager
def all_memory_backed() -> Iterator[None]:
    """Nothing is given away meanwhile, and all that had been is taken back first; does nothing on a real machine."""
    if not ORDER.exists():
        yield
        return
    before = ORDER.read_text()
    try:
        ORDER.write_text(NEVER)
    except OSError as error:
        print(f"free memory goes back to the host meanwhile ({error.strerror}): times vary", file=sys.stderr)
        yield
        return
    try:
        touch_all()
        yield
    finally:
        ORDER.write_text(before)


def touch_all() -> None:
    """In a child, which leaves it as free memory."""
    pid = os.fork()
    if pid == 0:
        size = int(os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE * SHARE)
        memory = mmap.mmap(-1, size)
        for offset in range(0, size, mmap.PAGESIZE):
            memory[offset] = 1
        os._exit(0)
    os.waitpid(pid, 0)
