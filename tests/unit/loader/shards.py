"""Small shards of bytes whose place shows in their value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rigappliance.loader.header import Shard, read_shards

TENSOR_BYTES = 64 * 1024


def write(path: Path, entries: dict[str, Any] | bytes, data: bytes) -> Path:
    """Bytes are a header as it shall stand there; otherwise it is padded, as the library does."""
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    if not isinstance(entries, bytes):
        header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


def entry(begin: int, end: int, dtype: str = "U8", shape: list[int] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def checkpoint(directory: Path, files: int = 3, tensors: int = 4) -> tuple[Shard, ...]:
    paths = []
    for file in range(files):
        entries = {f"t{file}.{i}": entry(i * TENSOR_BYTES, (i + 1) * TENSOR_BYTES) for i in range(tensors)}
        data = b"".join(bytes([(file * 31 + at) % 256]) * 512 for at in range(tensors * TENSOR_BYTES // 512))
        paths.append(write(directory / f"model-{file}.safetensors", entries, data))
    return read_shards(paths)
