"""The shape of a checkpoint: config.json and the header of every tensor, from a directory or from the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from sys import intern
from typing import Any

from rigappliance.errors import PreflightError
from rigappliance.facts.model import (
    ModelProblem,
    Quantisation,
    expected_shards,
    quantisation_of,
    read_index,
    read_json,
    shape_of,
)
from rigappliance.facts.safetensors import DTYPE_BITS, read_shard


class UnknownShapeError(PreflightError):
    """A checkpoint whose bytes on a card cannot be derived; where a number is needed, only an estimate is left."""


@dataclass(frozen=True, slots=True)
class TensorShape:
    """One tensor of a checkpoint, its dtype as safetensors names it."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * DTYPE_BITS.get(self.dtype, 0) // 8


@dataclass(frozen=True)
class CheckpointShape:
    """A checkpoint without its data. ``tensors`` may be empty where only config.json is known.

    The numbers raise ``UnknownShapeError`` where config.json lacks them, so that no caller goes on with a guess.
    """

    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorShape]
    numbers: Mapping[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", shape_of(self.config))

    def number(self, key: str) -> int:
        value = self.numbers[key]
        if not isinstance(value, int):
            raise UnknownShapeError(
                f"config.json of {self.name} does not say its {key}",
                "a config.json as the transformers library writes it",
                "download config.json again",
            )
        return value

    @property
    def architecture(self) -> str:
        """The class that the engine picks: the first that config.json names; ``""`` where it names none."""
        named: tuple[str, ...] = self.numbers["architectures"]
        return named[0] if named else ""

    @property
    def layers(self) -> int:
        return self.number("layers")

    @property
    def hidden_size(self) -> int:
        return self.number("hidden_size")

    @property
    def heads(self) -> int:
        return self.number("heads")

    @property
    def kv_heads(self) -> int:
        return self.number("kv_heads")

    @property
    def head_dim(self) -> int:
        return self.number("head_dim")

    @property
    def intermediate_size(self) -> int:
        return self.number("intermediate_size")

    @property
    def vocab_size(self) -> int:
        return self.number("vocab_size")

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding; transformers' default, for models that do not say, depends on the type."""
        value = self.config.get("tie_word_embeddings")
        return value if isinstance(value, bool) else str(self.config.get("model_type", "")).startswith("gemma")

    @property
    def quantisation(self) -> Quantisation | None:
        return quantisation_of(self.config)

    @cached_property
    def tensor_bytes(self) -> int:
        """All tensors of the checkpoint, which is nearly what its files take on a disk."""
        return sum(tensor.size_bytes for tensor in self.tensors.values())


def read_shape(directory: Path) -> CheckpointShape:
    """The shape of the checkpoint in ``directory``, from its headers alone.

    Raises ``UnknownShapeError`` where config.json or the header of a shard cannot be read: half of the tensors would
    give half of the bytes.
    """
    problems: list[ModelProblem] = []
    config = read_json(directory, "config.json", problems)
    if config is None:
        raise unreadable(f"{directory / 'config.json'}: {problems[0].detail}")
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except OSError as error:
        raise unreadable(f"{directory}: {error.strerror or error}") from error
    weight_map, _ = read_index(directory, names, problems)
    tensors: dict[str, TensorShape] = {}
    for name in expected_shards(names, weight_map):
        shard, header = read_shard(directory / name)
        if header is None:
            raise unreadable(f"{directory / name}: {shard.detail}")
        for tensor, shape in header.shapes.items():
            tensors[tensor] = TensorShape(intern(header.tensors[tensor][0]), shape)
    if not tensors:
        raise unreadable(f"{directory} holds no safetensors shard")
    return CheckpointShape(directory.name, config, tensors)


def unreadable(found: str) -> UnknownShapeError:
    return UnknownShapeError(
        found,
        "a whole checkpoint: config.json and every safetensors shard",
        "run `rigappliance check`, which says what is missing, or plan with a model of the catalogue",
    )
