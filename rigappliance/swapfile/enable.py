"""``rigappliance swap on``: the declared swap file is there and active, whatever was there before."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.swapfile.activate import active_entry, swap_on
from rigappliance.swapfile.area import check_area, open_file
from rigappliance.swapfile.declared import Declared
from rigappliance.swapfile.filesystem import way_to_make
from rigappliance.swapfile.lock import only_one
from rigappliance.swapfile.machine import Machine, Output
from rigappliance.swapfile.make import make
from rigappliance.swapfile.place import safe_place
from rigappliance.swapfile.programs import find_program
from rigappliance.swapfile.trouble import refusals_told
from rigappliance.units import exact_size, format_duration, format_size

MODE = 0o600


def enable(declared: Declared, machine: Machine, output: Output) -> str:
    """Make the swap file if need be, enable it, and say in one line what there is now.

    Raises ``PreflightError`` where a fact of this machine forbids it and
    ``BusyError`` while another process is at it.
    """
    if declared.size_bytes == 0:
        return "memory.swap is 0B: no swap file is declared, and nothing was done"
    require_root(machine)
    with refusals_told(declared.file):
        place = safe_place(declared.file, machine.owner_uid)
        if active_entry(place, machine):
            return leave_active(place, declared, machine, output)
        mount, way = way_to_make(place, machine)
        for program in ("mkswap", "swapon"):
            # Not after twenty minutes of writing.
            find_program(program)
        with only_one(place):
            began_s = time.monotonic()
            made = not os.path.lexists(place)
            if made:
                make(place, declared.size_bytes, mount, way, machine, output)
            else:
                check_existing(place, mount.filesystem, machine, output)
                warn_of_size(place, place.lstat().st_size, declared, output)
            took = f", made in {format_duration(time.monotonic() - began_s)}" if made else ""
            if not swap_on(place, declared.priority):
                return f"{place} was active already"
    return f"{place}: {format_size(place.lstat().st_size)} of swap active, priority {declared.priority}{took}"


def require_root(machine: Machine) -> None:
    if os.geteuid() != machine.owner_uid:
        raise PreflightError(
            f"this runs as user {os.geteuid()}", "root, whom alone the kernel lets change swap", "run it with sudo"
        )


def leave_active(place: Path, declared: Declared, machine: Machine, output: Output) -> str:
    """What is active stays as it is; only its mode is corrected."""
    entry = active_entry(place, machine)
    fd = open_file(place, machine.owner_uid)
    try:
        correct_mode(fd, place, output)
    finally:
        os.close(fd)
    warn_of_size(place, place.lstat().st_size, declared, output)
    if entry and entry.priority != declared.priority:
        output.warn(
            f"{place} is active with priority {entry.priority}, and memory.swap_priority is {declared.priority}: "
            "`rigappliance swap off` and `rigappliance swap on` change it"
        )
    return f"{place} is active already: {format_size(place.lstat().st_size)} of swap"


def check_existing(place: Path, filesystem: str, machine: Machine, output: Output) -> None:
    """Raises ``PreflightError`` unless it is a good swap file; of that, only the mode may be changed."""
    fd = open_file(place, machine.owner_uid)
    try:
        check_area(fd, place, filesystem)
        correct_mode(fd, place, output)
    finally:
        os.close(fd)


def correct_mode(fd: int, place: Path, output: Output) -> None:
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if mode != MODE:
        os.fchmod(fd, MODE)
        output.line(f"{place} had mode {mode:04o}; it has {MODE:04o} now, since it holds memory of every process")


def warn_of_size(place: Path, size_bytes: int, declared: Declared, output: Output) -> None:
    if size_bytes != declared.size_bytes:
        output.warn(
            f"{place} is {exact_size(size_bytes)} and memory.swap is {exact_size(declared.size_bytes)}: used as it is; "
            "to change it, stop the engine, `rigappliance swap off --delete`, `rigappliance swap on`"
        )
