"""The engine's processes as /proc shows them. Standard library only: the guard imports this."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One line of /proc/PID/stat (proc(5)). ``cpu_ticks`` is user plus system time, faults are its own."""

    pid: int
    name: str
    state: str
    ppid: int
    minor_faults: int
    major_faults: int
    cpu_ticks: int
    start_ticks: int
    rss_bytes: int


def read_stat(pid: int) -> ProcessStat | None:
    """None where the process is gone or hidden."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses.
    opening, closing = text.find("("), text.rfind(")")
    fields = text[closing + 2 :].split()
    if opening < 0 or len(fields) < 22:
        return None
    return ProcessStat(
        pid=pid,
        name=text[opening + 1 : closing],
        state=fields[0],
        ppid=int(fields[1]),
        minor_faults=int(fields[7]),
        major_faults=int(fields[9]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
        start_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * PAGE_BYTES,
    )


def all_pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]  # noqa: PTH208 names, not paths


def descendants(root: int) -> list[ProcessStat]:
    """Every live process below ``root``, parents before children; zombies are left out."""
    children: dict[int, list[ProcessStat]] = {}
    for pid in all_pids():
        stat = read_stat(pid)
        if stat is not None:
            children.setdefault(stat.ppid, []).append(stat)
    found: list[ProcessStat] = []
    frontier = [root]
    while frontier:
        below = [stat for pid in frontier for stat in children.get(pid, [])]
        found.extend(below)
        frontier = [stat.pid for stat in below]
    return [stat for stat in found if stat.state not in "ZX"]


def with_environment(entry: str) -> list[ProcessStat]:
    """Processes whose environment holds ``entry`` (``NAME=value``), as far as this user may look."""
    wanted = entry.encode()
    found = []
    for pid in all_pids():
        try:
            environment = (PROC / str(pid) / "environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0"):
            stat = read_stat(pid)
            if stat is not None and stat.state not in "ZX":
                found.append(stat)
    return found


def send(stat: ProcessStat, signum: int) -> bool:
    """Signal exactly the process that ``stat`` describes, never a later one with its pid."""
    try:
        pidfd = os.pidfd_open(stat.pid)
    except OSError:
        return False
    try:
        now = read_stat(stat.pid)
        if now is None or now.start_ticks != stat.start_ticks:
            return False
        with suppress(OSError):
            signal.pidfd_send_signal(pidfd, signum)
            return True
        return False
    finally:
        os.close(pidfd)


def command_line(pid: int) -> str:
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    return raw.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")


def read_bytes_from_disk(pid: int) -> int:
    """Bytes that the process made the disk deliver (/proc/PID/io); 0 where hidden."""
    try:
        text = (PROC / str(pid) / "io").read_text(encoding="ascii")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("read_bytes:"):
            return int(line.split()[1])
    return 0


def wait_gone(stats: list[ProcessStat], timeout_s: float) -> list[ProcessStat]:
    """Those of ``stats`` that are still alive after at most ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        alive = []
        for stat in stats:
            now = read_stat(stat.pid)
            if now is not None and now.start_ticks == stat.start_ticks and now.state not in "ZX":
                alive.append(stat)
        if not alive or time.monotonic() >= deadline:
            return alive
        time.sleep(0.02)


def become_subreaper() -> None:
    """Adopt all orphans below this process, prctl(2). Raises ``OSError``."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def kill_tree(root: int, reap: Callable[[], None]) -> list[str]:
    """SIGKILL everything below ``root`` until nothing is left; return the names of what was killed.

    ``root`` must be a subreaper, so that no process can leave the tree, and
    ``reap`` collects its dead children.  A process that waits for a disk or a
    card dies only when that answers, so this can take as long as the device.
    """
    killed: dict[int, str] = {}
    pause_s = 0.01
    while True:
        reap()
        alive = descendants(root)
        if not alive:
            return sorted(killed.values())
        for stat in alive:
            if send(stat, signal.SIGKILL):
                killed[stat.pid] = stat.name
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 1.0)
