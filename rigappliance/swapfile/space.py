"""Room on the disk, and what has to stay free of it."""

from __future__ import annotations

import os
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.units import SIZE_UNITS, format_size

# A full root file system stops logins, logs and package managers; the checkpoint's download has its own check.
RESERVE_SHARE = 0.05
RESERVE_MOST_BYTES = 2 * SIZE_UNITS["GiB"]


def reserve_bytes(total_bytes: int) -> int:
    """What a swap file leaves free on a file system of that size."""
    return min(int(total_bytes * RESERVE_SHARE), RESERVE_MOST_BYTES)


def require_room(directory: Path, need_bytes: int, *, file: Path) -> None:
    """Raises ``PreflightError`` where ``need_bytes`` more would not leave the reserve free."""
    if need_bytes <= 0:
        return
    status = os.statvfs(directory)
    # Without the blocks that the file system keeps back for root, which a swap file must not eat either.
    free = status.f_bavail * status.f_frsize
    reserve = reserve_bytes(status.f_blocks * status.f_frsize)
    if free - need_bytes >= reserve:
        return
    lacking = need_bytes + reserve - free
    raise PreflightError(
        f"{format_size(free)} are free in {directory}",
        f"{format_size(need_bytes + reserve)}: {format_size(need_bytes)} for {file}, and "
        f"{format_size(reserve)} that stay free",
        f"free {format_size(lacking)}, lower memory.swap, or set memory.swap_file to a path on another file system",
    )
