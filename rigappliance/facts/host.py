"""What the machine is: cores, CPU flags, RAM, swap, the disk below a directory.

Everything is read from ``/proc`` and ``/sys`` below ``root``, so that recorded
files stand in for a machine.  Nothing here raises for a file that is missing or
odd: what cannot be known is ``None``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

KIB = 1024


@dataclass(frozen=True)
class CpuFacts:
    """``flags`` are sorted; ``cores_physical`` is ``None`` where the kernel does not number cores."""

    model: str | None
    flags: tuple[str, ...]
    cores_physical: int | None
    cores_logical: int | None


@dataclass(frozen=True)
class SwapDevice:
    """One active swap file or partition, as ``/proc/swaps`` lists it."""

    path: str
    kind: Literal["file", "partition"]
    size_bytes: int
    used_bytes: int
    priority: int


@dataclass(frozen=True)
class Mount:
    """One line of ``/proc/self/mountinfo``; ``number`` is the device's ``major:minor``."""

    point: Path
    number: str
    filesystem: str
    source: str


@dataclass(frozen=True)
class DiskFacts:
    """Where a directory lies. ``existing`` is the directory itself, or its nearest parent that exists.

    ``rotational`` is ``True`` where any disk below the file system turns, and
    ``None`` where the kernel does not say (a network or memory file system).
    """

    directory: Path
    existing: Path
    mount_point: Path | None
    filesystem: str | None
    device: str | None
    rotational: bool | None
    total_bytes: int | None
    free_bytes: int | None


@dataclass(frozen=True)
class HostFacts:
    """The machine at the time of the call. Swap values are ``None`` where ``/proc/swaps`` cannot be read."""

    hostname: str | None
    kernel: str | None
    cpu: CpuFacts
    ram_total_bytes: int | None
    ram_available_bytes: int | None
    swap_devices: tuple[SwapDevice, ...] | None
    swap_total_bytes: int | None
    swap_used_bytes: int | None
    disk: DiskFacts


def read_host_facts(directory: Path, root: Path = Path("/")) -> HostFacts:
    """The facts of this machine, with the disk that holds ``directory`` (absolute; it need not exist)."""
    memory = parse_meminfo(read_text(root / "proc/meminfo") or "")
    swaps_text = read_text(root / "proc/swaps")
    swaps = None if swaps_text is None else parse_swaps(swaps_text)
    return HostFacts(
        hostname=one_line(root / "proc/sys/kernel/hostname"),
        kernel=one_line(root / "proc/sys/kernel/osrelease"),
        cpu=parse_cpuinfo(read_text(root / "proc/cpuinfo") or ""),
        ram_total_bytes=memory.get("MemTotal"),
        ram_available_bytes=memory.get("MemAvailable"),
        swap_devices=swaps,
        swap_total_bytes=None if swaps is None else sum(device.size_bytes for device in swaps),
        swap_used_bytes=None if swaps is None else sum(device.used_bytes for device in swaps),
        disk=read_disk_facts(directory, root),
    )


def read_text(path: Path) -> str | None:
    """The file's text, or ``None`` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def one_line(path: Path) -> str | None:
    return (read_text(path) or "").strip() or None


def parse_cpuinfo(text: str) -> CpuFacts:
    """The facts in ``/proc/cpuinfo``. x86 says ``model name`` and ``flags``, ARM neither and ``Features``."""
    blocks = [
        {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        for block in text.split("\n\n")
    ]
    processors = [block for block in blocks if "processor" in block]
    cores = {(block.get("physical id", "0"), block["core id"]) for block in processors if "core id" in block}
    first = processors[0] if processors else {}
    return CpuFacts(
        model=first.get("model name"),
        flags=tuple(sorted(set((first.get("flags") or first.get("Features") or "").split()))),
        cores_physical=len(cores) or None,
        cores_logical=len(processors) or None,
    )


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes by name from ``/proc/meminfo``; lines without a unit (huge page counts) are left out."""
    return {
        match[1]: int(match[2]) * KIB for match in re.finditer(r"^([\w()]+):\s+(\d+) kB$", text, flags=re.MULTILINE)
    }


def parse_swaps(text: str) -> tuple[SwapDevice, ...]:
    """The devices in ``/proc/swaps``, whose sizes are in KiB; lines that do not parse are left out."""
    devices = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) != 5 or not fields[2].isdigit() or not fields[3].isdigit():
            continue
        devices.append(
            SwapDevice(
                path=unescape(fields[0]),
                kind="file" if fields[1] == "file" else "partition",
                size_bytes=int(fields[2]) * KIB,
                used_bytes=int(fields[3]) * KIB,
                priority=int(fields[4]) if fields[4].lstrip("-").isdigit() else 0,
            )
        )
    return tuple(devices)


def unescape(text: str) -> str:
    r"""``/my\040swap`` as ``/my swap``: the kernel writes blanks and backslashes as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """The mounts in ``/proc/self/mountinfo``, in the order in which they were made."""
    mounts = []
    for line in text.splitlines():
        # A variable number of optional fields ends with a lone hyphen (proc_pid_mountinfo(5)).
        left, separator, right = line.partition(" - ")
        before, after = left.split(), right.split(" ")
        if not separator or len(before) < 6 or len(after) < 2:
            continue
        mounts.append(Mount(Path(unescape(before[4])), before[2], unescape(after[0]), unescape(after[1])))
    return tuple(mounts)


def mount_of(path: Path, mounts: tuple[Mount, ...]) -> Mount | None:
    """The mount that ``path`` is on. Of two at the same point the later one hides the earlier."""
    best: Mount | None = None
    for mount in mounts:
        if path.is_relative_to(mount.point) and (best is None or len(mount.point.parts) >= len(best.point.parts)):
            best = mount
    return best


def nearest_existing(path: Path) -> Path:
    """``path``, or the nearest of its parents that exists and can be reached."""
    for candidate in (path, *path.parents):
        try:
            candidate.stat()
        except OSError:
            continue
        return candidate
    return path


def read_disk_facts(directory: Path, root: Path = Path("/")) -> DiskFacts:
    """The file system that holds ``directory``, or that would hold it once it is made."""
    base = root.resolve()
    existing = nearest_existing(base / directory.relative_to(directory.anchor)).resolve()
    inside = Path("/") / existing.relative_to(base) if existing.is_relative_to(base) else existing
    mount = mount_of(inside, parse_mountinfo(read_text(base / "proc/self/mountinfo") or ""))
    total_bytes, free_bytes = space_of(existing)
    return DiskFacts(
        directory=directory,
        existing=inside,
        mount_point=mount.point if mount else None,
        filesystem=mount.filesystem if mount else None,
        device=mount.source if mount else None,
        rotational=mount_rotates(mount, base) if mount else None,
        total_bytes=total_bytes,
        free_bytes=free_bytes,
    )


def space_of(path: Path) -> tuple[int | None, int | None]:
    """Total bytes, and the bytes that an ordinary user may still write."""
    try:
        status = os.statvfs(path)
    except OSError:
        return None, None
    return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize


def mount_rotates(mount: Mount, root: Path) -> bool | None:
    """Whether the disk of ``mount`` turns, or ``None``."""
    by_number = rotates(root / "sys/dev/block" / mount.number)
    if by_number is not None or not mount.source.startswith("/dev/"):
        return by_number
    # btrfs and ZFS mounts carry an anonymous number, and /dev/mapper names are links: the source leads further.
    source = (root / mount.source.lstrip("/")).resolve()
    return rotates(root / "sys/class/block" / source.name)


def rotates(device: Path) -> bool | None:
    """Whether the block device of a ``/sys`` directory turns, or ``None``."""
    real = device.resolve()
    # A device-mapper or RAID device turns if any of its parts does.
    parts = [rotates(part) for part in sorted(real.glob("slaves/*"))]
    known = [part for part in parts if part is not None]
    if known:
        return any(known)
    # A partition has no queue of its own: the disk is the directory above.
    for directory in (real, real.parent):
        flag = one_line(directory / "queue/rotational")
        if flag in ("0", "1"):
            return flag == "1"
    return None
