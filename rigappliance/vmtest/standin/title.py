"""Names and titles of processes as setproctitle sets them: both in ps' COMMAND and in /proc/PID/comm."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

PR_SET_NAME = 15  # <linux/prctl.h>


def set_title(title: str, name: str | None = None) -> None:
    """Overwrite this process's arguments with ``title``, which is cut to their room; its name is the title's start."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, (name or title).encode()[:15], 0, 0, 0)
    with suppress(OSError, IndexError, ValueError):
        # Fields 48 and 49 of proc(5)'s stat: where the arguments lie; the second field may hold spaces.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        if 0 < start < end:
            room = end - start
            ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\0"), room)
