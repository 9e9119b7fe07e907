"""What the clock says, and whether anything keeps it right."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path

# linux/timex.h: bit of the status word, and its place in struct timex, behind a padded number and four longs.
NOT_SYNCHRONISED = 0x40
STATUS_AT = 5 * ctypes.sizeof(ctypes.c_long)
TIMEX_BYTES = 512
# systemd-timesyncd touches it at every answer of a server.
TIMESYNC = "run/systemd/timesync/synchronized"


@dataclass(frozen=True)
class ClockFacts:
    """``now`` in seconds since 1970; ``synchronised`` is ``None`` where nobody can tell."""

    now: float
    synchronised: bool | None = None


def read_clock(root: Path = Path("/")) -> ClockFacts:
    """Raises nothing. The kernel's own word is asked on this machine alone, not for a recorded one."""
    if (root / TIMESYNC).exists():
        return ClockFacts(time.time(), True)
    return ClockFacts(time.time(), kernel_synchronised() if root == Path("/") else None)


def kernel_synchronised() -> bool | None:
    """``adjtimex`` without changing anything; chrony and ntpd tell the kernel too."""
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    buffer = ctypes.create_string_buffer(TIMEX_BYTES)
    if call(buffer) < 0:
        return None
    return not ctypes.c_int.from_buffer(buffer, STATUS_AT).value & NOT_SYNCHRONISED
