"""Checkpoints whose headers are whole and whose data is a hole in the file: as large as the real ones, and no disk."""

from __future__ import annotations

import json
from pathlib import Path

from rigappliance.plan.tensors import CheckpointShape


def write_headers(shape: CheckpointShape, directory: Path) -> Path:
    """config.json and one shard. A hole reads as zeros, but nothing reads it."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(dict(shape.config)))
    entries, position = {}, 0
    for name, tensor in shape.tensors.items():
        end = position + tensor.size_bytes
        entries[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [position, end]}
        position = end
    header = json.dumps(entries).encode()
    with (directory / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + position)
    return directory
