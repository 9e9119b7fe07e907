"""The host's ledger: what the engine's processes cost in RAM and swap, by phase, and how much swap that needs.

Process memory has to live somewhere: in RAM, or in swap once RAM is full.  Page cache gives way, but while the
checkpoint is read it competes for the same RAM: all ranks walk the same shard at the same time, and what is dropped
before the last of them has read it is read from the disk once more.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.ledger import Ledger, Line
from rigappliance.units import SIZE_UNITS, format_size

# A swap file that is nearly full makes every allocation wait; and the next checkpoint may be larger.
SWAP_MARGIN = 1.25
# Sizes of swap files that people make.
SWAP_STEP_BYTES = 8 * SIZE_UNITS["GiB"]
# Beyond this share of RAM the cache of a shard pushes out more than it saves.
CACHE_SHARE_MOST = 1 / 3


@dataclass(frozen=True)
class HostNeeds:
    """What a start asks of the host. ``limit_bytes`` is MemoryMax; ``cpu_weights_bytes`` and
    ``cpu_kv_bytes`` are for each rank, and 0 where cards hold them; ``start`` is `engine.start`."""

    device: Literal["cuda", "cpu"]
    ranks: int
    ram_bytes: int
    limit_bytes: int
    swap_bytes: int
    largest_shard_bytes: int = 0
    cpu_weights_bytes: int = 0
    cpu_kv_bytes: int = 0
    start: Literal["shared", "stock"] = "stock"


@dataclass(frozen=True)
class HostPhase:
    """One phase: the processes' ledger, and where its bytes lie. ``missing_bytes`` find no place at all."""

    phase: str
    ledger: Ledger
    cache_bytes: int
    ram_bytes: int
    swap_bytes: int
    missing_bytes: int


@dataclass(frozen=True)
class HostPlan:
    """All phases. ``swap_needed_bytes`` is the least that holds the worst phase, ``swap_advised_bytes`` with a margin,
    and enough to map the largest shard."""

    phases: tuple[HostPhase, ...]
    room_bytes: int
    swap_needed_bytes: int
    swap_advised_bytes: int
    notes: tuple[str, ...]

    @property
    def peak(self) -> HostPhase:
        return max(self.phases, key=lambda phase: phase.ledger.used_bytes)

    @property
    def fits(self) -> bool:
        return not any(phase.missing_bytes for phase in self.phases)

    def as_dict(self) -> dict[str, Any]:
        phases = [{**asdict(phase), "ledger": phase.ledger.as_dict()} for phase in self.phases]
        return {**asdict(self), "phases": phases, "fits": self.fits}


def plan_host(needs: HostNeeds, numbers: Coefficients) -> HostPlan:
    """Raises nothing."""
    system = numbers.size_bytes("host.system")
    # Where the limit is above what the system leaves, it limits nothing.
    room = max(0, min(needs.limit_bytes, needs.ram_bytes - system))
    cache = min(needs.largest_shard_bytes, int(room * CACHE_SHARE_MOST))
    first = place("loading", lines_while("loading", needs, numbers), room, cache, needs.swap_bytes)
    # On a CPU the first start runs a C++ compiler, which is as large as a process of the engine.
    later = ("compiling", "serving") if needs.device == "cpu" else ("serving",)
    # What is in swap comes back when it is touched, and most of it never is.
    phases = (
        first,
        *(
            place(phase, lines_while(phase, needs, numbers), room, 0, needs.swap_bytes, already=first.swap_bytes)
            for phase in later
        ),
    )
    needed = max(max(0, phase.ledger.used_bytes - room + phase.cache_bytes) for phase in phases)
    # The kernel refuses to map a file beyond RAM and swap together (vllm-project/vllm#759).
    mapping = max(0, needs.largest_shard_bytes - needs.ram_bytes)
    advised = round_up(max(int(needed * SWAP_MARGIN), mapping))
    return HostPlan(phases, room, needed, advised, notes(needs, room, needed, advised))


def lines_while(phase: str, needs: HostNeeds, numbers: Coefficients) -> tuple[Line, ...]:
    """Memory of the processes, which is not page cache."""
    ranks = needs.ranks
    # Forked processes have what was imported in common, and each what it has written since.
    own = "_own" if needs.start == "shared" else ""
    each = "what each adds to the imports" if own else "Python, torch and vLLM"
    lines = [Line("supervisor", numbers.size_bytes("host.supervisor"), "measured")]
    if own:
        lines.append(Line("imports", numbers.size_bytes("host.imports"), "measured", "Python, torch and vLLM, once"))
    lines += [
        Line("api-server", numbers.size_bytes(f"host.api_server{own}"), "measured"),
        Line("engine-core", numbers.size_bytes(f"host.engine_core{own}"), "measured"),
        Line("workers", ranks * numbers.size_bytes(f"host.worker{own}"), "measured", f"{ranks} × {each}"),
    ]
    if needs.device == "cuda":
        driver = numbers.size_bytes(f"host.cuda_{phase}") + peers_bytes(ranks, numbers)
        what = "CUDA's and NCCL's host memory, pinned buffers, slices on their way to the card"
        lines.append(Line("cuda", ranks * driver, "measured", f"{ranks} × {what}"))
    else:
        lines.append(Line("weights", ranks * needs.cpu_weights_bytes, "derived", f"{ranks} × the rank's share"))
        if phase == "compiling":
            lines.append(Line("compiler", numbers.size_bytes("host.compiler"), "measured", "one at a time"))
        if phase == "serving":
            lines.append(Line("kv-cache", ranks * needs.cpu_kv_bytes, "declared", f"{ranks} × its KV cache"))
    return tuple(lines)


def peers_bytes(ranks: int, numbers: Coefficients) -> int:
    """What each rank holds for the others: NCCL's buffers, shared memory, the other cards' contexts."""
    return numbers.size_bytes("host.peers") if ranks > 1 else 0


def place(phase: str, lines: tuple[Line, ...], room: int, cache: int, swap: int, already: int = 0) -> HostPhase:
    """Put a phase's memory where there is room for it: RAM that the cache leaves, then swap, then the cache's RAM.

    ``already`` is what an earlier phase left in swap.
    """
    ledger = Ledger(f"host while {phase}", room + swap, lines)
    used = ledger.used_bytes
    in_ram = min(max(0, used - already), room - cache)
    in_swap = min(used - in_ram, swap)
    squeezed = min(used - in_ram - in_swap, cache)
    return HostPhase(phase, ledger, cache - squeezed, in_ram + squeezed, in_swap, used - in_ram - in_swap - squeezed)


def round_up(size: int) -> int:
    return -(-size // SWAP_STEP_BYTES) * SWAP_STEP_BYTES


def notes(needs: HostNeeds, room: int, needed: int, advised: int) -> tuple[str, ...]:
    said = []
    if needs.limit_bytes < needs.ram_bytes:
        where = "goes to swap" if needs.swap_bytes else "is refused: the kernel then kills the engine"
        said.append(f"MemoryMax {format_size(needs.limit_bytes)}: what the engine needs beyond it {where}")
    else:
        said.append("MemoryMax is not below the RAM: it limits nothing")
    if needed and needs.swap_bytes < needed:
        said.append(
            f"{format_size(needed)} of swap are needed, and {format_size(needs.swap_bytes)} are there: "
            f"{format_size(advised)} are advised"
        )
    elif needed:
        more = f", so {format_size(advised)} would do" if advised < needs.swap_bytes else ""
        said.append(f"{format_size(needed)} of the {format_size(needs.swap_bytes)} of swap will be used{more}")
    return tuple(said)
