"""What Marlin leaves of a GPTQ or AWQ matrix on a card (vllm/model_executor/kernels/linear/mixed_precision/marlin.py).

It pads the matrix to its thread tiles, drops the zero points of a symmetric one, and needs a lock for every block that
a multiprocessor runs; the locks are one tensor for the whole rank.
"""

from __future__ import annotations

from math import lcm

from rigappliance.plan.sharding.methods import Method, quantised_bytes
from rigappliance.plan.sharding.parts import Linear, Module, padded

# vllm/model_executor/layers/quantization/utils/marlin_utils.py: MARLIN_MAX_BLOCKS_PER_SM, an int32 each.
LOCKS_PER_MULTIPROCESSOR = 4
LOCK_BYTES = 4


def padded_sizes(outputs: int, inputs: int, group: int) -> tuple[int, int]:
    """The smallest sizes that one of its two tile shapes divides, groups whole (marlin_padded_nk)."""
    groups = max(group, 1)
    candidates = (
        (padded(outputs, 64), padded(inputs, lcm(128, groups))),
        (padded(outputs, 128), padded(inputs, lcm(64, groups))),
    )
    return min(candidates, key=lambda sizes: (sizes[0] * sizes[1], sum(sizes)))


def removed_bytes(module: Module, method: Method, dtype_bytes: int) -> int:
    """What the matrix gives back after loading; negative where padding makes it larger."""
    if not isinstance(module, Linear):
        return 0
    created = quantised_bytes(module, method, dtype_bytes)
    outputs, inputs = padded_sizes(sum(module.outputs), module.inputs, method.group)
    groups = 1 if method.group == -1 else inputs // method.group
    left = outputs * inputs * method.bits // 8 + groups * outputs * dtype_bytes
    # GPTQ's are dropped; AWQ has them repacked even where the checkpoint says that it needs none.
    if method.kind == "awq" and not method.symmetric:
        left += groups * outputs * method.bits // 8
    return sum(created.values()) - left


def locks_bytes(multiprocessors: int) -> int:
    return multiprocessors * LOCKS_PER_MULTIPROCESSOR * LOCK_BYTES
