"""Is there enough host memory, and is it what was declared?"""

from __future__ import annotations

from rigappliance.config import RigConfig
from rigappliance.facts.host import HostFacts
from rigappliance.facts.model import ModelFacts
from rigappliance.facts.safetensors import DTYPE_BITS
from rigappliance.preflight.finding import Finding, fail, ok, warn
from rigappliance.units import SIZE_UNITS, format_size, memory_limit_bytes

# MemTotal is the nominal size less what firmware and kernel keep, and sold "16 GB" may mean 16 GiB.
RAM_TOLERANCE = 0.10
# A swap area gives up its first page to its header, and partitions are cut to whole cylinders.
SWAP_TOLERANCE = 0.01

# The rig, with eight ranks: 7.5 to 13 GB of RAM and 11 to 15 GB of swap at run time, so 18.5 to 28 GB in all.
# API server and engine core take about 1 GB of it (measured: 0.49 and 0.47), the ranks share the rest. The weights
# are not in it: they are read through the page cache, which gives way, and live on the cards.
ENGINE_PROCESSES_BYTES = SIZE_UNITS["GB"]
RANK_LEAST_BYTES = int((18.5 - 1) / 8 * SIZE_UNITS["GB"])
RANK_MOST_BYTES = int((28 - 1) / 8 * SIZE_UNITS["GB"])
# On the CPU, measured without weights and KV cache: API server 0.49, core 0.47, worker 0.62 GB.
CPU_ENGINE_BYTES = 2 * SIZE_UNITS["GB"]

FLOATS = frozenset({"F16", "BF16", "F32"})
DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


def check_memory(
    config: RigConfig,
    host: HostFacts,
    model: ModelFacts,
    *,
    limit_bytes: int | None = None,
    overcommit: int | None = None,
) -> list[Finding]:
    """All findings about RAM and swap; one alone where the kernel does not say how much there is.

    ``limit_bytes`` is what control groups leave of the RAM, ``overcommit`` is vm.overcommit_memory.
    """
    ram = host.ram_total_bytes
    if ram is None:
        return [warn("memory.ram", "the RAM of this machine is unknown", "/proc/meminfo", "mount /proc")]
    findings = [check_ram(config, ram), check_swap(config, host), check_limit(config, ram)]
    if config.engine.device == "cuda":
        findings.append(cuda_host_memory(config, usable(config, host, ram, limit_bytes)))
        # With 1 the kernel refuses no mapping, with 2 it counts them all: see memory.overcommit.
        if model.shards and overcommit not in (1, 2):
            findings.append(check_mapping(host, ram, model))
    else:
        findings.append(check_cpu_host(config, host, ram, model, limit_bytes))
        findings.append(check_cpu_cache(config, host, ram))
    return findings


def check_ram(config: RigConfig, ram: int) -> Finding:
    """What is there against ``hardware.ram``; more than declared is fine."""
    declared = config.hardware.ram
    if ram >= declared * (1 - RAM_TOLERANCE):
        return ok("memory.ram", f"{format_size(ram)} of RAM")
    return warn(
        "memory.ram",
        f"{format_size(ram)} of RAM",
        f"hardware.ram: {format_size(declared)}, less 10 % at most",
        "look for a module that is not seated, or set hardware.ram to what is there",
    )


def check_swap(config: RigConfig, host: HostFacts) -> Finding:
    """What is active against ``memory.swap``."""
    active, declared = host.swap_total_bytes, config.memory.swap
    if active is None:
        return warn("memory.swap", "the active swap is unknown", "/proc/swaps", "mount /proc")
    names = ", ".join(device.path for device in host.swap_devices or ())
    found = f"{format_size(active)} of swap ({names})" if names else "no swap"
    if active >= declared * (1 - SWAP_TOLERANCE):
        return ok("memory.swap", found)
    return warn(
        "memory.swap",
        found,
        f"memory.swap: {format_size(declared)}",
        "make and enable it with `rigappliance swap on` as root, or set memory.swap",
        # One that is active and too small has to be taken off first, which is no matter for a fix.
        () if names else (("rigappliance", "swap", "on"),),
    )


def check_limit(config: RigConfig, ram: int) -> Finding:
    """``memory.max`` in bytes on this machine."""
    limit = memory_limit_bytes(config.memory.max, ram)
    if limit <= ram:
        return ok("memory.limit", f"the engine may use {format_size(limit)} of RAM ({config.memory.max})")
    return warn(
        "memory.limit",
        f"memory.max {config.memory.max} is more than the {format_size(ram)} of RAM: it limits nothing",
        "a share such as 90%, or a size below the RAM",
        "set memory.max",
    )


def usable(config: RigConfig, host: HostFacts, ram: int, limit_bytes: int | None = None) -> int:
    """What the engine can get: RAM up to the lowest of its limits, and all of the swap."""
    declared = min(ram, memory_limit_bytes(config.memory.max, ram))
    return min(declared, limit_bytes or declared) + (host.swap_total_bytes or 0)


def cuda_host_memory(config: RigConfig, have: int) -> Finding:
    """Host memory of the processes that drive the cards, against the ``have`` bytes of RAM and swap that it can get."""
    least = ENGINE_PROCESSES_BYTES + config.ranks * RANK_LEAST_BYTES
    most = ENGINE_PROCESSES_BYTES + config.ranks * RANK_MOST_BYTES
    found = f"{format_size(have)} of usable RAM and swap for {config.ranks} ranks"
    expected = f"{format_size(least)} to {format_size(most)} (measured: 2.2 to 3.4 GB a rank and 1 GB for the server)"
    remedy = f"add swap: {format_size(max(most - have, 0))} more reach the upper figure; or use fewer ranks"
    if have < least:
        return fail("memory.host", found, expected, remedy)
    if have < most:
        return warn("memory.host", found, expected, remedy)
    return ok("memory.host", f"{found}, which need {format_size(least)} to {format_size(most)}")


def check_mapping(host: HostFacts, ram: int, model: ModelFacts) -> Finding:
    """A shard is mapped in one piece; the kernel refuses a mapping beyond RAM and swap (vllm-project/vllm#759)."""
    largest = max(model.shards, key=lambda shard: shard.size_bytes)
    have = ram + (host.swap_total_bytes or 0)
    if largest.size_bytes <= have:
        return ok("memory.mapping", f"the largest shard, {format_size(largest.size_bytes)}, can be mapped")
    return fail(
        "memory.mapping",
        f"{largest.file} of {format_size(largest.size_bytes)} cannot be mapped: {format_size(have)} of RAM and swap",
        "RAM and swap of at least the largest shard",
        "add swap, or split the checkpoint into smaller shards",
    )


def cpu_weight_bytes(config: RigConfig, model: ModelFacts) -> int:
    """Weights as the CPU holds them: unquantised floats are converted to ``engine.dtype``."""
    width = DTYPE_BYTES.get(config.engine.dtype)
    if width is None:
        return model.tensor_bytes
    return sum(
        count * 8 // DTYPE_BITS[dtype] * width if dtype in FLOATS else count
        for dtype, count in model.bytes_by_dtype.items()
    )


def check_cpu_host(
    config: RigConfig, host: HostFacts, ram: int, model: ModelFacts, limit_bytes: int | None = None
) -> Finding:
    """Weights, KV cache and processes of a CPU engine all live in host memory."""
    weights = cpu_weight_bytes(config, model)
    cache = (declared_cache_bytes(config) or 0) * config.ranks
    need = weights + cache + CPU_ENGINE_BYTES
    have = usable(config, host, ram, limit_bytes)
    processes = format_size(CPU_ENGINE_BYTES)
    parts = f"{format_size(weights)} weights, {format_size(cache)} KV cache, {processes} engine processes"
    remedy = f"add {format_size(max(need - have, 0))} of swap, lower engine.kv_cache_memory, or serve a smaller model"
    if need > have:
        found = f"{format_size(have)} of usable RAM and swap"
        return fail("memory.host", found, f"{format_size(need)}: {parts}", remedy)
    if need > ram:
        return warn(
            "memory.host",
            f"{format_size(ram)} of RAM: each token reads weights back from swap",
            f"{format_size(need)} of RAM: {parts}",
            "add RAM, or serve a smaller model",
        )
    return ok("memory.host", f"the engine needs about {format_size(need)} ({parts})")


def declared_cache_bytes(config: RigConfig) -> int | None:
    """KV cache per rank as the CPU engine takes it: its variable (in GiB) wins over the option."""
    space = config.engine.environment.get("VLLM_CPU_KVCACHE_SPACE", "")
    return int(space) * SIZE_UNITS["GiB"] if space.isdecimal() else config.engine.kv_cache_memory


def check_cpu_cache(config: RigConfig, host: HostFacts, ram: int) -> Finding:
    """The CPU engine refuses a KV cache beyond the memory that is available; unset, it plans with a share of all."""
    cache, available = declared_cache_bytes(config), host.ram_available_bytes
    share = config.engine.gpu_memory_utilization
    wanted = int(ram * share) if cache is None else cache * config.ranks
    source = f"engine.gpu_memory_utilization {share} of the RAM" if cache is None else "engine.kv_cache_memory"
    if available is None or wanted <= available:
        return ok("memory.kv_cache", f"{format_size(wanted)} for the KV cache ({source})")
    return fail(
        "memory.kv_cache",
        f"{source} asks for {format_size(wanted)}, and {format_size(available)} of RAM are available",
        "a KV cache below the available RAM",
        "set engine.kv_cache_memory, for example to 1GiB",
    )
