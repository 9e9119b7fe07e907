"""A process's memory on the host by kind: its own pages, files that it maps (libraries), shared memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROLLUP = ("Rss", "Pss", "Pss_Anon", "Pss_File", "Pss_Shmem", "Private_Dirty", "Locked", "SwapPss")
LARGEST = 8
HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)$")


def process_memory(pid: int | str = "self") -> dict[str, Any]:
    """Bytes by kind, and the files and kinds of anonymous memory with the largest PSS; empty where it hides them."""
    directory = Path("/proc") / str(pid)
    try:
        rollup = (directory / "smaps_rollup").read_text(encoding="ascii")
        maps = (directory / "smaps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    sizes = {}
    for line in rollup.splitlines():
        name, _, rest = line.partition(":")
        if name in ROLLUP:
            sizes[name] = int(rest.split()[0]) * 1024
    return {"host": sizes, "mappings": largest(maps)}


def largest(smaps: str) -> dict[str, int]:
    """PSS by the name of what is mapped, the largest few."""
    by_name: dict[str, int] = {}
    name = ""
    for line in smaps.splitlines():
        if head := HEAD.match(line):
            name = Path(head[1]).name or "anonymous"
        elif line.startswith("Pss:"):
            by_name[name] = by_name.get(name, 0) + int(line.split()[1]) * 1024
    return dict(sorted(by_name.items(), key=lambda item: -item[1])[:LARGEST])
