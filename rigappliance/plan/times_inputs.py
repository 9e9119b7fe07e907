"""What times are predicted from: the numbers of a model, and those of a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rigappliance.errors import ConfigError
from rigappliance.facts.gpu import CardFacts
from rigappliance.facts.host import HostFacts
from rigappliance.facts.model import Quantisation
from rigappliance.plan.cardtable import Card, card_named
from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.links import Link, pcie_link

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
    """A dense decoder. ``tied``: the head is the embedding. ``group`` inputs share a scale, 1 where none do.

    A mixture of experts is taken for dense: all of it is read for each token, which is the slow end of the truth.
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
        return self.hidden_size * (self.heads * self.head_dim + self.intermediate_size)

    @property
    def outputs_split(self) -> int:
        """Weights of a layer whose outputs it shares out: query, key, value, gate and up projections."""
        return self.hidden_size * ((self.heads + 2 * self.kv_heads) * self.head_dim + 2 * self.intermediate_size)


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
    tied = bool(getattr(shape, "tied", False))
    return Model(**numbers, tensor_bytes=shape.tensor_bytes, tied=tied, group=max(1, group), inputs_first=inputs_first)


@dataclass(frozen=True)
class Machine:
    """Cards are taken for alike: the weakest of them and the narrowest link set the pace of a step.

    ``core_speed`` is against the fast core that the coefficients were measured
    on.  ``disk_bandwidth`` is that of a sequential read, in bytes/s; ``None``
    leaves it to the kind of disk.  ``disk_bytes`` is the disk's size.
    """

    cards: int
    card: Card
    link: Link
    cores: int
    core_speed: float = 1.0
    disk_rotates: bool = True
    disk_bandwidth: float | None = None
    disk_bytes: int | None = None
    read_ahead_bytes: int | None = None


def machine_of(
    host: HostFacts,
    cards: Sequence[CardFacts],
    known: Coefficients,
    *,
    peer_access: bool = False,
    shared: float | None = None,
    disk_bandwidth: float | None = None,
) -> Machine:
    """The machine that facts tell of. Raises ``ConfigError`` without cards, and for one that the table lacks."""
    found = [(facts, card_named(facts.name or "", facts.memory_total_bytes)) for facts in cards if not facts.problem]
    models = [card for _, card in found if card]
    unknown = sorted({facts.name or f"card {facts.index}" for facts, card in found if card is None})
    if unknown or not models:
        raise ConfigError(
            f"not in the table of cards: {', '.join(unknown)}" if unknown else "no card",
            "cards whose bandwidth and compute are known",
            "name a card of the table that is like it in the machine's facts" if unknown else "see `nvidia-smi`",
        )
    links = [link_of(facts, card, peer_access, shared) for facts, card in found if card]
    slow = known.number("times.core_speed_old")
    return Machine(
        cards=len(models),
        card=min(models, key=lambda card: card.memory_bandwidth),
        link=min(links, key=lambda link: link.raw),
        cores=host.cpu.cores_logical or 1,
        # Boards for mining carry Pentiums and Celerons, and those of that time lack AVX2.
        core_speed=1.0 if not host.cpu.flags or "avx2" in host.cpu.flags else slow,
        disk_rotates=host.disk.rotational is not False,
        disk_bandwidth=disk_bandwidth,
        disk_bytes=host.disk.total_bytes,
    )


def link_of(facts: CardFacts, card: Card, peer_access: bool, shared: float | None) -> Link:
    """The link in use. An idle card lowers its generation, so the highest that it may have counts."""
    generation = facts.pcie_generation_max or facts.pcie_generation or card.pcie_generation
    width = facts.pcie_width or facts.pcie_width_max or card.pcie_width
    return pcie_link(
        min(generation, card.pcie_generation), min(width, card.pcie_width), peer_access=peer_access, shared=shared
    )
