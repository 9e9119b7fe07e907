"""A checkpoint with the tensors of Qwen2.5-72B-Instruct-GPTQ-Int8, in fewer layers and with a smaller vocabulary.

Names, shapes and dtypes of a layer are the real ones, and so are the distances inside a tensor that a rank's slices
jump over. Cut are the number of layers (80) and the vocabulary (152064), whose two matrices would be 2.5 GB each.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rigappliance.plan.catalogue import entries, tensors_of
from rigappliance.plan.tensors import TensorShape

MODEL = "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8"
PIECE_BYTES = 16 << 20
# The safetensors library puts wide types first, then goes by name; readers then ask for the tensors by name.
WIDTHS = {"I32": 4, "F16": 2}
# Clears the highest bit of a half's exponent, so that random bytes are finite numbers below 2.
FINITE = bytes(byte & 0xBF for byte in range(256))


def config(layers: int, vocabulary: int) -> dict[str, Any]:
    return {**entries()[MODEL].config, "num_hidden_layers": layers, "vocab_size": vocabulary}


def split(tensors: Mapping[str, TensorShape], shards: int) -> list[dict[str, TensorShape]]:
    """In the order of the modules, each shard filled before the next begins, as the library that saved the real one."""
    limit = sum(tensor.size_bytes for tensor in tensors.values()) / shards
    parts: list[dict[str, TensorShape]] = [{}]
    done = 0
    for name, tensor in tensors.items():
        if parts[-1] and done + tensor.size_bytes / 2 > limit * len(parts) and len(parts) < shards:
            parts.append({})
        parts[-1][name] = tensor
        done += tensor.size_bytes
    return parts


def content(name: str, tensor: TensorShape, rng: random.Random) -> Iterator[bytes]:
    """Random weights; zero points and groups as symmetric GPTQ without activation order has them."""
    size = tensor.size_bytes
    if name.endswith("g_idx"):
        yield struct.pack(f"<{tensor.shape[0]}i", *(column // 128 for column in range(tensor.shape[0])))
    elif name.endswith("qzeros"):
        yield b"\x7f" * size
    else:
        for begin in range(0, size, PIECE_BYTES):
            piece = bytearray(rng.randbytes(min(PIECE_BYTES, size - begin)))
            if tensor.dtype == "F16":
                piece[1::2] = piece[1::2].translate(FINITE)
            yield bytes(piece)


def write_checkpoint(directory: Path, layers: int, vocabulary: int, shards: int) -> int:
    """Returns the bytes of its shards."""
    directory.mkdir(parents=True)
    told = config(layers, vocabulary)
    (directory / "config.json").write_text(json.dumps(told))
    parts, rng, weight_map, total = split(dict(tensors_of("bench", told)), shards), random.Random(6), {}, 0
    for number, part in enumerate(parts, start=1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        ordered = sorted(part.items(), key=lambda item: (-WIDTHS[item[1].dtype], item[0]))
        header, at = {}, 0
        for name, tensor in ordered:
            end = at + tensor.size_bytes
            header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [at, end]}
            weight_map[name], at = file, end
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (directory / file).open("wb") as out:
            out.write(len(text).to_bytes(8, "little") + text)
            for name, tensor in ordered:
                out.writelines(content(name, tensor, rng))
            total += out.tell()
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return total
