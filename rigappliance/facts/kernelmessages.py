"""What the kernel has said since it started, as far as its buffer goes back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rigappliance.diagnosis.kernellog import card_faults, disk_faults
from rigappliance.launch.kernellog import RECORD_BYTES, messages

# The ring has a few hundred kilobytes; more than this comes from something that never ends.
BYTES_AT_MOST = 1 << 24


@dataclass(frozen=True)
class KernelFaults:
    """Lines about cards and disks that are lost or broken, oldest first."""

    cards: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()


def read_kernel_faults(root: Path = Path("/")) -> KernelFaults | None:
    """``None`` for whoever may not read them. Raises nothing."""
    lines = read_kernel_messages(root / "dev/kmsg")
    return None if lines is None else KernelFaults(tuple(card_faults(lines)), tuple(disk_faults(lines)))


def read_kernel_messages(path: Path = Path("/dev/kmsg")) -> tuple[str, ...] | None:
    """All of them, oldest first; ``None`` for whoever may not read them. Raises nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    content = bytearray()
    try:
        while len(content) < BYTES_AT_MOST:
            try:
                record = os.read(fd, RECORD_BYTES)
            except BrokenPipeError:
                # Overwritten before it was read; the next read goes on behind the gap.
                continue
            except OSError:
                break
            if not record:
                break
            content += record
    finally:
        os.close(fd)
    return tuple(messages(content.decode(errors="replace")))
