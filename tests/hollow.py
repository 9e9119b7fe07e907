"""Checkpoints with the headers of real ones, and holes where their data would be."""

from __future__ import annotations

import json
from pathlib import Path

from rigappliance.plan.tensors import CheckpointShape

SHARDS = 20


def write_hollow(shape: CheckpointShape, directory: Path) -> int:
    """The checkpoint; returns the bytes of its headers and JSON files."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(dict(shape.config)))
    names = sorted(shape.tensors)
    size = -(-len(names) // SHARDS)
    weight_map = {}
    total = 0
    for number in range(SHARDS):
        file = f"model-{number + 1:05d}-of-{SHARDS:05d}.safetensors"
        header, at = {}, 0
        for name in names[number * size : (number + 1) * size]:
            tensor = shape.tensors[name]
            end = at + tensor.size_bytes
            header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, end]}
            weight_map[name], at = file, end
        text = json.dumps(header).encode()
        with (directory / file).open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            out.truncate(8 + len(text) + at)
        total += 8 + len(text)
    index = json.dumps({"metadata": {"total_size": shape.tensor_bytes}, "weight_map": weight_map})
    (directory / "model.safetensors.index.json").write_text(index)
    (directory / "tokenizer.json").write_text("{}")
    return total + len(index)
