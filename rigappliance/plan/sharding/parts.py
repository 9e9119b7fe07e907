"""The modules of a model as one rank holds them.

Sizes are those of the rank unless a name says otherwise; ``sources`` are the modules of the checkpoint that the engine
puts together, with the rows that each of them has there.
"""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.errors import PreflightError

# vllm/model_executor/layers/vocab_parallel_embedding.py, DEFAULT_VOCAB_PADDING_SIZE.
VOCABULARY_PADDING = 64


class ImpossibleLayoutError(PreflightError):
    """A layout that the engine itself refuses for this checkpoint."""


@dataclass(frozen=True)
class Linear:
    """A matrix of ``inputs`` by the sum of ``outputs`` (one a logical part: q, k and v).

    It may be quantised; those that makers of checkpoints leave as they are have ``quantisable`` false.
    """

    name: str
    sources: tuple[tuple[str, int], ...]
    inputs: int
    whole_inputs: int
    outputs: tuple[int, ...]
    bias: bool = False
    quantisable: bool = True

    @property
    def split_inputs(self) -> bool:
        """Whether ranks share its inputs (row parallel)."""
        return self.inputs != self.whole_inputs

    @property
    def split_outputs(self) -> bool:
        """Whether ranks share its outputs (column parallel)."""
        return sum(self.outputs) != sum(rows for _, rows in self.sources)


@dataclass(frozen=True)
class Experts:
    """The experts of a layer, each a gate, an up and a down matrix."""

    name: str
    count: int
    hidden_size: int
    intermediate_size: int


@dataclass(frozen=True)
class Plain:
    """A tensor in the engine's dtype: a norm, a slice of the embedding or of the head, the table of rotations."""

    name: str
    shape: tuple[int, ...]
    source: str = ""
    source_shape: tuple[int, ...] = ()


Module = Linear | Experts | Plain


def divided(what: str, count: int, ranks: int) -> int:
    """``count // ranks``; raises ``ImpossibleLayoutError`` where that leaves a rest, as the engine does."""
    if count % ranks:
        raise ImpossibleLayoutError(
            f"{what} ({count}) cannot be shared by {ranks} ranks",
            f"a number of ranks that divides {count}",
            "lower engine.tensor_parallel, and raise engine.pipeline_parallel instead",
        )
    return count // ranks


def padded(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
