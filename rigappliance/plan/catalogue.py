"""Well-known checkpoints without a byte of them: their config.json as data, their headers by rule.

``data/models/*.toml`` holds the values with their sources. The tensors follow from them as the tools that made the
checkpoints write them (safetensors of transformers, AutoGPTQ, AutoAWQ), and are held against published totals.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from rigappliance.errors import UsageError
from rigappliance.plan.sharding.experts import STACKED, matrix_names
from rigappliance.plan.sharding.methods import INT32_BITS, Method, method_of
from rigappliance.plan.sharding.models import Rank, modules
from rigappliance.plan.sharding.parts import Experts, Linear, Plain
from rigappliance.plan.tensors import CheckpointShape, TensorShape

DATA = Path(__file__).parent / "data" / "models"
SAFETENSORS_NAMES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}


@dataclass(frozen=True)
class Entry:
    """One checkpoint of the catalogue. ``total_bytes`` is what others publish for its tensors or files, where known."""

    name: str
    config: Mapping[str, Any]
    source: str
    date: str
    total_bytes: int | None = None
    total_source: str = ""
    # How far a rounded figure may be off.
    total_within: float = 0.0


@cache
def entries() -> dict[str, Entry]:
    """All of them by name; an entry that is ``like`` another says only what differs."""
    found: dict[str, Entry] = {}
    for path in sorted(DATA.glob("*.toml")):
        models: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["model"]
        for name, told in models.items():
            base = found[told["like"]].config if "like" in told else {}
            # TOML has no null, which is not the same as an absent key.
            own = {key: None if value == "null" else value for key, value in told.get("config", {}).items()}
            found[name] = Entry(
                name,
                {**base, **own},
                told["source"],
                told["date"],
                told.get("total_bytes"),
                told.get("total_source", ""),
                told.get("total_within", 0.0),
            )
    return found


def catalogue_names() -> tuple[str, ...]:
    return tuple(entries())


def from_catalogue(name: str) -> CheckpointShape:
    """By its full name or the part after the owner, in any case. Raises ``UsageError`` for one that is not there."""
    wanted = name.lower()
    for known in entries():
        if wanted in (known.lower(), known.lower().partition("/")[2]):
            return shape_of_entry(known)
    near = get_close_matches(name, entries(), n=3, cutoff=0.4)
    raise UsageError(
        f"{name} is not in the catalogue",
        f"a checkpoint's directory, or a name such as {', '.join(near or list(entries())[:3])}",
        "name a directory that holds config.json and the shards, or one of the catalogue's names",
    )


@cache
def shape_of_entry(entry_name: str) -> CheckpointShape:
    entry = entries()[entry_name]
    return CheckpointShape(entry.name, entry.config, dict(tensors_of(entry.name, entry.config)))


def tensors_of(name: str, config: Mapping[str, Any]) -> Iterator[tuple[str, TensorShape]]:
    """Names, dtypes and shapes of all tensors of a checkpoint whose config.json is ``config``."""
    shape = CheckpointShape(name, config, {})
    method = method_of(shape)
    dtype = SAFETENSORS_NAMES[str(shape.numbers["dtype"])]
    for module in modules(shape, Rank(1, first_stage=True, last_stage=True, layers=range(shape.layers))):
        match module:
            case Plain():
                if module.source:
                    yield module.source, TensorShape(dtype, module.source_shape)
            case Linear():
                for source, rows in module.sources:
                    yield from linear_tensors(module, source, rows, method, dtype)
            case Experts():
                yield from expert_tensors(module, method, dtype)


def linear_tensors(
    linear: Linear, source: str, rows: int, method: Method, dtype: str
) -> Iterator[tuple[str, TensorShape]]:
    method = method if linear.quantisable else Method()
    columns, pack = linear.whole_inputs, INT32_BITS // method.bits
    groups = 1 if method.group == -1 else columns // method.group
    if linear.bias or method.kind == "gptq":
        # AutoGPTQ writes a bias of zeros where the model has none; the engine drops it.
        yield f"{source}.bias", TensorShape(dtype, (rows,))
    match method.kind:
        case "gptq":
            yield f"{source}.g_idx", TensorShape("I32", (columns,))
            yield f"{source}.qweight", TensorShape("I32", (columns // pack, rows))
            yield f"{source}.qzeros", TensorShape("I32", (groups, rows // pack))
            yield f"{source}.scales", TensorShape(dtype, (groups, rows))
        case "awq":
            yield f"{source}.qweight", TensorShape("I32", (columns, rows // pack))
            yield f"{source}.qzeros", TensorShape("I32", (groups, rows // pack))
            yield f"{source}.scales", TensorShape(dtype, (groups, rows))
        case "plain":
            yield f"{source}.weight", TensorShape(dtype, (rows, columns))
        case "fp8":
            yield f"{source}.weight", TensorShape("F8_E4M3", (rows, columns))
            if method.block:
                blocks = (-(-rows // method.block[0]), -(-columns // method.block[1]))
                yield f"{source}.weight_scale_inv", TensorShape(dtype, blocks)
            else:
                yield f"{source}.weight_scale", TensorShape("F32", ())
                if method.static_inputs:
                    yield f"{source}.input_scale", TensorShape("F32", ())
        case "packed":
            yield f"{source}.weight_packed", TensorShape("I32", (rows, columns // pack))
            yield f"{source}.weight_scale", TensorShape(dtype, (rows, groups))
            yield f"{source}.weight_shape", TensorShape("I64", (2,))
            if not method.symmetric:
                yield f"{source}.weight_zero_point", TensorShape("I32", (rows // pack, groups))
        case "w8a8-int" | "w8a8-float":
            yield f"{source}.weight", TensorShape("I8" if method.kind == "w8a8-int" else "F8_E4M3", (rows, columns))
            yield f"{source}.weight_scale", TensorShape(dtype, (rows, 1) if method.per_channel else (1,))
            if method.static_inputs:
                yield f"{source}.input_scale", TensorShape(dtype, (1,))


def expert_tensors(experts: Experts, method: Method, dtype: str) -> Iterator[tuple[str, TensorShape]]:
    """Each expert's three matrices, as if each were a module of its own."""
    gate, down, up = matrix_names(experts)
    inner, outer = experts.intermediate_size, experts.hidden_size
    for expert in range(experts.count):
        prefix = f"{experts.name.removesuffix(STACKED)}.{expert}"
        for matrix, rows, columns in ((gate, inner, outer), (down, outer, inner), (up, inner, outer)):
            name = f"{prefix}.{matrix}"
            yield from linear_tensors(
                Linear(name, ((name, rows),), columns, columns, (rows,)), name, rows, method, dtype
            )
