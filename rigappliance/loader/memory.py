"""How much the page cache may hold: what the machine and the control groups have left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
LARGEST_WINDOW_BYTES = 512 * MIB
SMALLEST_WINDOW_BYTES = 8 * MIB
# Version 1 writes this, less a page, for "no limit".
NO_LIMIT_BYTES = 1 << 62


def window_for(free_bytes: int) -> int:
    """Read-ahead that never pushes out what has been read and not been taken yet.

    An eighth: loading takes memory beside it, about 6 MiB a rank on the CPU.
    """
    return max(SMALLEST_WINDOW_BYTES, min(LARGEST_WINDOW_BYTES, free_bytes // 8))


def free_bytes(root: Path = Path("/")) -> int:
    """Memory that is free or holds files: the least over the host and the groups above this process."""
    return min([host_free(root), *groups_free(root)])


def host_free(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return SMALLEST_WINDOW_BYTES


def groups_free(root: Path) -> Iterator[int]:
    for directory, limit_name, used_name in groups(root):
        limit = number(directory / limit_name)
        used = number(directory / used_name)
        if limit is not None and used is not None and limit < NO_LIMIT_BYTES:
            yield max(0, limit - max(0, used - file_pages(directory)))


def groups(root: Path) -> Iterator[tuple[Path, str, str]]:
    """This process's memory groups from the innermost up, with the names of their files."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
            top = top / "unified" if (top / "unified").is_dir() else top
        elif "memory" in controllers.split(","):
            top, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        directory = top / path.lstrip("/")
        while directory != top.parent:
            yield directory, *names
            directory = directory.parent


def file_pages(directory: Path) -> int:
    """Bytes of files in the group's use, which the kernel can drop."""
    try:
        lines = (directory / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    found = dict(line.split() for line in lines if len(line.split()) == 2)
    prefix = "total_" if "total_inactive_file" in found else ""
    return sum(int(found.get(f"{prefix}{name}", 0)) for name in ("inactive_file", "active_file"))


def number(path: Path) -> int | None:
    """``None`` for "max", and where there is no such file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
