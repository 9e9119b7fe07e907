"""Carrying steps out, one installation or uninstallation at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rigappliance.errors import BusyError, PreflightError
from rigappliance.exclusive import taken
from rigappliance.install.host import Host
from rigappliance.install.steps import CommandError, Step

# A directory, so that no lock file is left; not the swap file's, which `swap off` locks meanwhile.
LOCKED = Path("/etc")


@contextmanager
def only_one(host: Host) -> Iterator[None]:
    """Raises ``BusyError`` while another process installs or uninstalls."""
    fd = os.open(host.at(LOCKED), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not taken(fd):
            raise BusyError(
                "another `rigappliance install` or `uninstall` is at work",
                "one at a time",
                "wait for it to end",
            )
        yield
    finally:
        os.close(fd)


def perform(host: Host, steps: Iterable[Step], say: Callable[[Step], None], remedy: str) -> list[str]:
    """Carry out ``steps``, each after ``say`` was told of it, and return their notes.

    Raises ``PreflightError`` with ``remedy`` about the first that fails; those
    before it are done, and those after it are not.
    """
    notes = []
    for step in steps:
        say(step)
        try:
            note = step.act(host)
        except CommandError as error:
            raise PreflightError(str(error), "exit status 0", remedy) from error
        except OSError as error:
            raise PreflightError(
                f"{step.kind} {step.subject}: {error.strerror or error}", "a change that root can make", remedy
            ) from error
        if note:
            notes.append(note)
    return notes
