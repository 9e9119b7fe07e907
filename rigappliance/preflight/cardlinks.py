"""How the cards are connected: to the host, and to each other."""

from __future__ import annotations

from collections import Counter

from rigappliance.facts.gpu import CardFacts
from rigappliance.facts.peers import PeerFacts
from rigappliance.preflight.finding import Finding, ok, warn

# With fewer cards of a kind there is no telling which is the odd one: slots of one board may differ.
CROWD = 3


def check_links(cards: tuple[CardFacts, ...]) -> Finding:
    """A x1 link is slow and no reason not to start; one that is slower than its fellows is a fault."""
    links: dict[str, int] = {}
    for card in cards:
        # An idle card lowers its generation but not its width.
        generation, width = card.pcie_generation_max or card.pcie_generation, card.pcie_width
        link = f"generation {generation or 'unknown'} x{width or ' unknown'}"
        if width and card.pcie_width_max and width < card.pcie_width_max:
            link += f" of x{card.pcie_width_max}"
        links[link] = links.get(link, 0) + 1
    found = "PCIe " + ", ".join(f"{link} ({count} cards)" for link, count in sorted(links.items()))
    odd = slower_than_most(cards)
    if not odd:
        return ok("cards.pcie", found)
    return warn(
        "cards.pcie",
        f"{'; '.join(odd)}: all cards wait for the slowest link ({found})",
        "the same link for cards of one kind",
        "power off and reseat its riser and cable, try another slot, and see `lspci -vv` (LnkSta against LnkCap)",
    )


def slower_than_most(cards: tuple[CardFacts, ...]) -> list[str]:
    """Cards with a link below that of more than half of their kind."""
    odd = []
    for name in sorted({card.name or "" for card in cards}):
        kind = [card for card in cards if (card.name or "") == name]
        if len(kind) < CROWD:
            continue
        for what, values in (
            ("x", [card.pcie_width for card in kind]),
            ("generation ", [card.pcie_generation_max for card in kind]),
        ):
            usual, count = Counter(values).most_common(1)[0]
            if usual is None or count * 2 <= len(kind):
                continue
            odd += [
                f"card {card.index} has PCIe {what}{value} where the others have {what}{usual}"
                for card, value in zip(kind, values, strict=True)
                if value is not None and value < usual
            ]
    return odd


def check_peers(peers: PeerFacts | None) -> Finding | None:
    """For the record: most cards for games have no access to each other, and NCCL then goes through the host."""
    if peers is None or not peers.pairs:
        return None
    if peers.connected == peers.pairs:
        return ok("cards.peer", "every card reads every other's memory")
    reasons = f" ({'; '.join(peers.reasons)})" if peers.reasons else ""
    some = f"{peers.connected} of {peers.pairs} pairs of cards" if peers.connected else "no card"
    return ok("cards.peer", f"{some} can read another's memory{reasons}: data goes through the host")
