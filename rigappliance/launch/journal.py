"""systemd's journal about one start, where this user may read it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PLACES = ("var/log/journal", "run/log/journal")
LINES = 1000
TIMEOUT_S = 20.0
# The kernel's and systemd's words can come a little before the start is written down.
BEFORE_S = 2.0


def readable(root: Path = Path("/")) -> bool:
    """Whether asking is worth the time."""
    for place in PLACES:
        with suppress(OSError):
            if any(os.access(file, os.R_OK) for file in (root / place).glob("*/system.journal")):
                return True
    return False


def kernel_lines(boot_id: str, started: float, ended: float | None = None) -> tuple[str, ...]:
    """The kernel's messages of that boot between the two (seconds since the epoch)."""
    return ask(["_TRANSPORT=kernel"], boot_id, started, ended)


def unit_lines(unit: str, boot_id: str, started: float, ended: float | None = None) -> tuple[str, ...]:
    """What systemd said about ``unit``, and all that systemd-oomd said; not what the unit itself printed."""
    about = [f"UNIT={unit}", "+", f"OBJECT_SYSTEMD_UNIT={unit}", "+", "_SYSTEMD_UNIT=systemd-oomd.service"]
    return ask(about, boot_id, started, ended)


def ask(matches: Sequence[str], boot_id: str, started: float, ended: float | None) -> tuple[str, ...]:
    program = shutil.which("journalctl")
    if program is None or not readable():
        return ()
    # A match before `+` binds to its own term alone, so the boot goes with the option.
    boot = [f"--boot={boot_id.replace('-', '')}"] if boot_id else []
    since = f"--since=@{max(started - BEFORE_S, 0):.0f}"
    until = [f"--until=@{ended:.0f}"] if ended is not None else []
    command = [program, "--quiet", "--no-pager", "--output=cat", f"--lines={LINES}", *boot, since, *until, *matches]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(done.stdout.splitlines()) if done.returncode == 0 else ()
