"""Is the swap of the right kind, first in line, in large pieces, and used as declared?"""

from __future__ import annotations

from collections.abc import Iterator

from rigappliance.config import RigConfig
from rigappliance.facts.host import HostFacts, SwapDevice
from rigappliance.facts.kernel import KernelFacts
from rigappliance.facts.swapareas import SwapPieces
from rigappliance.preflight.finding import Finding, ok, set_parameter, warn
from rigappliance.units import SIZE_UNITS, format_size

# A hard disk moves its head in about 10 ms and reads 100 MB/s: with pieces of 4 MiB a fifth of its time goes to moving.
PIECE_LEAST_BYTES = 4 * SIZE_UNITS["MiB"]


def check_swap_use(
    config: RigConfig, host: HostFacts, kernel: KernelFacts, pieces: tuple[SwapPieces, ...] | None
) -> list[Finding]:
    """All findings; none where no swap is declared and none is active."""
    devices = host.swap_devices or ()
    findings = []
    if devices:
        findings += [check_kind(devices), check_priority(config, devices)]
        findings += check_pieces(pieces or ())
    if config.memory.swap:
        findings += check_parameters(config, kernel)
    return findings


def check_kind(devices: tuple[SwapDevice, ...]) -> Finding:
    """zram keeps swapped pages in the RAM that they should make room in."""
    inside = [device for device in devices if device.path.startswith("/dev/zram")]
    if not inside:
        kinds = ", ".join(sorted({device.kind for device in devices}))
        return ok("memory.swap_kind", f"swap on disk ({kinds})")
    size = format_size(sum(device.size_bytes for device in inside))
    return warn(
        "memory.swap_kind",
        f"{size} of the swap is zram ({', '.join(device.path for device in inside)}), which is RAM itself",
        "swap on a disk: what the engine swaps out hardly compresses",
        f"run `swapoff {inside[0].path}` as root and remove zram-tools or zram-generator",
    )


def check_priority(config: RigConfig, devices: tuple[SwapDevice, ...]) -> Finding:
    """Pages go to the area of the highest priority until it is full."""
    declared = str(config.memory.swap_file)
    own = next((device for device in devices if device.path == declared), None)
    first = max(devices, key=lambda device: device.priority)
    if own is None or first.priority <= own.priority:
        return ok("memory.swap_priority", f"{(own or first).path} is used first, priority {(own or first).priority}")
    return warn(
        "memory.swap_priority",
        f"{first.path} (priority {first.priority}) is used before {own.path} (priority {own.priority})",
        "the declared swap file first",
        f"run `swapoff {first.path}` as root, or set memory.swap_priority above {first.priority} and run "
        "`rigappliance swap off` and `rigappliance swap on`",
    )


def check_pieces(pieces: tuple[SwapPieces, ...]) -> Iterator[Finding]:
    """A file in crumbs makes a disk seek for every few pages."""
    for area in pieces:
        if area.extents is None:
            yield ok("memory.swap_pieces", f"{area.path}: only root can see how it lies on the disk")
            continue
        average = area.size_bytes // max(area.extents, 1)
        found = f"{area.path} lies in {area.extents} pieces of {format_size(average)} on average"
        if average >= min(PIECE_LEAST_BYTES, area.size_bytes):
            yield ok("memory.swap_pieces", found)
            continue
        yield warn(
            "memory.swap_pieces",
            found,
            f"pieces of {format_size(PIECE_LEAST_BYTES)} or more",
            "make it anew where the disk has room in one piece: stop the engine, `rigappliance swap off --delete`, "
            "`rigappliance swap on`",
        )


def check_parameters(config: RigConfig, kernel: KernelFacts) -> Iterator[Finding]:
    """What the kernel does now against ``memory.swappiness`` and ``memory.page_cluster``."""
    for name, declared, actual in (
        ("swappiness", config.memory.swappiness, kernel.swappiness),
        ("page_cluster", config.memory.page_cluster, kernel.page_cluster),
    ):
        parameter = f"vm.{name.replace('_', '-')}" if name == "page_cluster" else f"vm.{name}"
        if actual is None or actual == declared:
            known = "unknown" if actual is None else str(actual)
            yield ok(f"memory.{name}", f"{parameter} is {known}")
            continue
        command = set_parameter(parameter, declared)
        yield warn(
            f"memory.{name}",
            f"{parameter} is {actual}",
            f"{declared}, as memory.{name} declares",
            f"run `{' '.join(command)}` as root; `rigappliance install` makes it last",
            (command,),
        )
