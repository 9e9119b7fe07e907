"""In how many pieces an active swap file lies on its disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rigappliance.facts.host import SwapDevice


@dataclass(frozen=True)
class SwapPieces:
    """``extents`` is ``None`` for whoever may not look: the file is root's."""

    path: str
    size_bytes: int
    extents: int | None


def read_swap_pieces(
    devices: tuple[SwapDevice, ...], count: Callable[[Path], int | None] | None = None
) -> tuple[SwapPieces, ...]:
    """Of each swap file among ``devices``. Reads the file system's map, not the file. Raises nothing."""
    look = count or count_extents
    return tuple(
        SwapPieces(device.path, device.size_bytes, look(Path(device.path)))
        for device in devices
        if device.kind == "file"
    )


def count_extents(path: Path) -> int | None:
    # Late: a launch imports this module and looks at no swap file.
    from rigappliance.swapfile.extents import read_extents

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        extents = read_extents(fd, sync=False)
    except OSError:
        return None
    finally:
        os.close(fd)
    return None if extents is None else len(extents)
