"""All that is known about an engine's end. What was not looked at, or cannot be known, is None or empty."""

from __future__ import annotations

from dataclasses import dataclass, field

from rigappliance.diagnosis.logevidence import LogEvidence
from rigappliance.launch.phases import Phase


@dataclass(frozen=True)
class MemoryEvidence:
    """Of the unit's control group and of the machine, from the start of the engine to its end.

    ``limit_hits`` and ``kills`` are the increase of ``oom`` and ``oom_kill`` in
    ``memory.events``, ``machine_kills`` that of ``oom_kill`` in ``/proc/vmstat``.
    The kernel counts a kill in ``kills`` whoever ran out, the group or the machine.
    """

    limit_bytes: int | None = None
    peak_bytes: int | None = None
    limit_hits: int | None = None
    kills: int | None = None
    machine_kills: int | None = None
    swap_total_bytes: int | None = None
    swap_free_low_bytes: int | None = None
    available_low_bytes: int | None = None
    # The increase of `fail` in ``memory.swap.events``: pages that found no room in the swap.
    swap_refusals: int | None = None
    # The largest order of which /proc/buddyinfo still has a free block in the zone that processes use.
    largest_free_order: int | None = None


@dataclass(frozen=True)
class DeadPart:
    """A process of the engine that ended while it should not have: ``status`` as subprocess counts, None if unknown."""

    name: str
    pid: int
    status: int | None = None


@dataclass(frozen=True)
class Observations:
    """One engine's end."""

    log: LogEvidence
    phase: Phase = Phase.PROCESS
    ready: bool = False
    asked: bool = False  # the operator stopped it
    exit_status: int | None = None  # of the engine's main process, negative for a signal
    dead_parts: tuple[DeadPart, ...] = ()
    memory: MemoryEvidence = field(default_factory=MemoryEvidence)
    # All processes that were ever seen in the engine's tree; empty where nobody looked.
    engine_pids: frozenset[int] = frozenset()
    kernel_lines: tuple[str, ...] = ()  # of the kernel's log since the start
    journal_lines: tuple[str, ...] = ()  # of systemd's and systemd-oomd's about the unit
    card_lines: tuple[str, ...] = ()  # what NVML says is wrong with a card
    unreadable: tuple[str, ...] = ()  # of the checkpoint: what this user may not read
    disk_free_bytes: int | None = None  # of the state directory's file system
    quiet_s: float | None = None  # a hang: for so long nothing moved
    stacks: tuple[str, ...] = ()  # a hang: what its processes were doing
    probe: str = ""  # the proof of life that failed while serving
    core_dead: bool = False  # /health said so while HTTP answered
    supervisor_killed: bool = False  # known only after the fact
    rebooted: bool = False  # the machine went down meanwhile, without a word
