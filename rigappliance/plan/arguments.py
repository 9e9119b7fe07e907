"""The engine's arguments that decide memory and times, with the engine's own defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rigappliance.config import RigConfig
from rigappliance.facts.gpu import CardFacts
from rigappliance.plan.capture import OPTION, recommended
from rigappliance.plan.tuning import copies

# vLLM 0.32.0, engine/arg_utils.py, get_batch_defaults: what `vllm serve` takes on small cards, and the least memory of
# larger ones. An A100 counts as small.
BATCHED_TOKENS = 2048
LARGER_CARDS = ((160 << 30, 16384), (70 << 30, 8192))


@dataclass(frozen=True)
class EngineArguments:
    """One engine start. ``kv_cache_memory_bytes`` is for each rank, and overrides ``gpu_memory_utilization``."""

    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    gpu_memory_utilization: float = 0.92
    max_model_len: int = 4096
    max_num_seqs: int = 256
    max_num_batched_tokens: int = BATCHED_TOKENS
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    kv_cache_memory_bytes: int | None = None
    # Tokens a block of the KV cache, where that is declared.
    block_tokens: int | None = None
    enforce_eager: bool = False
    optimization_level: int = 2
    capture_sizes: tuple[int, ...] | None = None
    # See plan/tuning.py.
    measures_kernels: bool = True

    @property
    def ranks(self) -> int:
        return self.tensor_parallel * self.pipeline_parallel


def engine_arguments(config: RigConfig, card: CardFacts | None = None) -> EngineArguments:
    """Those of a declaration; ``engine.options`` may hold the rest under the engine's own names.

    ``card`` is the first of the cards, by which the engine chooses its step where none is declared.
    """
    engine = config.engine
    options = {name.replace("_", "-"): value for name, value in engine.options.items()}
    return EngineArguments(
        tensor_parallel=engine.tensor_parallel,
        pipeline_parallel=engine.pipeline_parallel,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        max_model_len=engine.max_model_len,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens or max(step_tokens(config, card), engine.max_num_seqs),
        dtype=engine.dtype,
        kv_cache_dtype=engine.kv_cache_dtype,
        kv_cache_memory_bytes=engine.kv_cache_memory,
        block_tokens=whole(options.get("block-size")),
        enforce_eager=engine.enforce_eager,
        optimization_level=2 if engine.optimization_level is None else engine.optimization_level,
        capture_sizes=listed(options[OPTION]) if OPTION in options else recommended(config),
        measures_kernels=copies(config),
    )


def step_tokens(config: RigConfig, card: CardFacts | None) -> int:
    """Tokens of a step where none are declared."""
    if config.engine.device == "cpu":
        return BATCHED_TOKENS * config.engine.tensor_parallel * config.engine.pipeline_parallel
    if card is None or card.memory_total_bytes is None:
        return BATCHED_TOKENS
    memory, name = card.memory_total_bytes, (card.name or "").lower()
    found = [tokens for least, tokens in LARGER_CARDS if memory >= least and not (tokens == 8192 and "a100" in name)]
    return found[0] if found else BATCHED_TOKENS


def listed(sizes: Any) -> tuple[int, ...] | None:
    return tuple(size for each in sizes if (size := whole(each))) if isinstance(sizes, list) else None


def whole(value: Any) -> int | None:
    """A positive number that an option may hold as such or as text; what is none is the engine's to refuse."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
