"""What is wrong with a checkpoint, and which recorded failure of the real engine shows it."""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path
from typing import Any

from .arguments import Arguments

ARCHITECTURES = ("Qwen2ForCausalLM",)
MODEL_TYPES = ("qwen2",)
QUANTISATIONS = ("gptq", "gptq_marlin", "awq", "fp8", "compressed-tensors")
HEADER_LIMIT_BYTES = 100_000_000
POINTER = b"version https://git-lfs"
ITEM_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "U32": 4, "BF16": 2, "F16": 2, "I16": 2}


def shards(directory: Path) -> list[Path]:
    """Shards in natural order; empty where there is no such directory."""

    def natural(path: Path) -> list[object]:
        return [int(text) if text.isdigit() else text for text in re.split(r"(\d+)", path.name)]

    return sorted(directory.glob("*.safetensors"), key=natural)


def problem(arguments: Arguments) -> str | None:
    """Name of the recording of what the real engine says of this model; None for one that it starts with."""
    directory = Path(arguments.model)
    config = read_config(directory)
    if isinstance(config, str):
        return config
    found = config_problem(config, arguments) or tokenizer_problem(directory)
    if found is None and not shards(directory):
        return "weights-missing"
    problems = (shard_problem(path) for path in shards(directory))
    return found or next((one for one in problems if one), None) or missing(directory)


def read_config(directory: Path) -> dict[str, Any] | str:
    """config.json, or the name of what is wrong with it."""
    if not directory.is_dir():
        return "model-directory-missing"
    if not os.access(directory, os.R_OK | os.X_OK):
        return "checkpoint-unreadable"
    try:
        config: Any = json.loads((directory / "config.json").read_text())
    except PermissionError:
        return "config-unreadable"
    except OSError:
        return "config-missing"
    except ValueError:
        return "config-not-json"
    return config if isinstance(config, dict) else "config-not-json"


def config_problem(config: dict[str, Any], arguments: Arguments) -> str | None:
    """In the order in which the engine looks."""
    if config.get("model_type") not in MODEL_TYPES:
        return "model-type-unknown"
    if not any(name in ARCHITECTURES for name in config.get("architectures") or []):
        return "architecture-unknown"
    quantisation = config.get("quantization_config") or {}
    if quantisation and quantisation.get("quant_method") not in QUANTISATIONS:
        return "quantisation-unknown"
    if (config.get("max_position_embeddings") or arguments.max_model_len) < arguments.max_model_len:
        return "max-model-len-beyond"
    if (config.get("num_attention_heads") or arguments.tensor_parallel) % arguments.tensor_parallel:
        return "heads-not-divisible"
    return None


def missing(directory: Path) -> str | None:
    """Shards that the index names and that are not there."""
    try:
        names = json.loads((directory / "model.safetensors.index.json").read_text())["weight_map"].values()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return "shard-missing" if any(not (directory / name).exists() for name in set(names)) else None


def shard_problem(path: Path) -> str | None:
    """As the safetensors library judges a file: by its header and its size."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(max(8, len(POINTER)))
            if not size:
                return "shard-empty"
            if start.startswith(POINTER):
                return "shard-is-lfs-pointer"
            length = struct.unpack("<Q", start[:8])[0]
            if length > HEADER_LIMIT_BYTES:
                return "header-length-absurd"
            file.seek(8)
            header = json.loads(file.read(length)) if length + 8 <= size else None
    except PermissionError:
        return "shard-unreadable"
    except (OSError, ValueError):
        return "shard-header-flipped"
    except struct.error:
        return "truncated-shard"
    if header is None:
        return "truncated-shard"
    try:
        ends = [end_of(tensor) for name, tensor in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "shard-header-flipped"
    return None if ends and max(ends) + 8 + length == size else "truncated-shard"


def end_of(tensor: dict[str, Any]) -> int:
    """Where a tensor's bytes end; raises ``ValueError`` where its shape says otherwise."""
    start, end = tensor["data_offsets"]
    size = ITEM_BYTES.get(tensor["dtype"])
    for dimension in tensor["shape"]:
        size = None if size is None else size * dimension
    if size is not None and size != end - start:
        raise ValueError(tensor)
    return int(end)


def tokenizer_problem(directory: Path) -> str | None:
    """A tokenizer that cannot be read; none at all is no problem before a request comes."""
    try:
        json.loads((directory / "tokenizer.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return "tokenizer-corrupt"
    return None


def has_tokenizer(directory: Path) -> bool:
    """Without one the engine starts, and refuses each request."""
    return (directory / "tokenizer.json").exists()
