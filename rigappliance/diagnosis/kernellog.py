"""What the kernel's log says about processes, memory, cards and disks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_OOM = re.compile(r"oom-kill:constraint=CONSTRAINT_(\w+)")
_OOM_TASK = re.compile(r"\btask=([^,]*),pid=(\d+)")
_OOM_MEMCG = re.compile(r"\btask_memcg=([^,\s]*)")
_KILLED = re.compile(r"(Memory cgroup out of memory|Out of memory)[^:]*: Kill(?:ed)? process (\d+) \(([^)]*)\)")
_FREE_SWAP = re.compile(r"Free swap\s*=\s*(\d+)\s*kB")
_TOTAL_SWAP = re.compile(r"Total swap\s*=\s*(\d+)\s*kB")
_PAGE_FAILURE = re.compile(r"page allocation failure: order:(\d+)")
_TRAP = re.compile(r"traps: (\S+?)\[(\d+)\] (?:trap )?([\w ]+?) ip:\S+ .*? in (\S+?)\[")
_TRAP_BARE = re.compile(r"traps: (\S+?)\[(\d+)\] (?:trap )?([\w ]+?) ip:")
_SEGFAULT = re.compile(r"(\S+?)\[(\d+)\]: segfault at \S+ ip \S+(?:.*? in ([^\s\[]+)\[)?")
_XID = re.compile(r"Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)")
_CARD_GONE = re.compile(r"fallen off the bus|GPU is lost|RmInitAdapter failed|GPU recovery action changed")
_DISK = re.compile(
    r"I/O error, dev \S+|Buffer I/O error on dev|EXT4-fs error|XFS .*(?:metadata I/O error|Corruption)"
    r"|BTRFS error|critical medium error|ata\d+[.:\d]* failed command: READ|UNC\b.*error|read error corrected"
)
# Of these the card itself, its link or its firmware is the reason; the others are mostly errors of programs.
_XIDS_OF_A_CARD = frozenset((48, 54, 61, 62, 64, 74, 79, 94, 95, 110, 119, 120, 140, 143, 154))
_ENGINE_NAMES = re.compile(
    r"^(?:python|vllm|VLLM|EngineCore|Worker|pt_|ray|api_server|rigappliance|cc1|nvcc|cicc|ptxas)"
)


@dataclass(frozen=True)
class OomKill:
    """``limit`` is true for a control group's limit, false for the whole machine."""

    line: str
    limit: bool
    task: str
    pid: int
    group: str = ""


@dataclass(frozen=True)
class Trap:
    line: str
    task: str
    pid: int
    kind: str  # "invalid opcode", "segfault", …
    library: str = ""


def is_engine_name(task: str) -> bool:
    """Whether a process of this name can be one of the engine's or of its compilers."""
    return bool(_ENGINE_NAMES.match(task))


def oom_kills(lines: Iterable[str]) -> Iterator[OomKill]:
    for line in lines:
        if match := _OOM.search(line):
            task, group = _OOM_TASK.search(line), _OOM_MEMCG.search(line)
            name, pid = (task[1], int(task[2])) if task else ("", 0)
            yield OomKill(line, match[1] == "MEMCG", name, pid, group[1] if group else "")
        elif match := _KILLED.search(line):
            yield OomKill(line, match[1].startswith("Memory cgroup"), match[3], int(match[2]))


def free_swap(lines: Iterable[str]) -> tuple[int, int] | None:
    """The least free swap and the swap there is, in bytes, as the reports of the OOM killer give them."""
    free, total = [], []
    for line in lines:
        if match := _FREE_SWAP.search(line):
            free.append(int(match[1]) * 1024)
        elif match := _TOTAL_SWAP.search(line):
            total.append(int(match[1]) * 1024)
    return (min(free), max(total)) if free and total else None


def page_failure(lines: Iterable[str]) -> tuple[int, str] | None:
    """The order of the first allocation of several pages that failed, and the line."""
    for line in lines:
        if (match := _PAGE_FAILURE.search(line)) and int(match[1][:3]) > 0:
            return int(match[1][:3]), line
    return None


def traps(lines: Iterable[str]) -> Iterator[Trap]:
    for line in lines:
        if match := _TRAP.search(line):
            yield Trap(line, match[1], int(match[2]), match[3].strip(), match[4])
        elif match := _TRAP_BARE.search(line):
            yield Trap(line, match[1], int(match[2]), match[3].strip())
        elif match := _SEGFAULT.search(line):
            yield Trap(line, match[1], int(match[2]), "segfault", match[3] or "")


def card_faults(lines: Iterable[str]) -> list[str]:
    """Lines of a card that is lost or broken."""
    faults = []
    for line in lines:
        match = _XID.search(line)
        if (match and int(match[2][:6]) in _XIDS_OF_A_CARD) or _CARD_GONE.search(line):
            faults.append(line)
    return faults


def program_xids(lines: Iterable[str]) -> list[str]:
    """Lines of errors that a program on a card made."""
    return [line for line in lines if (match := _XID.search(line)) and int(match[2][:6]) not in _XIDS_OF_A_CARD]


def driver_mismatches(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if "NVRM: API mismatch" in line]


def disk_faults(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if _DISK.search(line)]
