"""The control group that this process is in, and what the kernel counted there.

Version 2 where its memory controller is at work, else version 1, which knows
less.  Nothing here raises: what cannot be read is None or empty.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# Version 1 says "no limit" with the largest multiple of a page in 63 bits.
NO_LIMIT_V1 = 1 << 62


@dataclass(frozen=True)
class ControlGroup:
    """``path`` is its directory, ``top`` that of the hierarchy."""

    path: Path
    top: Path
    version: int


def own_group(root: Path = Path("/")) -> ControlGroup | None:
    """Of this process, or None where no memory controller counts for it."""
    names: dict[str, str] = {}
    for line in read(root / "proc/self/cgroup").splitlines():
        # number:controllers:path, cgroups(7); the version 2 hierarchy has the number 0 and no controllers.
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        names["2" if number == "0" and not controllers else controllers] = name
    mount = root / "sys/fs/cgroup"
    if "2" in names:
        path = mount / names["2"].lstrip("/")
        if (path / "memory.events").is_file():
            return ControlGroup(path, mount, 2)
    if "memory" in names:
        path = mount / "memory" / names["memory"].lstrip("/")
        if (path / "memory.oom_control").is_file():
            return ControlGroup(path, mount / "memory", 1)
    return None


def limit_bytes(group: ControlGroup) -> int | None:
    """The lowest limit from the group up; None without one."""
    file = "memory.max" if group.version == 2 else "memory.limit_in_bytes"
    limits = []
    for path in (group.path, *group.path.parents):
        value = number(path / file)
        if value is not None and (group.version == 2 or value < NO_LIMIT_V1):
            limits.append(value)
        if path == group.top:
            break
    return min(limits, default=None)


def peak_bytes(group: ControlGroup) -> int | None:
    return number(group.path / ("memory.peak" if group.version == 2 else "memory.max_usage_in_bytes"))


def counters(group: ControlGroup) -> dict[str, int]:
    """``limit_hits``, ``kills`` and ``swap_refusals``, those that the kernel counts."""
    if group.version == 1:
        kills = table(group.path / "memory.oom_control").get("oom_kill")
        return {} if kills is None else {"kills": kills}
    events, swap = table(group.path / "memory.events"), table(group.path / "memory.swap.events")
    found = {"limit_hits": events.get("oom"), "kills": events.get("oom_kill"), "swap_refusals": swap.get("fail")}
    return {name: count for name, count in found.items() if count is not None}


def oomd_kills(group: ControlGroup) -> int:
    """How many processes systemd-oomd has killed in the group, by the mark that it leaves there; 0 without one."""
    try:
        return int(os.getxattr(group.path, "user.oomd_kill"))
    except (OSError, ValueError):
        return 0


def table(path: Path) -> dict[str, int]:
    """A file of ``name number`` lines."""
    pairs = (line.split() for line in read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def number(path: Path) -> int | None:
    text = read(path).strip()
    return int(text) if text.isdigit() else None


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
