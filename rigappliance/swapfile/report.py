"""``rigappliance swap status``: what is declared against what is."""

from __future__ import annotations

import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from rigappliance.errors import RigError
from rigappliance.swapfile.activate import active_entry
from rigappliance.swapfile.area import check_area, open_file
from rigappliance.swapfile.declared import Declared, partial_of
from rigappliance.swapfile.extents import read_extents
from rigappliance.swapfile.filesystem import mount_below, way_to_make
from rigappliance.swapfile.machine import Machine
from rigappliance.swapfile.place import safe_place


@dataclass(frozen=True)
class Report:
    """``None`` is what is not there or cannot be known; only root can look into the file.

    ``problem`` says why `rigappliance swap on` would refuse.  ``as_declared`` is
    whether what is active has the declared size and priority; with a declared
    size of 0, whether the file is not active.
    """

    file: str
    declared_bytes: int
    declared_priority: int
    filesystem: str | None
    size_bytes: int | None
    mode: str | None
    extents: int | None
    active: bool
    used_bytes: int | None
    priority: int | None
    partial_bytes: int | None
    problem: str | None
    as_declared: bool

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def report(declared: Declared, machine: Machine) -> Report:
    """Look, without changing or locking anything. Raises nothing."""
    place, problem = located(declared.file, machine)
    status = lstat_of(place)
    entry = active_entry(place, machine)
    mount = mount_below(place, machine)
    extents: int | None = None
    if not problem and status is not None:
        extents, problem = looked_into(place, mount.filesystem if mount else "", machine)
    partial = lstat_of(partial_of(place))
    size_bytes = status.st_size if status else None
    matches = entry is not None and (size_bytes, entry.priority) == (declared.size_bytes, declared.priority)
    return Report(
        file=str(declared.file),
        declared_bytes=declared.size_bytes,
        declared_priority=declared.priority,
        filesystem=mount.filesystem if mount else None,
        size_bytes=size_bytes,
        mode=f"{stat.S_IMODE(status.st_mode):04o}" if status else None,
        extents=extents,
        active=entry is not None,
        used_bytes=entry.used_bytes if entry else None,
        priority=entry.priority if entry else None,
        partial_bytes=min(partial.st_blocks * 512, partial.st_size) if partial else None,
        problem=problem if declared.size_bytes or status else None,
        as_declared=matches if declared.size_bytes else entry is None,
    )


def located(file: Path, machine: Machine) -> tuple[Path, str | None]:
    """The file without links in its path, and why no swap file can be there."""
    try:
        place = safe_place(file, machine.owner_uid)
        way_to_make(place, machine)
    except RigError as error:
        return Path(os.path.realpath(file.parent)) / file.name, error.found
    except OSError as error:
        return file, f"{error.filename}: {error.strerror}"
    return place, None


def lstat_of(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def looked_into(place: Path, filesystem: str, machine: Machine) -> tuple[int | None, str | None]:
    """Into how many pieces the file falls, and why it is no good swap file."""
    try:
        fd = open_file(place, machine.owner_uid)
    except RigError as error:
        return None, error.found
    except OSError:
        return None, None
    try:
        check_area(fd, place, filesystem)
        extents = read_extents(fd, sync=False)
        return (None if extents is None else len(extents)), None
    except RigError as error:
        return None, error.found
    except OSError as error:
        return None, f"{place}: {error.strerror}"
    finally:
        os.close(fd)
