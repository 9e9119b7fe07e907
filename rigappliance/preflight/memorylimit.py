"""Does a control group leave the engine less memory than was declared?"""

from __future__ import annotations

from rigappliance.config import RigConfig
from rigappliance.facts.host import HostFacts
from rigappliance.facts.memorylimit import MemoryLimitFacts
from rigappliance.preflight.finding import Finding, ok, warn
from rigappliance.units import format_size, memory_limit_bytes

# systemd rounds a share of the RAM to pages, and the kernel's count of the RAM differs a little from boot to boot.
TOLERANCE = 0.02


def check_memory_limit(config: RigConfig, host: HostFacts, limits: MemoryLimitFacts) -> Finding:
    """The smallest limit above the engine against ``memory.max``."""
    if host.ram_total_bytes is None:
        return ok("memory.group", "the RAM of this machine is unknown")
    declared = memory_limit_bytes(config.memory.max, host.ram_total_bytes)
    for what, value, group in (
        ("the service", limits.unit_bytes, limits.unit_group),
        ("this process", limits.own_bytes, limits.own_group),
    ):
        if value is not None and value < declared * (1 - TOLERANCE):
            return warn(
                "memory.group",
                f"{what} gets {format_size(value)} of RAM at most: the limit of the control group {group}",
                f"{format_size(declared)}, which memory.max {config.memory.max} allows",
                f"raise or remove the limit (`systemctl set-property {unit_of(group)} MemoryMax=infinity`), "
                "or lower memory.max to it",
            )
    if limits.systemd and limits.version == 1:
        return warn(
            "memory.group",
            "memory is limited by control groups of version 1, which count swap in other ways",
            "version 2, for which the unit is made",
            "remove systemd.unified_cgroup_hierarchy=0 from the kernel's command line, and reboot",
        )
    return ok("memory.group", f"no control group allows less than memory.max ({config.memory.max})")


def unit_of(group: str | None) -> str:
    """The slice, scope or service that a group belongs to."""
    return (group or "").rpartition("/")[2] or "-.slice"


def effective_limit(limits: MemoryLimitFacts) -> int | None:
    """What no declaration can raise: the smallest limit that is in force."""
    found = [value for value in (limits.own_bytes, limits.unit_bytes) if value is not None]
    return min(found, default=None)
