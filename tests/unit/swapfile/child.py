"""The real command line on a machine in a directory: `python -m tests.unit.swapfile.child ROOT ARGUMENT…`.

Small steps with a pause after each, so that there is time to look and to stop it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from rigappliance.cli import run
from rigappliance.swapfile import allocate, machine
from rigappliance.swapfile.machine import Machine
from tests.unit.swapfile.host import MIB

PAUSE_S = 0.05


def main() -> int:
    root, arguments = Path(sys.argv[1]), sys.argv[2:]
    allocate.PREALLOCATE_BYTES = allocate.SYNC_BYTES = MIB
    real_sync, real_fallocate = os.fdatasync, allocate.fallocate

    def fdatasync(fd: int) -> None:
        time.sleep(PAUSE_S)
        real_sync(fd)

    def fallocate(fd: int, start_bytes: int, length_bytes: int) -> None:
        time.sleep(PAUSE_S)
        real_fallocate(fd, start_bytes, length_bytes)

    os.fdatasync = fdatasync  # type: ignore[assignment]
    allocate.fallocate = fallocate
    machine.this_machine = lambda: Machine(root, os.geteuid())
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
