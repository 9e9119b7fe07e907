"""What swapping asks of btrfs: no copy on write, and data that lies on one device once."""

from __future__ import annotations

import fcntl
import struct
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.facts.host import Mount

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
NOCOW = 0x00800000
COMPRESS = 0x00000004
FLAGS = struct.Struct("=L4x")


def read_flags(fd: int) -> int:
    buffer = bytearray(FLAGS.size)
    fcntl.ioctl(fd, FS_IOC_GETFLAGS, buffer)
    flags: int = FLAGS.unpack(buffer)[0]
    return flags


def copies_never(fd: int) -> bool:
    """Whether the file is written in place."""
    return bool(read_flags(fd) & NOCOW)


def forbid_copies(fd: int, file: Path) -> None:
    """Have the file, which must be empty, written in place. Raises ``PreflightError`` where btrfs does not."""
    flags = read_flags(fd)
    if flags & COMPRESS:
        # A directory hands its compression down, and btrfs takes the one only after the other is gone.
        flags &= ~COMPRESS
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, FLAGS.pack(flags))
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, FLAGS.pack(flags | NOCOW))
    if not copies_never(fd):
        raise PreflightError(
            f"btrfs does not let {file} be written in place",
            "attribute C on the file (`chattr +C`)",
            "put memory.swap_file on ext4 or xfs, or on a btrfs that allows it",
        )


def data_profiles(mount: Mount, root: Path) -> frozenset[str]:
    """How the file system of ``mount`` stores data: ``single``, ``raid1``…; empty where the kernel does not tell."""
    # The kernel's own name: those below /dev/mapper are links.
    device = (root / mount.source.lstrip("/")).resolve().name
    for filesystem in (root / "sys/fs/btrfs").glob("*"):
        if (filesystem / "devices" / device).exists():
            return frozenset(entry.name for entry in (filesystem / "allocation/data").glob("*/"))
    return frozenset()


def check_profile(mount: Mount, root: Path) -> None:
    """Raises ``PreflightError`` where all data is kept twice or striped, which excludes swapping."""
    profiles = data_profiles(mount, root)
    if profiles and "single" not in profiles:
        raise PreflightError(
            f"the btrfs at {mount.point} keeps its data as {', '.join(sorted(profiles))}",
            "data profile single: the kernel swaps to no other",
            "put memory.swap_file on another file system, or convert it (`btrfs balance start -dconvert=single`)",
        )
