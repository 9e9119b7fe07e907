"""Handing a swap file to the kernel and taking it back."""

from __future__ import annotations

from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.facts.host import SwapDevice, parse_meminfo, read_text
from rigappliance.swapfile.declared import PAGE_BYTES
from rigappliance.swapfile.machine import Machine
from rigappliance.swapfile.programs import run_program
from rigappliance.units import format_size

ALREADY_ACTIVE = "Device or resource busy"


def active_entry(place: Path, machine: Machine) -> SwapDevice | None:
    """How ``/proc/swaps`` lists ``place`` (without symbolic links), or ``None`` where it is not active."""
    files = [device for device in machine.swaps if device.kind == "file"]
    exact = next((device for device in files if device.path == str(place)), None)
    return exact or next((device for device in files if is_seen_from_elsewhere(device, place)), None)


def is_seen_from_elsewhere(device: SwapDevice, place: Path) -> bool:
    """Whether ``device`` is ``place`` under another name.

    Enabled by a service with a mount namespace of its own, ``/var/lib/swap`` shows
    as ``/swap`` for ever: the kernel names a file from its mount on.
    """
    listed = Path(device.path)
    if listed.parts[1:] != place.parts[-len(listed.parts[1:]) :]:
        return False
    try:
        return not listed.exists() and place.lstat().st_size == device.size_bytes + PAGE_BYTES
    except OSError:
        return False


def swap_on(place: Path, priority: int) -> bool:
    """Enable the swap area; ``False`` where it was active already. Raises ``PreflightError``."""
    said = run_program("swapon", "-p", str(priority), str(place))
    if said is None:
        return True
    if ALREADY_ACTIVE in said:
        return False
    raise PreflightError(
        said, f"{place} enabled with priority {priority}", "see `dmesg | tail`, where the kernel names the reason"
    )


def swap_off(place: Path, entry: SwapDevice, machine: Machine) -> None:
    """Disable the swap area. Raises ``PreflightError``, also where its content does not fit the RAM."""
    available = parse_meminfo(read_text(machine.root / "proc/meminfo") or "").get("MemAvailable")
    others = sum(device.size_bytes - device.used_bytes for device in machine.swaps if device != entry)
    if available is not None and entry.used_bytes > available + others:
        # The kernel would try for minutes, and then kill whoever asked.
        raise PreflightError(
            f"{format_size(entry.used_bytes)} are swapped out to {place}, and {format_size(available + others)} of "
            "RAM and other swap are free for them",
            "room for all of it",
            "stop the engine first (`systemctl stop rigappliance`)",
        )
    said = run_program("swapoff", str(place))
    if said is not None:
        raise PreflightError(said, f"{place} disabled", "stop the engine first, then see `dmesg | tail`")
