"""Which layers each stage of a pipeline holds (vllm/distributed/utils.py, get_pp_indices)."""

from __future__ import annotations

from rigappliance.plan.sharding.parts import ImpossibleLayoutError


def stage_layers(layers: int, stages: int, partition: str | None = None) -> tuple[range, ...]:
    """The layers of each stage. ``partition`` is the engine's ``VLLM_PP_LAYER_PARTITION``: ``"20,22,22,16"``.

    Layers that are left over go one each to the stages before the last, from the back: the last one has the head.
    Raises ``ImpossibleLayoutError`` for a partition that does not fit, and for more stages than layers.
    """
    counts = declared(partition) if partition else None
    if counts is None:
        counts = [layers // stages] * stages
        for left_over in range(layers % stages):
            counts[stages - 2 - left_over] += 1
    if len(counts) != stages or sum(counts) != layers or min(counts) < 0 or layers < stages:
        raise ImpossibleLayoutError(
            f"{layers} layers over {stages} stages" + (f" as {partition}" if partition else ""),
            f"a number for each stage, {layers} in sum, and no more stages than layers",
            "correct VLLM_PP_LAYER_PARTITION in engine.environment" if partition else "lower engine.pipeline_parallel",
        )
    starts = [sum(counts[:stage]) for stage in range(stages)]
    return tuple(range(start, start + count) for start, count in zip(starts, counts, strict=True))


def declared(partition: str) -> list[int]:
    """The numbers of a partition; ``[]`` where one is none."""
    try:
        return [int(count) for count in partition.split(",")]
    except ValueError:
        return []
