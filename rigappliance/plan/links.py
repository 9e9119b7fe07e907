"""What it costs to move bytes between cards: a link, an all-reduce over ranks, a hand-over between stages.

Cards without peer access, which all on mining risers are, meet in host memory:
the sending card writes into it and the receiving card reads from it (NCCL's
shared memory transport).  The cards do this themselves; the CPU copies nothing,
so two slow cores do not make a transfer slower.  What they do to a step is in
:mod:`rigappliance.plan.times_cpu`.
"""

from __future__ import annotations

from dataclasses import dataclass

from rigappliance.errors import ConfigError
from rigappliance.plan.coefficients import Coefficients

# Transfers a second and lane in 10^9, and the bits of data in the bits that a lane carries (8b/10b, then 128b/130b;
# generation 6 carries flits, of which 236 bytes in 256 are data).
GENERATIONS = {
    1: (2.5, 8 / 10),
    2: (5.0, 8 / 10),
    3: (8.0, 128 / 130),
    4: (16.0, 128 / 130),
    5: (32.0, 128 / 130),
    6: (64.0, 236 / 256),
}
WIDTHS = (1, 2, 4, 8, 12, 16, 32)
# NCCL's LL protocol sends a flag with each word, so that a reader need not wait for the whole.
FLAGGED = 2
# Plain words go in slices, of which a part has two at least.
HALVES = 2


@dataclass(frozen=True)
class Link:
    """One card's way to the others. ``raw`` is in bytes/s each way, after encoding and before protocol.

    ``peer_access`` is whether cards read and write each other's memory.
    ``shared`` is what the way to host memory gives to all cards together, where
    they share one (a chipset's uplink), in bytes/s; ``None`` where it is no limit.
    """

    raw: float
    peer_access: bool = False
    shared: float | None = None


def pcie_link(generation: int, width: int, *, peer_access: bool = False, shared: float | None = None) -> Link:
    """Raises ``ConfigError`` for a generation or width that PCIe does not have."""
    return Link(raw_bandwidth(generation, width), peer_access, shared)


def raw_bandwidth(generation: int, width: int) -> float:
    """Bytes/s each way: 250 MB/s for generation 1 x1."""
    if generation not in GENERATIONS or width not in WIDTHS:
        raise ConfigError(
            f"PCIe generation {generation} x{width}",
            f"generation 1 to {max(GENERATIONS)}, width {', '.join(map(str, WIDTHS))}",
            "correct the facts of the machine",
        )
    transfers, data = GENERATIONS[generation]
    return transfers * 1e9 * data * width / 8


def copy_bandwidth(link: Link, at_once: int, known: Coefficients) -> float:
    """Bytes/s from host to card while ``at_once`` cards do so: that of loading weights."""
    alone = link.raw * known.number("times.pcie_efficiency")
    return alone if link.shared is None else min(alone, link.shared / at_once)


def card_bandwidth(link: Link, at_once: int, known: Coefficients) -> float:
    """Bytes/s from card to card while ``at_once`` cards send, each to its neighbour."""
    if link.peer_access:
        return link.raw * known.number("times.pcie_efficiency")
    alone = min(link.raw * known.number("times.staged_efficiency"), known.number("times.staged_bandwidth"))
    return alone if link.shared is None else min(alone, link.shared / at_once)


def hop_latency(link: Link, known: Coefficients) -> float:
    return known.number("times.hop_peer" if link.peer_access else "times.hop_staged")


def stored_bytes(size_bytes: float, link: Link, known: Coefficients) -> float:
    """What lies in host memory before its reader starts; the rest flows while it is written."""
    return 0.0 if link.peer_access else min(size_bytes / HALVES, known.number("times.slice_bytes"))


def all_reduce_s(size_bytes: float, ranks: int, link: Link, known: Coefficients) -> float:
    """Seconds to sum ``size_bytes`` over ``ranks``, as NCCL's ring does: 2 (k − 1) hops of a k-th each.

    Of NCCL's two ways through a hop the faster is taken, as NCCL does: flagged
    words, which double the bytes and flow on at once, or plain ones, which take
    longer to announce, and on the way through host memory are stored by slices.
    """
    if ranks == 1:
        return 0.0
    part, bandwidth = size_bytes / ranks, card_bandwidth(link, ranks, known)
    flagged = FLAGGED * part / bandwidth
    plain = known.number("times.hop_plain") + (part + stored_bytes(part, link, known)) / bandwidth
    return known.number("times.collective_base") + 2 * (ranks - 1) * (hop_latency(link, known) + min(flagged, plain))


def all_gather_s(size_bytes: float, ranks: int, link: Link, known: Coefficients) -> float:
    """Seconds until each of ``ranks`` has all ``size_bytes``, of which it had a share: half an all-reduce."""
    base = known.number("times.collective_base")
    return 0.0 if ranks == 1 else base + (all_reduce_s(size_bytes, ranks, link, known) - base) / 2


def hand_over_s(size_bytes: float, link: Link, known: Coefficients) -> float:
    """Seconds to hand ``size_bytes`` from one pipeline stage to the next."""
    sent = (size_bytes + stored_bytes(size_bytes, link, known)) / card_bandwidth(link, 1, known)
    return known.number("times.collective_base") + hop_latency(link, known) + sent
