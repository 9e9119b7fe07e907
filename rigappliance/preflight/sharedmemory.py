"""Is /dev/shm large enough for what the engine's processes pass to each other?"""

from __future__ import annotations

from rigappliance.config import RigConfig
from rigappliance.facts.sharedmemory import SharedMemoryFacts
from rigappliance.preflight.finding import Finding, fail, ok, warn
from rigappliance.units import SIZE_UNITS, format_size

# The engine makes a ring of 10 × 16 MiB for all workers and one of 10 × 24 MiB for each, and refuses each that is
# larger than what is free at that moment; only what is written takes memory (vllm/v1/executor/multiproc_executor.py
# and vllm/distributed/device_communicators/shm_broadcast.py of 0.32.0).
RING_LEAST_BYTES = 240 * SIZE_UNITS["MiB"]
# NCCL passes data between cards without peer access through it; NVIDIA's containers are to be run with 1 GB of it
# (--shm-size=1g: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html, 2026-11-23).
NCCL_LEAST_BYTES = SIZE_UNITS["GiB"]


def check_shared_memory(config: RigConfig, shared: SharedMemoryFacts) -> Finding:
    """Free bytes for the rings, and total bytes for NCCL where several cards work together."""
    if shared.free_bytes is None or shared.total_bytes is None:
        return ok("memory.shared", "the size of /dev/shm is unknown")
    found = f"{format_size(shared.free_bytes)} of {format_size(shared.total_bytes)} free in /dev/shm"
    if shared.free_bytes < RING_LEAST_BYTES:
        return fail(
            "memory.shared",
            found,
            f"{format_size(RING_LEAST_BYTES)} free: the engine refuses to start with less",
            "run `mount -o remount,size=50% /dev/shm` as root (a container: --shm-size=1g), or remove what dead "
            "processes left there (`ls -l /dev/shm`)",
        )
    if config.engine.device == "cuda" and config.ranks > 1 and shared.total_bytes < NCCL_LEAST_BYTES:
        return warn(
            "memory.shared",
            found,
            f"{format_size(NCCL_LEAST_BYTES)}: cards without peer access pass their data through it",
            "run `mount -o remount,size=50% /dev/shm` as root (a container: --shm-size=1g)",
        )
    return ok("memory.shared", found)
