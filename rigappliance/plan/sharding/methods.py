"""How a checkpoint is quantised, and what tensors a quantised matrix becomes in the pinned engine.

Sources: create_weights of the classes in vllm/model_executor/layers/quantization (auto_gptq, auto_awq, fp8,
compressed_tensors/schemes) and in layers/linear.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rigappliance.plan.sharding.parts import ImpossibleLayoutError, Linear
from rigappliance.plan.tensors import CheckpointShape, UnknownShapeError

INT32_BITS = 32
FLOAT32_BYTES = 4
# One shape of the matrix before it was packed: two int64.
PACKED_SHAPE_BYTES = 16
# The last part of the name of a tensor that only a quantised module has.
MARKERS = {"gptq": "qweight", "awq": "qweight", "packed": "weight_packed"}
EIGHT_BIT_DTYPES = {"fp8": ("F8_E4M3", "F8_E5M2"), "w8a8-float": ("F8_E4M3", "F8_E5M2"), "w8a8-int": ("I8",)}


@dataclass(frozen=True)
class Method:
    """``kind``: plain, gptq, awq, fp8, packed (compressed-tensors), w8a8-int, w8a8-float.

    ``group`` -1 means one group a column; ``block`` is (outputs, inputs) of FP8's block scales.
    """

    kind: str = "plain"
    bits: int = 16
    group: int = -1
    symmetric: bool = True
    block: tuple[int, int] | None = None
    per_channel: bool = False
    static_inputs: bool = False


def method_of(shape: CheckpointShape) -> Method:
    """Raises ``UnknownShapeError`` for a method that is not read here, or that the engine refuses."""
    tree = shape.config.get("quantization_config") or shape.config.get("compression_config")
    if not isinstance(tree, Mapping):
        return Method()
    name = str(tree.get("quant_method", "")).lower()
    read = {"gptq": gptq, "awq": awq, "fp8": fp8, "compressed-tensors": compressed}.get(name)
    method = read(tree) if read else None
    if method is None:
        raise UnknownShapeError(
            f"what {name or 'an unnamed quantisation'} of {shape.name} makes of a matrix is not known here",
            "GPTQ of 4 or 8 bits, symmetric and without activation order, AWQ, FP8, compressed-tensors W4A16 or W8A8",
            "the plan goes on with an estimate; calibrate it with a real start",
        )
    return method


def number(tree: Mapping[str, Any], *keys: str) -> int | None:
    found = next((tree[key] for key in keys if tree.get(key) is not None), None)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def gptq(tree: Mapping[str, Any]) -> Method | None:
    """The engine takes 4 and 8 bits, symmetric; since 0.32 it refuses groups in activation order."""
    bits, group = number(tree, "bits"), number(tree, "group_size")
    refused = tree.get("sym") is not True or (tree.get("desc_act") and group != -1) or tree.get("dynamic")
    if bits not in (4, 8) or group is None or refused or tree.get("lm_head"):
        return None
    return Method("gptq", bits, group)


def awq(tree: Mapping[str, Any]) -> Method | None:
    bits, group = number(tree, "w_bit", "bits"), number(tree, "q_group_size", "group_size")
    if bits != 4 or group is None or tree.get("lm_head"):
        return None
    return Method("awq", bits, group, symmetric=not tree.get("zero_point"))


def fp8(tree: Mapping[str, Any]) -> Method | None:
    block = tree.get("weight_block_size")
    static = tree.get("activation_scheme") == "static"
    match block:
        case None:
            return Method("fp8", 8, static_inputs=static)
        case [int(rows), int(columns)]:
            return Method("fp8", 8, block=(rows, columns))
    return None


def compressed(tree: Mapping[str, Any]) -> Method | None:
    """One group of settings for all matrices; ``None`` for mixtures and for newer number formats."""
    groups = tree.get("config_groups")
    if not isinstance(groups, Mapping) or len(groups) != 1:
        return None
    (settings,) = groups.values()
    weights = settings.get("weights") if isinstance(settings, Mapping) else None
    if not isinstance(weights, Mapping):
        return None
    bits, kind, strategy = number(weights, "num_bits"), weights.get("type"), weights.get("strategy")
    inputs = settings.get("input_activations")
    if inputs is None:
        if kind != "int" or bits not in (4, 8) or weights.get("actorder") == "group":
            return None
        group = number(weights, "group_size")
        return Method("packed", bits, -1 if group is None else group, symmetric=weights.get("symmetric") is not False)
    if bits != 8 or kind not in ("int", "float") or strategy not in ("channel", "tensor"):
        return None
    static = isinstance(inputs, Mapping) and inputs.get("dynamic") is False
    if not isinstance(inputs, Mapping) or number(inputs, "num_bits") != 8 or (static and kind == "int"):
        return None
    return Method(f"w8a8-{kind}", 8, per_channel=strategy == "channel", static_inputs=static)


def is_quantised(linear: Linear, method: Method, shape: CheckpointShape) -> bool:
    """As the engine decides it: by what the headers say of the module's tensors."""
    if method.kind == "plain":
        return False
    sources = [name for name, _ in linear.sources]
    if marker := MARKERS.get(method.kind):
        return all(f"{source}.{marker}" in shape.tensors for source in sources)
    weights = [shape.tensors.get(f"{source}.weight") for source in sources]
    return all(weight is not None and weight.dtype in EIGHT_BIT_DTYPES[method.kind] for weight in weights)


def quantised_bytes(linear: Linear, method: Method, dtype_bytes: int) -> dict[str, int]:
    """Bytes of each parameter of a quantised matrix as it is created, before any kernel repacks it."""
    outputs, parts = sum(linear.outputs), len(linear.outputs)
    weights_bytes = linear.inputs * outputs * method.bits // 8
    match method.kind:
        case "gptq" | "awq":
            groups = group_count(linear, method)
            return {
                "qweight": weights_bytes,
                "scales": groups * outputs * dtype_bytes,
                "qzeros": groups * outputs * method.bits // 8,
            }
        case "packed":
            groups = group_count(linear, method)
            zeros = {} if method.symmetric else {"weight_zero_point": groups * outputs * method.bits // 8}
            return {
                "weight_packed": weights_bytes,
                "weight_scale": groups * outputs * dtype_bytes,
                "weight_shape": PACKED_SHAPE_BYTES,
                **zeros,
            }
    inputs_scale = {"input_scale": parts * FLOAT32_BYTES} if method.static_inputs else {}
    if method.block:
        check_blocks(linear, method.block)
        rows, columns = -(-outputs // method.block[0]), -(-linear.inputs // method.block[1])
        return {"weight": weights_bytes, "weight_scale_inv": rows * columns * FLOAT32_BYTES}
    scales = outputs if method.per_channel else parts
    return {"weight": weights_bytes, "weight_scale": scales * FLOAT32_BYTES, **inputs_scale}


def group_count(linear: Linear, method: Method) -> int:
    """Rows of the scales. One group a column stays whole on every rank; a group must not be cut by a rank's border."""
    if method.group == -1:
        return 1
    if linear.inputs % method.group:
        raise ImpossibleLayoutError(
            f"{linear.inputs} inputs of {linear.name} on each rank cut through the groups of {method.group}",
            f"a multiple of {method.group} on each rank",
            "lower engine.tensor_parallel, or use a checkpoint whose sizes are padded for it",
        )
    return linear.inputs // method.group


def check_blocks(linear: Linear, block: tuple[int, int]) -> None:
    """FP8's blocks must not be cut either, where the matrix is shared or put together of several."""
    cut = linear.split_inputs and linear.inputs % block[1]
    cut = cut or ((linear.split_outputs or len(linear.outputs) > 1) and any(rows % block[0] for rows in linear.outputs))
    if cut:
        raise ImpossibleLayoutError(
            f"a rank's part of {linear.name} cuts through its blocks of {block[0]} by {block[1]}",
            "parts that are whole blocks",
            "lower engine.tensor_parallel, and raise engine.pipeline_parallel instead",
        )


def source_shape(linear: Linear, rows: int, method: Method, quantised: bool) -> tuple[str, tuple[int, ...]]:
    """The last part of the name, and the shape, that the checkpoint's tensor of one source must have."""
    columns, pack = linear.whole_inputs, INT32_BITS // method.bits
    if quantised and method.kind == "gptq":
        return "qweight", (columns // pack, rows)
    if quantised and method.kind == "awq":
        return "qweight", (columns, rows // pack)
    if quantised and method.kind == "packed":
        return "weight_packed", (rows, -(-columns // pack))
    return "weight", (rows, columns)
