"""Free places between objects that are shared after a fork, filled before it.

Python's allocator puts a new object where one of its size was freed, anywhere in memory. In a forked process each such
place is on a page that was shared until then: the few megabytes that are free after all imports made some 15 MB a
process of its own. With no such place left, new objects come to lie together.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile

# A line of sys._debugmallocstats, which CPython has for itself and writes to standard error: number of the class, size
# of its objects, pools, objects in use, free places in pools (Objects/obmalloc.c).
SIZE_CLASS = re.compile(r"^ *\d+ +(\d+) +\d+ +\d+ +(\d+)$", re.MULTILINE)
SMALLEST_BYTES, FLOAT_BYTES = 16, 32
# Of a bytes object, its end's zero included.
BYTES_HEAD = sys.getsizeof(b"")

_fillers: list[list[object]] = []


def fill() -> int:
    """How many places were filled, for as long as this process and those forked from it live."""
    found = free_places(allocator_statistics())
    for size_bytes, count in found.items():
        if size_bytes == SMALLEST_BYTES:
            _fillers.append([object() for _ in range(count)])
        elif size_bytes == FLOAT_BYTES:
            # The empty bytes of this size exist once.
            _fillers.append([index + 0.5 for index in range(count)])
        else:
            _fillers.append([bytes(size_bytes - BYTES_HEAD) for _ in range(count)])
    return sum(found.values())


def free_places(statistics: str) -> dict[int, int]:
    """By the size of the object, in bytes; nothing where the text is another one."""
    return {int(size): int(count) for size, count in SIZE_CLASS.findall(statistics)}


def allocator_statistics() -> str:
    """Empty where this Python has none."""
    write = getattr(sys, "_debugmallocstats", None)
    if write is None:
        return ""
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            write()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        file.seek(0)
        return file.read().decode("ascii", errors="replace")
