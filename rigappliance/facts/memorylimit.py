"""What the control groups leave of the RAM: the smallest limit from a group up to the top wins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rigappliance.launch import cgroup

# Where systemd puts the service, whether it runs now or not.
UNIT_GROUP = "system.slice/rigappliance.service"


@dataclass(frozen=True)
class MemoryLimitFacts:
    """``version`` is that of the memory controller, ``None`` without one.

    The smallest limits in bytes, ``None`` for none, with the directory that sets
    it: of this process, and of the service's group and the slices above it.
    """

    version: int | None = None
    systemd: bool = False
    own_bytes: int | None = None
    own_group: str | None = None
    unit_bytes: int | None = None
    unit_group: str | None = None


def read_memory_limits(root: Path = Path("/")) -> MemoryLimitFacts:
    """Raises nothing."""
    group = cgroup.own_group(root)
    systemd = (root / "run/systemd/system").is_dir()
    if group is None:
        return MemoryLimitFacts(systemd=systemd)
    own_bytes, own_group = smallest(group, group.path)
    unit_bytes, unit_group = smallest(group, group.top / UNIT_GROUP) if systemd else (None, None)
    return MemoryLimitFacts(group.version, systemd, own_bytes, own_group, unit_bytes, unit_group)


def smallest(group: cgroup.ControlGroup, path: Path) -> tuple[int | None, str | None]:
    """The lowest limit from ``path`` up, and the group that sets it, as its path in the hierarchy."""
    found = [(value, each) for each in upwards(path, group.top) if (value := limit_of(each, group.version)) is not None]
    if not found:
        return None, None
    value, place = min(found, key=lambda pair: pair[0])
    return value, f"/{place.relative_to(group.top)}" if place != group.top else "/"


def upwards(path: Path, top: Path) -> Iterator[Path]:
    for each in (path, *path.parents):
        yield each
        if each == top:
            return


def limit_of(path: Path, version: int) -> int | None:
    value = cgroup.number(path / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
    return None if value is None or (version == 1 and value >= cgroup.NO_LIMIT_V1) else value
