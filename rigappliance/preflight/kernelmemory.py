"""Does the kernel promise enough memory, and has it some in large pieces?"""

from __future__ import annotations

from rigappliance.config import RigConfig
from rigappliance.facts.kernel import KernelFacts
from rigappliance.facts.model import ModelFacts
from rigappliance.preflight.finding import Finding, fail, ok, set_parameter, warn
from rigappliance.units import SIZE_UNITS, format_size

NEVER = 2
# Above 8 pages (PAGE_ALLOC_COSTLY_ORDER 3 in linux/mmzone.h) the kernel gives up soon instead of making room.
COSTLY_ORDER = 4
# Less than this in such blocks, and less than a tenth of what is free: not full, but in crumbs.
LARGE_LEAST_BYTES = 64 * SIZE_UNITS["MiB"]
LARGE_LEAST_SHARE = 0.10
COMPACT = (set_parameter("vm.drop_caches", 1), set_parameter("vm.compact_memory", 1))


def check_overcommit(config: RigConfig, kernel: KernelFacts, model: ModelFacts) -> Finding:
    """With vm.overcommit_memory 2 a private mapping of a shard counts in full, once in every rank."""
    if kernel.overcommit is None:
        return ok("memory.overcommit", "vm.overcommit_memory is unknown")
    if kernel.overcommit != NEVER:
        return ok("memory.overcommit", f"vm.overcommit_memory is {kernel.overcommit}")
    largest = max((shard.size_bytes for shard in model.shards), default=0)
    need, left = largest * config.ranks, kernel.commit_left_bytes
    remedy = "run `sysctl -w vm.overcommit_memory=0` as root, and look in /etc/sysctl.d for what set it"
    expected = "0, or 1"
    if left is not None and left < need:
        found = (
            f"vm.overcommit_memory is 2: {format_size(max(left, 0))} may still be promised, "
            f"and the ranks map {format_size(need)}"
        )
        return fail("memory.overcommit", found, expected, remedy)
    found = "vm.overcommit_memory is 2: what the engine reserves and never uses counts"
    return warn("memory.overcommit", found, expected, remedy)


def check_fragmentation(kernel: KernelFacts) -> Finding:
    """Drivers need pages side by side; without any, run-time kernels and CUDA contexts fail although RAM is free."""
    if kernel.free_by_order is None:
        return ok("memory.fragmentation", "free blocks are unknown")
    free, large = sum(kernel.free_by_order), sum(kernel.free_by_order[COSTLY_ORDER:])
    found = f"{format_size(large)} of {format_size(free)} free memory lie in blocks of 64 KiB or more"
    if large >= LARGE_LEAST_BYTES or large >= free * LARGE_LEAST_SHARE:
        return ok("memory.fragmentation", found)
    return warn(
        "memory.fragmentation",
        found,
        f"{format_size(LARGE_LEAST_BYTES)}, or a tenth of what is free",
        "let the kernel compact it: `rigappliance check --fix --yes` as root; where that does not help, only a "
        "reboot does",
        COMPACT,
    )


def check_huge_pages(kernel: KernelFacts) -> Finding:
    """``always`` with ``defrag always`` stops a process at any page fault until 2 MiB in one piece are found."""
    enabled, defrag = kernel.huge_pages, kernel.huge_pages_defrag
    if enabled is None:
        return ok("memory.huge_pages", "this kernel has no transparent huge pages")
    found = f"transparent huge pages: {enabled}, defrag {defrag or 'unknown'}"
    if not (enabled == "always" and defrag == "always"):
        return ok("memory.huge_pages", found)
    return warn(
        "memory.huge_pages",
        f"{found}: every fault may wait for memory to be compacted, and takes 2 MiB where 4 KiB would do",
        "madvise for one of the two",
        "run `echo madvise > /sys/kernel/mm/transparent_hugepage/defrag` as root, and set "
        "transparent_hugepage=madvise on the kernel's command line to make it last",
    )
