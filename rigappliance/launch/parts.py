"""The engine's parts, core and workers, by the names they give themselves; their ends are told at once (pidfd)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress

from rigappliance.launch.proctree import ProcessStat

# setproctitle names of the core and the workers begin with this.
PART_NAME = "VLLM::"


def parts_of(tree: Iterable[ProcessStat]) -> list[ProcessStat]:
    """Core and workers among the engine's processes.

    A child has its parent's name until it runs a program of its own or names itself, so a compiler that a worker
    starts is called like the worker for a moment, and its end is nobody's death.  Two parts are never parent and
    child with one name: the core is named after its kind, workers after theirs.
    """
    by_pid = {stat.pid: stat for stat in tree}
    # The kernel cuts names to 15 characters; the prefix survives.
    named = [stat for stat in by_pid.values() if stat.name.startswith(PART_NAME)]
    return [stat for stat in named if stat.ppid not in by_pid or by_pid[stat.ppid].name != stat.name]


class Parts:
    """Those seen so far. ``died`` is called with the name and pid of one that ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop, died: Callable[[str, int], None]) -> None:
        self._loop = loop
        self._died = died
        self._watched: set[tuple[int, int]] = set()

    def see(self, tree: Iterable[ProcessStat]) -> None:
        """Watch those that are new."""
        for stat in parts_of(tree):
            key = (stat.pid, stat.start_ticks)
            if key not in self._watched:
                with suppress(OSError):
                    pidfd = os.pidfd_open(stat.pid)
                    self._watched.add(key)
                    self._loop.add_reader(pidfd, self._ended, pidfd, stat)

    def _ended(self, pidfd: int, stat: ProcessStat) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        self._died(stat.name, stat.pid)
