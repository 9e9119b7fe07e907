"""Locks that die with their holder."""

from __future__ import annotations

import fcntl
import time

# A killed holder's child owns a copy of the lock from fork to exec, which a busy machine can stretch.
PATIENCE_S = 2.0
RETRY_S = 0.02


def taken(fd: int, patience_s: float = PATIENCE_S) -> bool:
    """Take the flock(2) lock of an open file for as long as that is open.

    False where somebody else still holds it after ``patience_s``.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(RETRY_S)
        else:
            return True
