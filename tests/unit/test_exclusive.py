"""A lock waits out a dying holder's children, and nothing longer."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from pathlib import Path

from rigappliance.exclusive import taken


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)


def test_a_lock_that_is_let_go_meanwhile_is_taken(tmp_path: Path) -> None:
    held = opened(tmp_path / "lock")
    fcntl.flock(held, fcntl.LOCK_EX)
    # What a killed holder leaves behind: a child with a copy of its descriptor.
    child = subprocess.Popen(["sleep", "0.3"], pass_fds=(held,))
    os.close(held)
    fd = opened(tmp_path / "lock")
    assert not taken(fd, 0)
    assert taken(fd, 30)
    os.close(fd)
    assert child.wait() == 0


def test_a_lock_that_stays_held_is_given_up(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "lock"), opened(tmp_path / "lock")
    assert taken(first)
    began_s = time.monotonic()
    assert not taken(second, 0.2)
    assert time.monotonic() - began_s >= 0.2
    os.close(first)
    assert taken(second, 0)
    os.close(second)
