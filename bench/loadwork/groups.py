"""A control group with a limit on memory: version 2 where the machine has its memory controller, else version 1.

Under version 1 the pressure figures come from a version 2 group beside it, which needs no controller for them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PRESSURES = ("memory", "io", "cpu")


@dataclass(frozen=True)
class Usage:
    """``refaults``: pages that had been in memory before; ``reclaims``: times that the limit was in the way."""

    peak_bytes: int
    refaults: int
    reclaims: int
    major_faults: int
    stalled_s: dict[str, float]


@dataclass(frozen=True)
class Group:
    """``memory`` carries the limit; ``pressure`` is the version 2 group, the same one where both are version 2."""

    memory: Path
    pressure: Path | None

    @property
    def doors(self) -> list[str]:
        """The files into which a process writes its number to be in it."""
        return [str(path / "cgroup.procs") for path in dict.fromkeys(filter(None, (self.memory, self.pressure)))]

    def usage(self) -> Usage:
        second = (self.memory / "memory.max").exists()
        stat = dict(line.split() for line in (self.memory / "memory.stat").read_text().splitlines())
        if second:
            peak = int((self.memory / "memory.peak").read_text())
            events = dict(line.split() for line in (self.memory / "memory.events").read_text().splitlines())
            reclaims = int(events["max"])
        else:
            peak = int((self.memory / "memory.max_usage_in_bytes").read_text())
            reclaims = int((self.memory / "memory.failcnt").read_text())
        stalled = {kind: self._stalled_s(kind) for kind in PRESSURES} if self.pressure else {}
        return Usage(peak, int(stat.get("workingset_refault_file", 0)), reclaims, int(stat["pgmajfault"]), stalled)

    def _stalled_s(self, kind: str) -> float:
        """Seconds in which at least one process stood still for it."""
        assert self.pressure
        first = (self.pressure / f"{kind}.pressure").read_text().splitlines()[0]
        return int(first.rpartition("total=")[2]) / 1e6


def home_doors(process: int) -> list[str]:
    """Where ``process`` is now, as the files that take it back."""
    doors = []
    for line in Path(f"/proc/{process}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base = ROOT if (ROOT / "cgroup.controllers").exists() else ROOT / "unified"
        elif controllers == "memory":
            base = ROOT / "memory"
        else:
            continue
        doors.append(str(base / path.lstrip("/") / "cgroup.procs"))
    return doors


def enter(doors: list[str], process: int | None = None) -> None:
    for door in doors:
        Path(door).write_text(str(process or os.getpid()))


@contextmanager
def limited(name: str, limit_bytes: int) -> Iterator[Group]:
    """A group that exists for the time of the block; whoever is still in it at the end comes to where this one is."""
    second = (ROOT / "cgroup.controllers").exists() and "memory" in (ROOT / "cgroup.controllers").read_text()
    memory = ROOT / name if second else ROOT / "memory" / name
    unified = ROOT if second else ROOT / "unified"
    pressure = unified / name if (unified / "cgroup.controllers").exists() else None
    group = Group(memory, pressure)
    made = [path for path in dict.fromkeys(filter(None, (memory, pressure))) if not path.exists()]
    try:
        for path in made:
            path.mkdir()
        if second:
            (memory / "memory.max").write_text(str(limit_bytes))
            (memory / "memory.swap.max").write_text("0")
        else:
            (memory / "memory.limit_in_bytes").write_text(str(limit_bytes))
        yield group
    finally:
        for path in made:
            empty(path)
            remove(path)


def empty(path: Path) -> None:
    """Those who are left where something went wrong."""
    for process in (path / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            enter(home_doors(os.getpid()), int(process))


def remove(path: Path) -> None:
    """The kernel says busy for a moment after the last process left."""
    for _ in range(50):
        try:
            path.rmdir()
            return
        except OSError:
            time.sleep(0.1)
    path.rmdir()
