"""The tensors of a mixture's experts, which the engine keeps stacked (create_weights of its fused MoE methods)."""

from __future__ import annotations

from rigappliance.plan.sharding.methods import EIGHT_BIT_DTYPES, FLOAT32_BYTES, Method
from rigappliance.plan.sharding.parts import Experts
from rigappliance.plan.tensors import CheckpointShape, UnknownShapeError

STACKED = ".routed_experts"


def matrix_names(experts: Experts) -> tuple[str, str, str]:
    """Gate, down and up of one expert in the checkpoint."""
    return ("w1", "w2", "w3") if "block_sparse_moe" in experts.name else ("gate_proj", "down_proj", "up_proj")


def experts_bytes(experts: Experts, method: Method, shape: CheckpointShape, dtype_bytes: int) -> dict[str, int]:
    """Raises ``UnknownShapeError`` where the engine takes another kernel, with tensors of its own."""
    first = f"{experts.name.removesuffix(STACKED)}.0.{matrix_names(experts)[0]}"
    weight = shape.tensors.get(f"{first}.weight")
    if weight is not None and weight.dtype in EIGHT_BIT_DTYPES["fp8"] and method.kind == "fp8":
        held = fp8_bytes(experts, method)
    elif weight is not None and weight.dtype in ("F16", "BF16", "F32"):
        matrix = experts.count * experts.hidden_size * experts.intermediate_size * dtype_bytes
        held = {"w13_weight": 2 * matrix, "w2_weight": matrix}
    elif f"{first}.qweight" in shape.tensors and method.kind in ("gptq", "awq"):
        held = grouped_bytes(experts, method, dtype_bytes)
    else:
        raise unknown(experts, "how they are quantised is not known here")
    return {f"{experts.name}.{name}": size for name, size in held.items()}


def grouped_bytes(experts: Experts, method: Method, dtype_bytes: int) -> dict[str, int]:
    """GPTQ and AWQ, as Marlin takes them."""
    count, hidden, inner, bits = experts.count, experts.hidden_size, experts.intermediate_size, method.bits
    if method.group == -1 and method.kind == "awq":
        raise unknown(experts, "AWQ without groups")
    if method.group != -1 and (hidden % method.group or inner % method.group):
        raise unknown(experts, f"{inner} inner values a rank are not whole groups of {method.group}")
    groups_in, groups_out = (1, 1) if method.group == -1 else (hidden // method.group, inner // method.group)
    held = {
        "w13_qweight": count * hidden * 2 * inner * bits // 8,
        "w2_qweight": count * inner * hidden * bits // 8,
        "w13_scales": count * groups_in * 2 * inner * dtype_bytes,
        "w2_scales": count * groups_out * hidden * dtype_bytes,
        "w13_qzeros": count * groups_in * 2 * inner * bits // 8,
        "w2_qzeros": count * groups_out * hidden * bits // 8,
    }
    if method.kind == "gptq":
        held |= {"w13_bias": count * 2 * inner * dtype_bytes, "w2_bias": count * hidden * dtype_bytes}
    return held


def fp8_bytes(experts: Experts, method: Method) -> dict[str, int]:
    count, hidden, inner = experts.count, experts.hidden_size, experts.intermediate_size
    held = {"w13_weight": count * 2 * inner * hidden, "w2_weight": count * inner * hidden}
    if method.block is None:
        held |= {"w13_weight_scale": count * 2 * FLOAT32_BYTES, "w2_weight_scale": count * FLOAT32_BYTES}
        if method.static_inputs:
            held |= {"w13_input_scale": count * FLOAT32_BYTES, "w2_input_scale": count * FLOAT32_BYTES}
        return held
    rows, columns = method.block
    if inner % rows or inner % columns:
        # The engine then refines the blocks, or refuses.
        raise unknown(experts, f"{inner} inner values a rank are not whole blocks of {rows} by {columns}")
    return held | {
        "w13_weight_scale_inv": count * 2 * (inner // rows) * -(-hidden // columns) * FLOAT32_BYTES,
        "w2_weight_scale_inv": count * -(-hidden // rows) * (inner // columns) * FLOAT32_BYTES,
    }


def dropped_bytes(experts: Experts, held: dict[str, int], shape: CheckpointShape) -> int:
    """Biases for which the checkpoint has no tensor are dropped after loading."""
    first = f"{experts.name.removesuffix(STACKED)}.0."
    if any(name.startswith(first) and name.endswith(".bias") for name in shape.tensors):
        return 0
    return sum(size for name, size in held.items() if name.endswith("_bias"))


def unknown(experts: Experts, why: str) -> UnknownShapeError:
    return UnknownShapeError(
        f"{experts.name}: {why}",
        "experts in a plain dtype, GPTQ, AWQ or FP8, in whole groups and blocks on each rank",
        "the plan goes on with an estimate; calibrate it with a real start",
    )
