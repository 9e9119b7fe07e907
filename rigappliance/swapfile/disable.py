"""``rigappliance swap off``: the swap file is not active, and gone if that is asked."""

from __future__ import annotations

import os
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.swapfile.activate import active_entry, swap_off
from rigappliance.swapfile.area import open_file, read_header
from rigappliance.swapfile.declared import Declared, partial_of
from rigappliance.swapfile.enable import require_root
from rigappliance.swapfile.lock import only_one
from rigappliance.swapfile.machine import Machine
from rigappliance.swapfile.partial import open_partial
from rigappliance.swapfile.place import safe_place
from rigappliance.swapfile.trouble import refusals_told


def disable(declared: Declared, machine: Machine, *, delete: bool = False) -> str:
    """Disable the swap file, with ``delete`` remove it and an unfinished one, and say in one line what was done.

    Raises ``PreflightError`` where the kernel refuses or the file is none of
    ours, and ``BusyError`` while another process is at it.
    """
    require_root(machine)
    with refusals_told(declared.file):
        place = safe_place(declared.file, machine.owner_uid)
        with only_one(place):
            entry = active_entry(place, machine)
            if entry:
                swap_off(place, entry, machine)
            done = f"{place} is disabled" if entry else f"{place} was not active"
            return f"{done}; {remove(place, machine)}" if delete else done


def remove(place: Path, machine: Machine) -> str:
    partial = partial_of(place)
    # Both are looked at before one goes.
    found = [place] if swap_file(place, machine) else []
    found += [partial] if unfinished(partial, machine) else []
    for path in found:
        path.unlink()
    return f"removed {' and '.join(path.name for path in found)}" if found else "there was nothing to remove"


def swap_file(place: Path, machine: Machine) -> bool:
    """Whether there is a file; raises ``PreflightError`` where it is no swap area."""
    if not os.path.lexists(place):
        return False
    fd = open_file(place, machine.owner_uid)
    try:
        if read_header(fd) is None:
            raise PreflightError(
                f"{place} is no swap area: it was not removed", "a swap file", "look at it, and remove it yourself"
            )
    finally:
        os.close(fd)
    return True


def unfinished(partial: Path, machine: Machine) -> bool:
    """Whether there is an unfinished one; raises ``PreflightError`` where the file is none of ours."""
    fd = open_partial(partial, machine.owner_uid)
    if fd is None:
        return False
    os.close(fd)
    return True
