"""Making memory contiguous again before a start, after one that failed for want of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rigappliance.launch.state import StateDirectory

COMPACT_MEMORY = Path("/proc/sys/vm/compact_memory")


def ask_for_compaction(directory: StateDirectory) -> None:
    """For the unit's ExecStartPre, which is root's; so is the file of the kernel's."""
    with suppress(OSError):
        directory.compact_flag.write_text("")


def compact_if_asked(directory: StateDirectory, kernel: Path = COMPACT_MEMORY) -> bool:
    """Take the flag away; whether there was one. Who launches as root without the unit compacts here."""
    if not directory.compact_flag.exists():
        return False
    with suppress(OSError):
        directory.compact_flag.unlink()
    with suppress(OSError):
        kernel.write_text("1")
    return True
