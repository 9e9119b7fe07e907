"""How the machine is set up, beside what it is: kernel, limits, shared memory, clock, log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rigappliance.facts.clock import ClockFacts, read_clock
from rigappliance.facts.host import HostFacts
from rigappliance.facts.kernel import KernelFacts, read_kernel_facts
from rigappliance.facts.kernelmessages import KernelFaults, read_kernel_faults
from rigappliance.facts.limits import LimitFacts, read_limit_facts
from rigappliance.facts.memorylimit import MemoryLimitFacts, read_memory_limits
from rigappliance.facts.sharedmemory import SharedMemoryFacts, read_shared_memory
from rigappliance.facts.swapareas import SwapPieces, read_swap_pieces


@dataclass(frozen=True)
class SystemFacts:
    """The last three are ``None`` where they were not asked for."""

    kernel: KernelFacts = field(default_factory=KernelFacts)
    limits: LimitFacts = field(default_factory=LimitFacts)
    memory_limit: MemoryLimitFacts = field(default_factory=MemoryLimitFacts)
    shared_memory: SharedMemoryFacts = field(default_factory=SharedMemoryFacts)
    clock: ClockFacts | None = None
    swap_pieces: tuple[SwapPieces, ...] | None = None
    faults: KernelFaults | None = None


def read_system_facts(
    host: HostFacts,
    root: Path = Path("/"),
    *,
    thorough: bool = False,
    extents: Callable[[Path], int | None] | None = None,
) -> SystemFacts:
    """``thorough`` reads the kernel's log and the map of the swap file too. Raises nothing."""
    return SystemFacts(
        kernel=read_kernel_facts(root),
        limits=read_limit_facts(root),
        memory_limit=read_memory_limits(root),
        shared_memory=read_shared_memory(root),
        clock=read_clock(root) if thorough else None,
        swap_pieces=read_swap_pieces(host.swap_devices or (), extents) if thorough else None,
        faults=read_kernel_faults(root) if thorough else None,
    )
