"""Programs of the host that guests need, and one way to run them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.vmtest.errors import ImageError

# Debian's name of the package that brings each.
PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "fakeroot": "fakeroot",
    "setpriv": "util-linux",
    "tar": "tar",
}
# An ordinary user's PATH lacks the administrators' programs, which are no less executable.
SYSTEM_PATH = "/usr/sbin:/sbin"

OUTPUT_TAIL_CHARACTERS = 3000


def program(name: str) -> str:
    """Full path of a program of the host. Raises ``PreflightError`` where it is missing."""
    found = shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise PreflightError(
            f"the program {name} is not installed",
            "guests for tests are made and run with it",
            f"install it: apt-get install {PACKAGES.get(name, name)}",
        )
    return found


def run(argv: Sequence[str], *, doing: str, timeout_s: float, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end; its standard output. Raises ``ImageError`` with the end of what it wrote."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise ImageError(f"{doing} took longer than {timeout_s:.0f} s", f"{Path(argv[0]).name} ends") from expired
    if done.returncode != 0:
        tail = (done.stdout + done.stderr).strip()[-OUTPUT_TAIL_CHARACTERS:]
        raise ImageError(f"{doing} failed: {Path(argv[0]).name} left with status {done.returncode}:\n{tail}")
    return done.stdout
