"""util-linux's programs for swap areas."""

from __future__ import annotations

import os
import shutil
import subprocess

from rigappliance.errors import PreflightError

# Where root's programs are on hosts whose PATH for services or users leaves them out.
FURTHER_DIRECTORIES = ("/usr/sbin", "/sbin")


def find_program(name: str) -> str:
    """The path of ``name``. Raises ``PreflightError`` where it is not installed."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *FURTHER_DIRECTORIES])
    found = shutil.which(name, path=places)
    if found is None:
        raise PreflightError(
            f"there is no program {name!r} in {places}", "util-linux's programs for swap", "install util-linux"
        )
    return found


def run_program(name: str, *arguments: str) -> str | None:
    """Run it to its end; ``None``, or what it said where it failed. Raises ``PreflightError`` where it is missing."""
    # Its messages are read, so that they must not be translated; systemd's socket is none of its business.
    environment = {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"} | {"LC_ALL": "C"}
    done = subprocess.run(
        [find_program(name), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return None
    return "; ".join(done.stdout.split("\n")).strip("; ") or f"{name} ended with status {done.returncode}"
