"""Memory of the engine's processes, shared pages counted once (PSS, proportional set size, proc(5))."""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.launch.proctree import PROC, ProcessStat, command_line, descendants, read_stat


@dataclass(frozen=True)
class ProcessMemory:
    """``own_bytes`` are the pages that no other process maps (USS); the rest of the PSS is its part of shared ones."""

    pid: int
    name: str
    pss_bytes: int
    swap_bytes: int
    own_bytes: int


def tree_memory(root: int) -> list[ProcessMemory]:
    """``root`` and everything below it; a process that hides its memory is left out.

    The kernel walks the page tables for this, which takes milliseconds a
    gigabyte: for a look, not for a loop.
    """
    own = read_stat(root)
    if own is None:
        return []
    found = []
    for stat in [own, *descendants(root)]:
        try:
            text = (PROC / str(stat.pid) / "smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        kib = dict.fromkeys(("Pss", "SwapPss", "Private_Clean", "Private_Dirty"), 0)
        for line in text.splitlines():
            name, _, rest = line.partition(":")
            if name in kib:
                kib[name] = int(rest.split()[0])
        name = "API server" if stat.pid == root else display_name(stat)
        private = kib["Private_Clean"] + kib["Private_Dirty"]
        found.append(ProcessMemory(stat.pid, name, kib["Pss"] * 1024, kib["SwapPss"] * 1024, private * 1024))
    return found


def display_name(stat: ProcessStat) -> str:
    """What the process is: the kernel cuts its name to 15 characters, and helpers are all called python."""
    line = command_line(stat.pid)
    if line.startswith("VLLM::"):
        return line.split(" ")[0].removeprefix("VLLM::")
    return "resource tracker" if "resource_tracker" in line else stat.name
