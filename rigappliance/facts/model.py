"""What a checkpoint is: config.json, the index, and the headers of its safetensors shards.

Damage is a fact like any other and ends up in ``problems``; nothing here raises
for a file that is missing or odd.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from rigappliance.facts.safetensors import LFS_POINTER, ShardFacts, pointer_detail, read_shard, sum_by_dtype

INDEX_FILE = "model.safetensors.index.json"
PARTIAL_SUFFIXES = (".incomplete", ".part", ".partial", ".aria2", ".crdownload", ".tmp")
Tree = Mapping[str, Any]


@dataclass(frozen=True)
class ModelProblem:
    """One thing that is wrong. ``kind`` is a stable word, ``file`` a name inside the directory or its path."""

    kind: str
    file: str
    detail: str


@dataclass(frozen=True)
class Quantisation:
    """``quantization_config`` of config.json. ``group_size`` -1 means one group a column."""

    method: str
    bits: int | None = None
    group_size: int | None = None
    desc_act: bool | None = None
    symmetric: bool | None = None


@dataclass(frozen=True)
class ModelFacts:
    """A checkpoint directory. Shape values are ``None`` where config.json does not have them.

    ``max_positions`` is the longest sequence that the engine accepts without an
    override.  ``tensor_bytes`` and ``bytes_by_dtype`` come from the headers
    alone and are exact for the shards that have one; ``file_bytes`` is what
    lies on disk.  ``index_consistent`` is ``None`` without an index.
    """

    path: Path
    architectures: tuple[str, ...] = ()
    model_type: str | None = None
    layers: int | None = None
    hidden_size: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocab_size: int | None = None
    intermediate_size: int | None = None
    max_positions: int | None = None
    dtype: str | None = None
    quantisation: Quantisation | None = None
    bytes_by_dtype: dict[str, int] = field(default_factory=dict)
    tensor_bytes: int = 0
    file_bytes: int = 0
    shards: tuple[ShardFacts, ...] = ()
    partial_files: tuple[str, ...] = ()
    index_present: bool = False
    index_total_bytes: int | None = None
    index_consistent: bool | None = None
    tokenizer: bool = False
    chat_template: bool = False
    problems: tuple[ModelProblem, ...] = ()
    fingerprint: str = ""


def read_model_facts(directory: Path) -> ModelFacts:
    """The facts of the checkpoint in ``directory``; reads some kilobytes a shard. Raises nothing."""
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except OSError as error:
        kind = {FileNotFoundError: "directory-missing", NotADirectoryError: "not-a-directory"}.get(
            type(error), "directory-unreadable"
        )
        return ModelFacts(directory, problems=(ModelProblem(kind, str(directory), error.strerror or str(error)),))

    problems: list[ModelProblem] = []
    config = read_json(directory, "config.json", problems) or {}
    weight_map, index_total = read_index(directory, names, problems)

    shard_names = expected_shards(names, weight_map)
    read = [read_shard(directory / name) for name in shard_names]
    shards = tuple(shard for shard, _ in read)
    problems += [shard_problem(shard) for shard in shards if shard.status != "whole"]
    by_shard = {shard.file: header.tensors for shard, header in read if header}
    bytes_by_dtype = sum_by_dtype(by_shard.values())
    if not shards:
        problems.append(no_weights(names))
    if weight_map is not None:
        problems += compare_with_index(weight_map, index_total, by_shard, complete=len(by_shard) == len(shards))
    elif len(shards) > 1:
        problems.append(ModelProblem("index-missing", INDEX_FILE, f"{len(shards)} shards and no index"))

    tokenizer = has_tokenizer(directory, names, problems)
    partial = partial_files(directory, names)
    problems += partial_problems(partial, names, whole=not problems)
    return ModelFacts(
        path=directory,
        **shape_of(config),
        quantisation=quantisation_of(config),
        bytes_by_dtype=bytes_by_dtype,
        tensor_bytes=sum(bytes_by_dtype.values()),
        file_bytes=sum(shard.size_bytes for shard in shards),
        shards=shards,
        partial_files=partial,
        index_present=INDEX_FILE in names,
        index_total_bytes=index_total,
        index_consistent=not any(
            problem.kind.startswith(("index-", "tensor-")) or problem.kind == "shard-missing" for problem in problems
        )
        if INDEX_FILE in names
        else None,
        tokenizer=tokenizer,
        chat_template=has_chat_template(directory, names),
        problems=tuple(config_problems(config, problems)),
        fingerprint=fingerprint(directory, shards),
    )


# --- JSON files ------------------------------------------------------------


def read_json(directory: Path, name: str, problems: list[ModelProblem]) -> dict[str, Any] | None:
    """The object in a JSON file, or ``None`` with a problem noted. ``config.json`` gives ``config-missing``, …"""
    kind = "index" if name == INDEX_FILE else Path(name).stem
    try:
        content = (directory / name).read_bytes()
    except FileNotFoundError:
        problems.append(ModelProblem(f"{kind}-missing", name, "the file is not there"))
        return None
    except OSError as error:
        problems.append(ModelProblem(f"{kind}-unreadable", name, error.strerror or str(error)))
        return None
    if content.startswith(LFS_POINTER):
        problems.append(ModelProblem("lfs-pointer", name, pointer_detail(content)))
        return None
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        problems.append(ModelProblem(f"{kind}-not-json", name, "the file is empty" if not content else str(error)))
        return None
    if not isinstance(tree, dict):
        problems.append(ModelProblem(f"{kind}-not-json", name, f"it holds a {type(tree).__name__}, not an object"))
        return None
    return tree


def config_problems(config: Tree, problems: list[ModelProblem]) -> list[ModelProblem]:
    """``problems``, and one more where config.json names no architecture, by which the engine picks its code."""
    if config and not shape_of(config)["architectures"]:
        return [ModelProblem("config-incomplete", "config.json", "it names no architecture"), *problems]
    return problems


def integer(tree: Tree, *keys: str) -> int | None:
    """The first positive whole number among ``keys``."""
    for key in keys:
        value = tree.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def text(tree: Tree, *keys: str) -> str | None:
    return next((tree[key] for key in keys if isinstance(tree.get(key), str)), None)


def shape_of(config: Tree) -> dict[str, Any]:
    """The shape as keyword arguments of ``ModelFacts``. Multimodal models keep it in ``text_config``."""
    inner = config.get("text_config")
    tree = {**config, **inner} if isinstance(inner, dict) else config
    named = config.get("architectures")
    hidden_size = integer(tree, "hidden_size", "n_embd", "d_model")
    heads = integer(tree, "num_attention_heads", "n_head", "num_heads")
    return {
        "architectures": tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else (),
        "model_type": text(config, "model_type"),
        "layers": integer(tree, "num_hidden_layers", "n_layer", "num_layers"),
        "hidden_size": hidden_size,
        "heads": heads,
        "kv_heads": integer(tree, "num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num") or heads,
        "head_dim": integer(tree, "head_dim") or (hidden_size // heads if hidden_size and heads else None),
        "vocab_size": integer(tree, "vocab_size"),
        "intermediate_size": integer(tree, "intermediate_size", "n_inner", "ffn_hidden_size"),
        "max_positions": max_positions(tree),
        # transformers 5 writes dtype, older versions torch_dtype.
        "dtype": text(tree, "dtype", "torch_dtype"),
    }


def max_positions(tree: Tree) -> int | None:
    """As the engine derives it: linear and dynamic RoPE scaling stretch the positions, YaRN's are stretched already."""
    positions = integer(tree, "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length")
    rope = tree.get("rope_scaling") or tree.get("rope_parameters")
    if positions is None or not isinstance(rope, dict):
        return positions
    factor = rope.get("factor")
    if text(rope, "rope_type", "type") in ("linear", "dynamic") and isinstance(factor, int | float):
        return int(positions * factor) if isfinite(factor) else positions
    return positions


def quantisation_of(config: Tree) -> Quantisation | None:
    """What config.json says about quantisation; compressed-tensors keeps bits and group size a level deeper."""
    tree = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(tree, dict):
        return None
    groups = tree.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    inner = weights if isinstance(weights, dict) else {}
    group_size = tree.get("group_size", inner.get("group_size"))
    flags = {key: value for key in ("desc_act", "sym") if isinstance(value := tree.get(key), bool)}
    return Quantisation(
        method=text(tree, "quant_method") or "unknown",
        bits=integer(tree, "bits", "w_bit") or integer(inner, "num_bits"),
        group_size=group_size if isinstance(group_size, int) else None,
        desc_act=flags.get("desc_act"),
        symmetric=flags.get("sym"),
    )


# --- index -----------------------------------------------------------------


def read_index(
    directory: Path, names: list[str], problems: list[ModelProblem]
) -> tuple[dict[str, str] | None, int | None]:
    """Tensor to shard, and the bytes of all tensors that the index claims; ``None`` for what it does not say."""
    if INDEX_FILE not in names:
        return None, None
    tree = read_json(directory, INDEX_FILE, problems)
    if tree is None:
        return None, None
    weight_map = tree.get("weight_map")
    if not isinstance(weight_map, dict) or not all(is_file_name(value) for value in weight_map.values()):
        problems.append(ModelProblem("index-invalid", INDEX_FILE, "its weight_map does not map tensors to file names"))
        return None, None
    metadata = tree.get("metadata")
    return weight_map, integer(metadata, "total_size") if isinstance(metadata, dict) else None


def is_file_name(value: object) -> bool:
    """Whether an index may name this as a shard: it is text from elsewhere, and must not lead out of the directory."""
    return isinstance(value, str) and value.isprintable() and value not in ("", ".", "..") and "/" not in value


def expected_shards(names: list[str], weight_map: Mapping[str, str] | None) -> list[str]:
    """The files that the engine would read, and those whose neighbours say that they should be there.

    With an index it reads what the index names; without, every safetensors
    file, of which ``model-00002-of-00037`` says that there are 37.
    """
    if weight_map is not None:
        return sorted(set(weight_map.values()))
    found = {name for name in names if name.endswith(".safetensors")}
    for name in sorted(found):
        match = re.fullmatch(r"(.+-)(\d+)-of-(\d+)(\.safetensors)", name)
        # A nonsense count must not become a million names.
        if match and int(match[3]) <= 10_000:
            width = len(match[2])
            found |= {f"{match[1]}{i:0{width}d}-of-{match[3]}{match[4]}" for i in range(1, int(match[3]) + 1)}
    return sorted(found)


def compare_with_index(
    weight_map: Mapping[str, str],
    index_total: int | None,
    by_shard: Mapping[str, Mapping[str, tuple[str, int]]],
    *,
    complete: bool,
) -> list[ModelProblem]:
    """Where index and headers disagree; shards without a readable header are reported elsewhere."""
    problems = []
    for shard, tensors in by_shard.items():
        absent = sorted(name for name, file in weight_map.items() if file == shard and name not in tensors)
        unnamed = sorted(name for name in tensors if weight_map.get(name) != shard)
        if absent:
            problems.append(
                ModelProblem("tensor-missing", shard, f"the index places {some(absent)} here, which it lacks")
            )
        if unnamed:
            problems.append(ModelProblem("tensor-not-in-index", shard, f"it holds {some(unnamed)} beside the index"))
    total = sum(size for tensors in by_shard.values() for _, size in tensors.values())
    if complete and index_total is not None and index_total != total:
        detail = f"it claims {index_total} bytes of tensors, the shards have {total}"
        problems.append(ModelProblem("index-total-size", INDEX_FILE, detail))
    return problems


def some(names: list[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def shard_problem(shard: ShardFacts) -> ModelProblem:
    if shard.detail.startswith("a git-lfs pointer"):
        return ModelProblem("lfs-pointer", shard.file, shard.detail)
    return ModelProblem(f"shard-{shard.status}", shard.file, shard.detail)


def no_weights(names: list[str]) -> ModelProblem:
    others = sorted({Path(name).suffix for name in names} & {".bin", ".pt", ".pth", ".gguf"})
    return ModelProblem("no-weights", "*.safetensors", f"none, only {', '.join(others)} files" if others else "none")


# --- downloads, tokenizer, fingerprint -------------------------------------


def partial_files(directory: Path, names: list[str]) -> tuple[str, ...]:
    """Files that downloads left unfinished: beside the shards, and where Hugging Face's tools keep theirs."""
    cache = directory / ".cache/huggingface/download"
    cached = sorted(str(path.relative_to(directory)) for path in cache.rglob("*.incomplete"))
    return (*(name for name in names if name.endswith(PARTIAL_SUFFIXES)), *cached)


def partial_problems(partial: tuple[str, ...], names: list[str], *, whole: bool) -> list[ModelProblem]:
    """Leftovers beside a whole checkpoint are harmless; one whose file is not there is an unfinished download."""
    return [
        ModelProblem("partial-download", name, "an unfinished download")
        for name in partial
        if not whole or ("/" not in name and name.rpartition(".")[0] not in names)
    ]


def has_tokenizer(directory: Path, names: list[str], problems: list[ModelProblem]) -> bool:
    present = next((name for name in ("tokenizer.json", "tokenizer.model", "tekken.json") if name in names), None)
    if present is None:
        if {"vocab.json", "merges.txt"} <= set(names) or any(name.endswith(".tiktoken") for name in names):
            return True
        problems.append(ModelProblem("tokenizer-missing", "tokenizer.json", "no tokenizer file"))
        return False
    try:
        with (directory / present).open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        problems.append(ModelProblem("tokenizer-unreadable", present, error.strerror or str(error)))
        return False
    if start.startswith(LFS_POINTER):
        problems.append(ModelProblem("lfs-pointer", present, pointer_detail(start)))
        return False
    return True


def has_chat_template(directory: Path, names: list[str]) -> bool:
    if "chat_template.jinja" in names or "chat_template.json" in names:
        return True
    # A broken tokenizer_config.json shows as a missing template; it is no reason of its own not to start.
    tree = read_json(directory, "tokenizer_config.json", []) or {}
    return bool(tree.get("chat_template"))


def fingerprint(directory: Path, shards: tuple[ShardFacts, ...]) -> str:
    """Sixteen hex digits that change with config.json and with any shard's name or size: a key for the history."""
    digest = hashlib.sha256()
    try:
        digest.update((directory / "config.json").read_bytes())
    except OSError:
        digest.update(b"no config.json")
    for shard in shards:
        digest.update(f"\n{shard.file} {shard.size_bytes}".encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]
