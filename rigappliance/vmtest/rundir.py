"""Directories of running machines, and logs that outlive them.

A machine's overlay and its like are in a directory of its own that is locked as
long as its process lives.  A process that was killed removes nothing; the next
one to start a machine does it instead.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from rigappliance.vmtest import cache

RUN = "run"
LOGS = "logs"
OWNER = ".owner"
LOGS_VARIABLE = "RIGAPPLIANCE_VMTEST_LOGS"
KEPT_LOGS = 30


class RunDirectory:
    """A directory that is this process's until ``remove``."""

    def __init__(self) -> None:
        base = cache.cache_directory() / RUN
        base.mkdir(parents=True, exist_ok=True)
        sweep(base)
        self.path = Path(tempfile.mkdtemp(dir=base))
        self._owner = os.open(self.path / OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._owner, fcntl.LOCK_EX)

    def remove(self) -> None:
        if self._owner >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._owner)
            self._owner = -1


def sweep(base: Path) -> None:
    """Remove directories whose owner is gone."""
    for path in base.iterdir():
        # An owner that has just made its directory locks it in a moment.
        with suppress(OSError):
            descriptor = os.open(path / OWNER, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def log_directory(name: str) -> Path:
    """A new directory for a machine's logs, below ``$RIGAPPLIANCE_VMTEST_LOGS`` or the cache. The oldest go."""
    base = Path(os.environ.get(LOGS_VARIABLE) or cache.cache_directory() / LOGS)
    base.mkdir(parents=True, exist_ok=True)
    if LOGS_VARIABLE not in os.environ:
        _remove_oldest(base)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path(tempfile.mkdtemp(prefix=f"{stamp}-{name}-", dir=base))


def _remove_oldest(base: Path) -> None:
    # Names begin with the time, so that they sort by age.
    for path in sorted(base.iterdir())[:-KEPT_LOGS]:
        shutil.rmtree(path, ignore_errors=True)
