"""What a renderer needs to know of the machine that it runs on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from rigappliance.render.systemd import PROGRAM


def systemd_version() -> int | None:
    """Of this machine, or ``None`` without systemd."""
    program = shutil.which("systemctl")
    if program is None:
        return None
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"systemd (\d+)", done.stdout)
    return int(found[1]) if found else None


def own_program() -> Path:
    """The command of this installation: beside its interpreter, on the PATH, or where a package would put it."""
    beside = Path(sys.executable).parent / "rigappliance"
    return beside if beside.exists() else Path(shutil.which("rigappliance") or PROGRAM)
