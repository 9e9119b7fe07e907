"""The most that a machine can do with a checkpoint, and what would make it fit where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.fit import Fit, Verdict
from rigappliance.plan.kernels import HOPPER
from rigappliance.plan.kvcache import block_tokens
from rigappliance.units import format_size

Ask = Callable[[EngineArguments], Fit]

# Hundredths: finer steps of utilisation differ by less than two starts do.
UTILIZATIONS = tuple(hundredths / 100 for hundredths in range(30, 99))
MIB = 1 << 20
# Cards from Ada on compute with 8-bit floats; before, the engine's attention kernels for them are few.
FP8_CAPABILITY = (8, 9)
SHORTER = (8192, 4096, 2048, 1024)


@dataclass(frozen=True)
class Limits:
    """How far the same layout goes. ``None`` where nothing fits."""

    least_utilization: float | None
    most_utilization: float | None
    longest_context: int | None
    requests: int
    kv_cache_memory_bytes: int | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Way:
    """One change that makes it fit, or fit better: configuration keys with their values, and what comes of it."""

    keys: dict[str, Any]
    effect: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def text(self) -> str:
        return ", ".join(f"{key} = {value}" for key, value in self.keys.items())


def limits(ask: Ask, arguments: EngineArguments, positions: int | None) -> Limits:
    """``positions`` is the longest context that the model knows."""
    by_share = replace(arguments, kv_cache_memory_bytes=None)
    fitting = [share for share in UTILIZATIONS if fits(ask(replace(by_share, gpu_memory_utilization=share)))]
    best = ask(replace(by_share, gpu_memory_utilization=fitting[-1])) if fitting else None
    here = ask(arguments)
    return Limits(
        least_utilization=fitting[0] if fitting else None,
        most_utilization=fitting[-1] if fitting else None,
        longest_context=longest_context(ask, arguments, positions or arguments.max_model_len),
        requests=here.requests if fits(here) else 0,
        kv_cache_memory_bytes=fixed_cache(ask, arguments, best),
    )


def fixed_cache(ask: Ask, arguments: EngineArguments, best: Fit | None) -> int | None:
    """The largest cache, in whole MiB, that fits as ``kv_cache_memory`` too.

    As a size it stays what it is whatever else is on the card by then; as a share of the card it depends on that.
    """
    if best is None or best.memory is None:
        return None
    size = min(card.kv_available_bytes for card in best.memory.cards) // MIB * MIB
    return size if size > 0 and fits(ask(replace(arguments, kv_cache_memory_bytes=size))) else None


def fits(fit: Fit) -> bool:
    return fit.verdict is Verdict.FITS


def longest_context(ask: Ask, arguments: EngineArguments, positions: int) -> int | None:
    """The longest ``max_model_len`` of which one request fits; whole blocks, found by halving."""
    block = block_tokens(arguments, "cuda")
    low, high = 0, max(1, positions // block)
    while low < high:
        middle = (low + high + 1) // 2
        if fits(ask(replace(arguments, max_model_len=middle * block))):
            low = middle
        else:
            high = middle - 1
    return low * block or None


def ways(
    ask: Ask, arguments: EngineArguments, capability: tuple[int, int] | None, layouts: Iterable[tuple[int, int]]
) -> list[Way]:
    """Single changes that make it fit, the mildest first. None where it fits as it is."""
    if fits(ask(arguments)):
        return []
    found = []
    for keys, changed in changes(ask, arguments, capability, layouts):
        fit = ask(changed)
        if fits(fit):
            found.append(Way(keys, effect(fit)))
    return found


def effect(fit: Fit) -> str:
    if fit.memory is None or fit.memory.kv_tokens is None:
        return "fits"
    left = format_size(fit.memory.fullest.ledger.free_bytes)
    return f"{fit.memory.kv_tokens} tokens of KV cache, {fit.requests} full requests at a time, {left} left on a card"


def changes(
    ask: Ask, arguments: EngineArguments, capability: tuple[int, int] | None, layouts: Iterable[tuple[int, int]]
) -> Iterator[tuple[dict[str, Any], EngineArguments]]:
    by_share = replace(arguments, kv_cache_memory_bytes=None)
    fitting = [share for share in UTILIZATIONS if fits(ask(replace(by_share, gpu_memory_utilization=share)))]
    if fitting:
        # The nearest to what was asked for.
        share = min(fitting, key=lambda each: abs(each - arguments.gpu_memory_utilization))
        yield (
            {"engine.gpu_memory_utilization": share},
            replace(by_share, gpu_memory_utilization=share),
        )
    for length in (length for length in SHORTER if length < arguments.max_model_len):
        yield {"engine.max_model_len": length}, replace(arguments, max_model_len=length)
    for tokens in (1024, 512):
        if tokens < arguments.max_num_batched_tokens:
            yield {"engine.max_num_batched_tokens": tokens}, replace(arguments, max_num_batched_tokens=tokens)
    if arguments.max_num_seqs > 8:
        yield {"engine.max_num_seqs": 8}, replace(arguments, max_num_seqs=8)
    if not arguments.enforce_eager:
        yield {"engine.enforce_eager": True}, replace(arguments, enforce_eager=True)
    if arguments.kv_cache_dtype == "auto" and capability is not None and capability >= FP8_CAPABILITY:
        # On Hopper the only type that attention can read such a cache into.
        more = {"engine.dtype": "bfloat16"} if capability[0] == HOPPER else {}
        yield {"engine.kv_cache_dtype": "fp8", **more}, replace(arguments, kv_cache_dtype="fp8")
    for tensor, pipeline in layouts:
        if (tensor, pipeline) != (arguments.tensor_parallel, arguments.pipeline_parallel):
            keys = {"engine.tensor_parallel": tensor, "engine.pipeline_parallel": pipeline}
            yield keys, replace(arguments, tensor_parallel=tensor, pipeline_parallel=pipeline)
