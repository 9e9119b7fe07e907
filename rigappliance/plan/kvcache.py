"""The KV cache: bytes of a token, and the tokens that the engine says it has room for.

Rules: vllm/v1/core/kv_cache_utils.py (get_kv_cache_configs, get_kv_cache_capacity) and v1/kv_cache_interface.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.sharding.models import ARCHITECTURES, head_dim, own_kv_heads
from rigappliance.plan.sharding.ranks import engine_dtype_bytes
from rigappliance.plan.sharding.stages import stage_layers
from rigappliance.plan.tensors import CheckpointShape, UnknownShapeError

# config/cache.py and platforms/cpu.py: tokens a block where none is declared.
BLOCK_TOKENS = 16
CPU_BLOCK_TOKENS = 128
DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
# transformers' classes drop the window of these unless use_sliding_window says so.
WINDOW_ON_REQUEST = ("qwen2", "qwen3", "qwen3_moe")
# MistralConfig's own default, where config.json does not say null.
MISTRAL_WINDOW = 4096


def kv_bytes_per_token(
    shape: CheckpointShape, arguments: EngineArguments, stage: int | None = None, *, partition: str | None = None
) -> int:
    """Bytes a token takes on each rank of ``stage``; of the stage with most layers where that is left out.

    Raises ``UnknownShapeError`` for a cache dtype with scales of its own, and for an unknown architecture.
    """
    stages = stage_layers(shape.layers, arguments.pipeline_parallel, partition)
    layers = len(stages[stage]) if stage is not None else max(map(len, stages))
    architecture = ARCHITECTURES.get(shape.architecture)
    if architecture is None:
        raise UnknownShapeError(
            f"how {shape.architecture or 'a checkpoint without an architecture'} caches keys and values is not known",
            f"one of {', '.join(ARCHITECTURES)}",
            "start it once and read `KV cache size` in its log",
        )
    heads = own_kv_heads(shape, arguments.tensor_parallel)
    return layers * 2 * heads * head_dim(shape, architecture) * cache_dtype_bytes(arguments)


def cache_dtype_bytes(arguments: EngineArguments) -> int:
    if arguments.kv_cache_dtype == "auto":
        return engine_dtype_bytes(arguments.dtype)
    size = DTYPE_BYTES.get(arguments.kv_cache_dtype)
    if size is None:
        raise UnknownShapeError(
            f"the bytes of a cached value as {arguments.kv_cache_dtype} are not known",
            f"auto, {', '.join(DTYPE_BYTES)}",
            "set engine.kv_cache_dtype to one of these",
        )
    return size


def block_tokens(arguments: EngineArguments, device: str) -> int:
    """Tokens a block."""
    return arguments.block_tokens or (CPU_BLOCK_TOKENS if device == "cpu" else BLOCK_TOKENS)


def kv_blocks(
    shape: CheckpointShape,
    arguments: EngineArguments,
    available_bytes: int | Sequence[int],
    device: str = "cuda",
    *,
    partition: str | None = None,
) -> int:
    """Blocks on every rank: as many as the stage with least room has. One size stands for all stages."""
    size = block_tokens(arguments, device)
    room = [available_bytes] * arguments.pipeline_parallel if isinstance(available_bytes, int) else available_bytes
    return min(
        max(stage_bytes, 0) // (size * kv_bytes_per_token(shape, arguments, stage, partition=partition))
        for stage, stage_bytes in enumerate(room)
        if stage_layers(shape.layers, arguments.pipeline_parallel, partition)[stage]
    )


def kv_tokens(
    shape: CheckpointShape,
    arguments: EngineArguments,
    available_bytes: int | Sequence[int],
    device: str = "cuda",
    *,
    partition: str | None = None,
) -> int:
    """``KV cache size: N tokens`` as the engine logs it.

    Not simply blocks times their tokens: the engine counts how many requests of ``max_model_len`` fit, each of whole
    blocks.  For a model with a sliding window (see ``sliding_window``) that keeps less than a whole request, it is
    what fits without the window, and the engine's own number is larger.
    """
    a_request = -(-arguments.max_model_len // block_tokens(arguments, device))
    blocks = kv_blocks(shape, arguments, available_bytes, device, partition=partition)
    return int(blocks / a_request * arguments.max_model_len)


def kv_needed_bytes(
    shape: CheckpointShape,
    arguments: EngineArguments,
    stage: int | None = None,
    device: str = "cuda",
    *,
    partition: str | None = None,
) -> int:
    """The least that a rank must have for one request of ``max_model_len``: its blocks, and one that stays empty.

    ``stage`` as for ``kv_bytes_per_token``.
    """
    size = block_tokens(arguments, device)
    blocks = -(-arguments.max_model_len // size) + 1
    return blocks * size * kv_bytes_per_token(shape, arguments, stage, partition=partition)


def sliding_window(shape: CheckpointShape) -> int | None:
    """Tokens that a layer looks back where that is bounded, be it in all layers or some."""
    config, kind = shape.config, str(shape.config.get("model_type", ""))
    if kind in WINDOW_ON_REQUEST and not config.get("use_sliding_window"):
        return None
    window = config.get("sliding_window", MISTRAL_WINDOW if kind == "mistral" else None)
    return window if isinstance(window, int) and not isinstance(window, bool) else None
