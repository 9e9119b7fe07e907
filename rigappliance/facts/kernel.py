"""How the kernel deals with memory: its parameters, what it has promised, and in what pieces memory is free."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rigappliance.facts.host import one_line, parse_meminfo, read_text

PAGE_BYTES = 4096
# The first 16 MiB, which drivers of today do not ask for.
LEFT_OUT = "DMA"


@dataclass(frozen=True)
class KernelFacts:
    """``None`` is what the kernel does not tell.

    ``free_by_order``: free bytes in blocks of 2^n pages, n from 0 on.
    ``commit_left_bytes``: what may still be promised where ``overcommit`` is 2.
    """

    swappiness: int | None = None
    page_cluster: int | None = None
    overcommit: int | None = None
    commit_left_bytes: int | None = None
    huge_pages: str | None = None
    huge_pages_defrag: str | None = None
    free_by_order: tuple[int, ...] | None = None


def read_kernel_facts(root: Path = Path("/")) -> KernelFacts:
    """Raises nothing."""
    vm = root / "proc/sys/vm"
    huge_pages = root / "sys/kernel/mm/transparent_hugepage"
    memory = parse_meminfo(read_text(root / "proc/meminfo") or "")
    limit, promised = memory.get("CommitLimit"), memory.get("Committed_AS")
    blocks = read_text(root / "proc/buddyinfo")
    return KernelFacts(
        swappiness=number(vm / "swappiness"),
        page_cluster=number(vm / "page-cluster"),
        overcommit=number(vm / "overcommit_memory"),
        commit_left_bytes=None if limit is None or promised is None else limit - promised,
        huge_pages=chosen(huge_pages / "enabled"),
        huge_pages_defrag=chosen(huge_pages / "defrag"),
        free_by_order=parse_buddyinfo(blocks) if blocks else None,
    )


def number(path: Path) -> int | None:
    text = one_line(path) or ""
    return int(text) if text.isdigit() else None


def chosen(path: Path) -> str | None:
    """Of ``always [madvise] never`` the one in brackets."""
    match = re.search(r"\[(\w[\w+]*)\]", one_line(path) or "")
    return match[1] if match else None


def parse_buddyinfo(text: str) -> tuple[int, ...] | None:
    """Free bytes by order, over all zones but the smallest; ``None`` where no line is as expected."""
    totals: list[int] = []
    for line in text.splitlines():
        match = re.fullmatch(r"Node \d+, zone\s+(\w+)((?:\s+\d+)+)\s*", line)
        if match is None or match[1] == LEFT_OUT:
            continue
        sizes = [int(count) * (PAGE_BYTES << order) for order, count in enumerate(match[2].split())]
        longer = max(len(sizes), len(totals))
        totals = [
            (sizes[order] if order < len(sizes) else 0) + (totals[order] if order < len(totals) else 0)
            for order in range(longer)
        ]
    return tuple(totals) or None
