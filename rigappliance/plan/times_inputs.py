"""The numbers of a machine that times are predicted from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rigappliance.errors import ConfigError
from rigappliance.facts.gpu import CardFacts
from rigappliance.facts.host import HostFacts
from rigappliance.plan.cardtable import Card, card_named
from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.links import Link, pcie_link


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
