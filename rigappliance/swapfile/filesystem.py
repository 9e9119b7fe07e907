"""Which file systems can hold a swap file, and how one is made there.

The kernel asks the file system once where the blocks are and then writes to the
disk without it. So it must keep every block where it is, have one place for each,
and come before the network and before user space in the way of a page.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.facts.host import Mount, mount_of, parse_mountinfo
from rigappliance.swapfile import btrfs
from rigappliance.swapfile.machine import Machine


class Way(Enum):
    """How blocks are allocated."""

    PREALLOCATED = "preallocated"
    WRITTEN = "written"


WAYS: dict[str, Way] = {
    "ext4": Way.PREALLOCATED,
    "xfs": Way.PREALLOCATED,
    "btrfs": Way.PREALLOCATED,
    # These have no fallocate.
    "ext2": Way.WRITTEN,
    "ext3": Way.WRITTEN,
    "jfs": Way.WRITTEN,
    # Its fallocate promises blocks without placing them, so that swapon finds holes.
    "f2fs": Way.WRITTEN,
}

MEMORY = "it lives in memory itself"
STACKED = "its files belong to the file systems below it"
NETWORK = "pages would go over the network, which needs memory to send them"
USERSPACE = "a process serves it, which could be swapped out itself"
READ_ONLY = "it is read-only"
UNSAFE = "it knows no owners, so that others could read the memory in it"
MOVING = "it does not write in place"

REFUSALS: dict[str, str] = {
    "tmpfs": MEMORY,
    "ramfs": MEMORY,
    "rootfs": MEMORY,
    "devtmpfs": MEMORY,
    "hugetlbfs": MEMORY,
    "overlay": STACKED,
    "aufs": STACKED,
    "ecryptfs": STACKED,
    "unionfs": STACKED,
    "nfs": NETWORK,
    "nfs4": NETWORK,
    "cifs": NETWORK,
    "smb3": NETWORK,
    "smbfs": NETWORK,
    "9p": NETWORK,
    "virtiofs": NETWORK,
    "vboxsf": NETWORK,
    "ceph": NETWORK,
    "afs": NETWORK,
    "lustre": NETWORK,
    "gfs2": NETWORK,
    "ocfs2": NETWORK,
    "fuse": USERSPACE,
    "fuseblk": USERSPACE,
    "squashfs": READ_ONLY,
    "erofs": READ_ONLY,
    "cramfs": READ_ONLY,
    "romfs": READ_ONLY,
    "iso9660": READ_ONLY,
    "udf": MOVING,
    "zfs": MOVING,
    "bcachefs": MOVING,
    "nilfs2": MOVING,
    "ubifs": MOVING,
    "vfat": UNSAFE,
    "msdos": UNSAFE,
    "exfat": UNSAFE,
    "ntfs": UNSAFE,
    "ntfs3": UNSAFE,
    "hfs": UNSAFE,
    "hfsplus": UNSAFE,
}


def mount_below(place: Path, machine: Machine) -> Mount | None:
    """The mount that ``place`` (without symbolic links) lies on, or ``None`` where the kernel does not tell."""
    return mount_of(place, parse_mountinfo(machine.mountinfo_text))


def way_to_make(place: Path, machine: Machine) -> tuple[Mount, Way]:
    """The mount below ``place``, and how a swap file is made there.

    Raises ``PreflightError`` where the file system cannot hold one, or where
    nobody has tried: one that moves blocks would be overwritten by the kernel.
    """
    mount = mount_below(place, machine)
    if mount is None:
        raise PreflightError(
            f"the file system of {place} is unknown", "a mount in /proc/self/mountinfo that holds it", "mount /proc"
        )
    way = WAYS.get(mount.filesystem)
    if way is None:
        raise PreflightError(
            f"{place} lies on {mount.filesystem} (mounted at {mount.point}): {reason(mount.filesystem)}",
            f"a file system that the kernel can swap to: {', '.join(WAYS)}",
            "set memory.swap_file to a path on such a file system",
        )
    if mount.filesystem == "btrfs":
        btrfs.check_profile(mount, machine.root)
    return mount, way


def reason(filesystem: str) -> str:
    """Why there is no swap file on ``filesystem``."""
    kind = "fuse" if filesystem.startswith("fuse.") else filesystem
    return REFUSALS.get(kind, "swap files on it are not known to work")
