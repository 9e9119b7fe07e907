"""Can the state directory be written, and is there room for logs and caches?"""

from __future__ import annotations

import os
from pathlib import Path

from rigappliance.facts.host import DiskFacts, nearest_existing
from rigappliance.preflight.finding import Finding, fail, ok, warn
from rigappliance.units import SIZE_UNITS, format_size

# Two logs of 64 MiB, the engine's compile and kernel caches, and room for a second set after an upgrade.
FREE_LEAST_BYTES = 2 * SIZE_UNITS["GiB"]


def check_state(state_dir: Path, disk: DiskFacts) -> list[Finding]:
    """All findings about ``state_dir``. Nothing is created: a check leaves the machine as it was."""
    return [check_writable(state_dir), check_space(state_dir, disk)]


def check_writable(state_dir: Path) -> Finding:
    existing = nearest_existing(state_dir)
    if not existing.is_dir():
        return fail(
            "state.writable",
            f"{existing} is not a directory",
            f"a directory at state_dir {state_dir}",
            "move the file away, or set state_dir",
        )
    # The access call knows about read-only file systems as well as about modes.
    if not os.access(existing, os.W_OK | os.X_OK):
        return fail(
            "state.writable",
            f"{existing} is not writable for this user",
            f"a state_dir {state_dir} that can be written or created",
            f"run as the service's user, create {state_dir} for this user, or set state_dir",
        )
    return ok("state.writable", f"{state_dir}" if existing == state_dir else f"{state_dir} can be created")


def check_space(state_dir: Path, disk: DiskFacts) -> Finding:
    if disk.free_bytes is None:
        return warn("state.space", f"the free space below {state_dir} is unknown", "2 GiB", "see `df`")
    # The kernel's word: virtual disks often call themselves rotational.
    disk_kind = {True: " (rotational disk)", False: " (solid-state disk)", None: ""}[disk.rotational]
    found = f"{format_size(disk.free_bytes)} free below {disk.existing}{disk_kind}"
    if disk.free_bytes >= FREE_LEAST_BYTES:
        return ok("state.space", found)
    return warn(
        "state.space",
        found,
        f"{format_size(FREE_LEAST_BYTES)} for logs and the engine's caches",
        "free space there, or set state_dir to another disk",
    )
