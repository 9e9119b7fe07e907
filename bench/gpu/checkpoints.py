"""Checkpoints of real shapes, made on the spot: hollow ones for dummy weights, or filled with valid noise."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

from rigappliance.demo.checkpoint import SPECIAL_TOKENS, Bf16, tokenizer_files, vocabulary
from rigappliance.plan.catalogue import entries, tensors_of
from rigappliance.plan.tensors import CheckpointShape, TensorShape
from tests.hollow import write_hollow

GROUP = 128
BLOCK = 8 << 20


def shape_with(name: str, **numbers: Any) -> CheckpointShape:
    """A checkpoint of the catalogue with other numbers, fewer layers for instance."""
    config = {**entries()[name].config, **numbers}
    return CheckpointShape(name, config, dict(tensors_of(name, config)))


def write_tokenizer(directory: Path, size: int) -> None:
    """The demo's tokenizer, filled up with tokens that no text has, so that every id of the model has one."""
    files: dict[str, Any] = tokenizer_files()
    known = vocabulary().tokens
    table = files["tokenizer.json"]["model"]["vocab"]
    for number in range(len(known), size):
        table[f"<fill{number}>"] = number
    assert len(table) + len(SPECIAL_TOKENS) == size
    for name, value in files.items():
        (directory / name).write_text(json.dumps(value))


def hollow(shape: CheckpointShape, directory: Path) -> None:
    """Headers and holes: for `load_format = "dummy"`."""
    write_hollow(shape, directory)
    write_tokenizer(directory, shape.number("vocab_size"))
    # The end of a text is the demo's, and random weights hardly ever say it.
    config = json.loads((directory / "config.json").read_text())
    config.setdefault("torch_dtype", config.pop("dtype", "float16"))
    (directory / "config.json").write_text(json.dumps(config))


def filled(shape: CheckpointShape, directory: Path) -> int:
    """The same with bytes in it that a loader and a kernel accept; returns the bytes of its tensors."""
    hollow(shape, directory)
    noise = random.Random(0).randbytes(BLOCK)
    total = 0
    for shard in sorted(directory.glob("*.safetensors")):
        with shard.open("r+b") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            for name, entry in header.items():
                start, end = entry["data_offsets"]
                file.seek(8 + length + start)
                fill(file, name, TensorShape(entry["dtype"], tuple(entry["shape"])), noise)
                total += end - start
    return total


def fill(file: Any, name: str, tensor: TensorShape, noise: bytes) -> None:
    left = tensor.size_bytes
    if name.endswith("g_idx"):
        inputs = tensor.shape[0]
        file.write(struct.pack(f"<{inputs}i", *(number // GROUP for number in range(inputs))))
        return
    if name.endswith("qzeros"):
        # Symmetric 8 bits: the zero point 128, stored less one, in each byte.
        block = b"\x7f" * min(left, BLOCK)
    elif tensor.dtype in ("F16", "BF16"):
        block = small_numbers(tensor.dtype, min(left, BLOCK) // 2)
    else:
        block = noise
    while left:
        piece = block[: min(left, len(block))]
        file.write(piece)
        left -= len(piece)


def small_numbers(dtype: str, count: int) -> bytes:
    if dtype == "BF16":
        return bytes(Bf16.noise(count, random.Random(1)))
    return struct.pack("<e", 0.001) * count
