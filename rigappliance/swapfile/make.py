"""From nothing, or from an unfinished file, to a whole swap area under its own name."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rigappliance.errors import PreflightError
from rigappliance.facts.host import Mount
from rigappliance.swapfile import btrfs
from rigappliance.swapfile.allocate import allocate
from rigappliance.swapfile.area import check_area
from rigappliance.swapfile.declared import partial_of
from rigappliance.swapfile.filesystem import Way
from rigappliance.swapfile.machine import Machine, Output
from rigappliance.swapfile.partial import begin_partial, open_partial
from rigappliance.swapfile.programs import run_program
from rigappliance.swapfile.progress import Progress
from rigappliance.swapfile.space import require_room
from rigappliance.units import format_size

FULL = (errno.ENOSPC, errno.EDQUOT)


def make(place: Path, size_bytes: int, mount: Mount, way: Way, machine: Machine, output: Output) -> None:
    """Make the swap file ``place``, which does not exist.

    Raises ``PreflightError`` where the disk has no room (before anything is
    written, if that can be known), and ``OSError``; what is made stays.
    """
    partial = partial_of(place)
    with unfinished(partial, size_bytes, machine) as fd:
        if mount.filesystem == "btrfs" and not btrfs.copies_never(fd):
            # It takes the attribute only while it is empty.
            os.ftruncate(fd, 0)
            btrfs.forbid_copies(fd, partial)
        output.line(f"making {place}: {format_size(size_bytes)}, {way.value} on {mount.filesystem} at {mount.point}")
        progress = Progress(f"making {place}", size_bytes, output)
        try:
            allocate(fd, size_bytes, way, progress.at, lambda need: require_room(place.parent, need, file=place))
        except OSError as error:
            if error.errno not in FULL:
                raise
            # The others on this disk get back what the unfinished step took.
            os.ftruncate(fd, progress.done_bytes)
            raise full(place, progress.done_bytes, error) from error
        os.fsync(fd)
        said = run_program("mkswap", str(partial))
        if said is not None:
            raise PreflightError(f"mkswap {partial}: {said}", "a swap area", "mend what it names")
        os.fsync(fd)
        check_area(fd, partial, mount.filesystem)
        if os.path.lexists(place):
            raise PreflightError(
                f"{place} has been made by somebody else meanwhile: it was not touched",
                "no file of that name",
                "move it away, then run `rigappliance swap on` again",
            )
        partial.rename(place)
        sync_directory(place.parent)


@contextmanager
def unfinished(partial: Path, size_bytes: int, machine: Machine) -> Iterator[int]:
    """The file to go on with. Raises ``PreflightError`` before a byte of the disk is taken if there are too few."""
    fd = open_partial(partial, machine.owner_uid)
    try:
        allocated = os.fstat(fd).st_blocks * 512 if fd is not None else 0
        require_room(partial.parent, size_bytes - allocated, file=partial)
        if fd is None:
            fd = begin_partial(partial)
        # Whatever the umask was.
        os.fchmod(fd, 0o600)
        sync_directory(partial.parent)
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def full(place: Path, done_bytes: int, error: OSError) -> PreflightError:
    return PreflightError(
        f"{place.parent}: {error.strerror} when {format_size(done_bytes)} of {place} were made",
        "room for all of it, in the file system and in the quota",
        "free some, lower memory.swap, or set memory.swap_file to a path on another file system",
    )


def sync_directory(directory: Path) -> None:
    """A new name is on the disk only with its directory."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
