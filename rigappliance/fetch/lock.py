"""One fetch at a time in a directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rigappliance.errors import BusyError, PreflightError
from rigappliance.exclusive import taken

NAME = ".rigappliance-fetch.lock"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Make ``directory`` and hold its lock within.

    Raises ``BusyError`` where another process holds it and ``PreflightError``
    where the directory cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        fd = os.open(directory / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise not_writable(directory, error) from error
    try:
        if not taken(fd):
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            raise BusyError(
                f"another fetch is at work in {directory} (pid {holder or 'unknown'})",
                "one fetch a directory",
                "wait for it, or stop it",
            )
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def not_writable(directory: Path, error: OSError) -> PreflightError:
    return PreflightError(
        f"cannot write to model.path {directory}: {error.strerror or error}",
        "a directory that this user can write",
        "run as the user that owns it, mend its owner and mode, or set model.path to another",
    )
