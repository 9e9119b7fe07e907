"""Bytes of weights a rank, by the names under which the engine registers them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from rigappliance.plan.sharding.allocator import slack_bytes
from rigappliance.plan.sharding.experts import dropped_bytes, experts_bytes
from rigappliance.plan.sharding.marlin import removed_bytes
from rigappliance.plan.sharding.methods import Method, is_quantised, method_of, quantised_bytes, source_shape
from rigappliance.plan.sharding.models import Rank, modules
from rigappliance.plan.sharding.parts import Experts, Linear, Module, Plain
from rigappliance.plan.sharding.stages import stage_layers
from rigappliance.plan.tensors import CheckpointShape, UnknownShapeError


@dataclass(frozen=True)
class RankWeights:
    """What one rank holds. ``exact`` is false where it is an estimate, and ``note`` then says why.

    ``after_loading_bytes`` is what is left once Marlin has repacked the matrices and dropped what it does not need.
    """

    stage: int
    parameters: dict[str, int]
    after_loading_bytes: int
    exact: bool = True
    note: str = ""

    @property
    def total_bytes(self) -> int:
        return sum(self.parameters.values())

    @cached_property
    def slack_bytes(self) -> int:
        """What the allocator takes beyond them.

        Zero points that Marlin drops leave no holes: it moves the scales that share their segments, and what is empty
        then goes back to the card.
        """
        return slack_bytes(self.parameters.values())

    def bytes_under(self, *prefixes: str) -> int:
        return sum(size for name, size in self.parameters.items() if name.startswith(prefixes))


def rank_weights(
    shape: CheckpointShape,
    tensor_parallel: int,
    pipeline_parallel: int = 1,
    stage: int = 0,
    *,
    dtype: str = "auto",
    partition: str | None = None,
) -> RankWeights:
    """What every rank of ``stage`` holds (the ranks of a stage hold the same number of bytes).

    Raises ``UnknownShapeError`` where the rules are not known or the headers contradict config.json, and
    ``ImpossibleLayoutError`` where the engine refuses the layout.
    """
    stages = stage_layers(shape.layers, pipeline_parallel, partition)
    rank = Rank(tensor_parallel, stage == 0, stage == pipeline_parallel - 1, stages[stage])
    method, dtype_bytes = method_of(shape), engine_dtype_bytes(dtype)
    parameters: dict[str, int] = {}
    removed = 0
    for module in modules(shape, rank):
        held = module_bytes(module, method, shape, dtype_bytes)
        parameters.update(held)
        if isinstance(module, Experts):
            removed += dropped_bytes(module, held, shape)
        elif f"{module.name}.qweight" in held:
            removed += removed_bytes(module, method, dtype_bytes)
    return RankWeights(stage, parameters, sum(parameters.values()) - removed)


def weights_of_ranks(
    shape: CheckpointShape,
    tensor_parallel: int,
    pipeline_parallel: int = 1,
    *,
    dtype: str = "auto",
    partition: str | None = None,
) -> tuple[RankWeights, ...]:
    """``rank_weights`` of each stage; where the rules are not known, an even share of the checkpoint, and so labelled.

    Raises ``ImpossibleLayoutError`` alone.
    """
    try:
        return tuple(
            rank_weights(shape, tensor_parallel, pipeline_parallel, stage, dtype=dtype, partition=partition)
            for stage in range(pipeline_parallel)
        )
    except UnknownShapeError as error:
        share = -(-shape.tensor_bytes // (tensor_parallel * pipeline_parallel))
        note = f"an estimate, the checkpoint's bytes over the ranks: {error.found}"
        return tuple(
            RankWeights(stage, {"checkpoint": share}, share, exact=False, note=note)
            for stage in range(pipeline_parallel)
        )


def engine_dtype_bytes(dtype: str) -> int:
    """Of what is not quantised. ``auto`` makes 16 bits of a float32 checkpoint as of any other (config/model.py)."""
    return 4 if dtype in ("float32", "float") else 2


def module_bytes(module: Module, method: Method, shape: CheckpointShape, dtype_bytes: int) -> dict[str, int]:
    match module:
        case Plain():
            if module.source:
                check_source(shape, module.source, module.source_shape)
            return {module.name: prod(module.shape) * dtype_bytes}
        case Experts():
            return experts_bytes(module, method, shape, dtype_bytes)
        case Linear():
            return linear_bytes(module, method, shape, dtype_bytes)


def linear_bytes(linear: Linear, method: Method, shape: CheckpointShape, dtype_bytes: int) -> dict[str, int]:
    quantised = is_quantised(linear, method, shape)
    for source, rows in linear.sources:
        suffix, expected = source_shape(linear, rows, method, quantised)
        check_source(shape, f"{source}.{suffix}", expected)
    outputs = sum(linear.outputs)
    held = (
        quantised_bytes(linear, method, dtype_bytes) if quantised else {"weight": linear.inputs * outputs * dtype_bytes}
    )
    if linear.bias:
        held["bias"] = outputs * dtype_bytes
    return {f"{linear.name}.{name}": size for name, size in held.items()}


def check_source(shape: CheckpointShape, name: str, expected: tuple[int, ...]) -> None:
    """Config.json and headers must agree: where they do not, one of them describes another model."""
    tensor = shape.tensors.get(name)
    if tensor is None or tensor.shape != expected:
        raise UnknownShapeError(
            f"{name} of {shape.name} is {'absent' if tensor is None else list(tensor.shape)}, "
            f"where config.json makes it {list(expected)}",
            "headers that agree with config.json",
            "download config.json and the shards again, from the same revision",
        )
