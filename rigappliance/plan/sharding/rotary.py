"""The table of rotations that each rank keeps beside its weights (vllm/model_executor/layers/rotary_embedding)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rigappliance.plan.sharding.parts import Plain
from rigappliance.plan.tensors import CheckpointShape

# vllm/model_executor/models: what the classes take where config.json does not say it.
DEFAULT_POSITIONS = 8192


def rotary_table(shape: CheckpointShape, head_dim: int, name: str) -> Plain:
    """Cosine and sine of every position the model knows, whatever ``max_model_len`` says."""
    rope = rope_of(shape.config)
    table = "long_short_cos_sin_cache" if kind_of(rope) == "longrope" else "cos_sin_cache"
    width = int(head_dim * fraction(shape.config, rope))
    return Plain(f"{name}.{table}", (positions(shape.config, rope), width))


def kind_of(rope: Mapping[str, Any]) -> object:
    return rope.get("rope_type", rope.get("type", "default"))


def rope_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """transformers 5 writes rope_parameters, older versions rope_scaling."""
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    return rope if isinstance(rope, dict) else {}


def fraction(config: Mapping[str, Any], rope: Mapping[str, Any]) -> float:
    value = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 1.0


def positions(config: Mapping[str, Any], rope: Mapping[str, Any]) -> int:
    """Rows of the table: scaled types compute it longer, LongRoPE keeps a short and a long one."""
    most = config.get("max_position_embeddings")
    rows = most if isinstance(most, int) else DEFAULT_POSITIONS
    kind, factor = kind_of(rope), rope.get("factor")
    # LongRoPE's config.json keeps it beside the scaling.
    original = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    first = original if isinstance(original, int) else rows
    if kind == "longrope":
        return first + rows
    if isinstance(factor, int | float):
        if kind == "yarn":
            return int(first * factor)
        if kind == "linear":
            return int(rows * factor)
    return rows
