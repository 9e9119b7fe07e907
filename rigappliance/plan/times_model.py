"""The numbers of a model that its times are predicted from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rigappliance.errors import ConfigError
from rigappliance.facts.model import Quantisation

# Embedding and head stay in 16 bits, whatever the rest is quantised to.
END_BYTES = 2
# Methods that keep a matrix inputs first; the others keep it outputs first, as it was trained.
INPUTS_FIRST = frozenset(("gptq", "gptq_marlin", "awq", "awq_marlin"))


class Shape(Protocol):
    """What is read of a checkpoint: facts of a directory, or headers from a catalogue."""

    @property
    def layers(self) -> int | None: ...
    @property
    def hidden_size(self) -> int | None: ...
    @property
    def heads(self) -> int | None: ...
    @property
    def kv_heads(self) -> int | None: ...
    @property
    def head_dim(self) -> int | None: ...
    @property
    def intermediate_size(self) -> int | None: ...
    @property
    def vocab_size(self) -> int | None: ...
    @property
    def tensor_bytes(self) -> int: ...
    @property
    def quantisation(self) -> Quantisation | None: ...


@dataclass(frozen=True)
class Model:
    """A decoder. ``tied``: the head is the embedding. ``group`` inputs share a scale, 1 where none do.

    In a mixture of experts ``intermediate_size`` is that of one expert, of which
    a token uses ``used_experts``; one that all tokens share is not told apart.
    """

    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tensor_bytes: int
    tied: bool = False
    group: int = 1
    inputs_first: bool = False
    experts: int = 1
    used_experts: int = 1

    @property
    def end_bytes(self) -> int:
        """The embedding, and as much again the head."""
        return self.vocab_size * self.hidden_size * END_BYTES

    @property
    def body_bytes(self) -> int:
        """All layers."""
        return max(0, self.tensor_bytes - self.end_bytes * (1 if self.tied else 2))

    @property
    def inputs_split(self) -> int:
        """Weights of a layer whose inputs tensor parallelism shares out: the output and the down projection."""
        return self.hidden_size * (self.heads * self.head_dim + self.experts * self.intermediate_size)

    @property
    def outputs_split(self) -> int:
        """Weights of a layer whose outputs it shares out: query, key, value, gate and up projections."""
        heads = self.heads + 2 * self.kv_heads
        return self.hidden_size * (heads * self.head_dim + self.experts * 2 * self.intermediate_size)

    @property
    def idle(self) -> int:
        """Weights of a layer that one token leaves alone: those of the experts that it does not use."""
        return 3 * self.hidden_size * self.intermediate_size * (self.experts - self.used_experts)

    def read_share(self, tokens: int) -> float:
        """Share of the layers' weights that a step reads for ``tokens``, each of which picks its own experts."""
        unused = (1 - self.used_experts / self.experts) ** tokens if self.experts > 1 else 0.0
        in_experts = 3 * self.hidden_size * self.intermediate_size * self.experts
        return 1 - unused * in_experts / (self.inputs_split + self.outputs_split)


def model_of(shape: Shape) -> Model:
    """Raises ``ConfigError`` where config.json leaves a number out, and without weights."""
    needed = ("layers", "hidden_size", "heads", "kv_heads", "head_dim", "intermediate_size", "vocab_size")
    numbers = {name: getattr(shape, name) for name in needed}
    missing = [name for name, number in numbers.items() if number is None]
    if missing:
        raise ConfigError(
            f"config.json does not say the model's {', '.join(missing)}",
            "a config.json with the shape of a decoder",
            "download config.json again, or plan another model",
        )
    if not shape.tensor_bytes:
        raise ConfigError(
            "the size of the model's weights is not known",
            "safetensors shards, or their headers",
            "download the checkpoint, or plan one of the catalogue",
        )
    quantisation = shape.quantisation
    inputs_first = quantisation is not None and quantisation.method in INPUTS_FIRST
    group = (quantisation.group_size or 1) if quantisation and inputs_first else 1
    return Model(
        **{**numbers, **experts_of(getattr(shape, "config", {}))},
        tensor_bytes=shape.tensor_bytes,
        tied=bool(getattr(shape, "tied", False)),
        group=max(1, group),
        inputs_first=inputs_first,
    )


def experts_of(config: Mapping[str, Any]) -> dict[str, int]:
    """What config.json says of a mixture of experts, as keyword arguments of ``Model``; nothing of a dense model."""
    experts = config.get("num_experts") or config.get("num_local_experts")
    used, size = config.get("num_experts_per_tok"), config.get("moe_intermediate_size")
    if not isinstance(experts, int) or not isinstance(used, int) or not 0 < used <= experts:
        return {}
    told = {"experts": experts, "used_experts": used}
    return {**told, "intermediate_size": size} if isinstance(size, int) else told
