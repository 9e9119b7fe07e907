"""Is a card too hot, slowed down, or broken?"""

from __future__ import annotations

from rigappliance.facts.gpu import CardFacts
from rigappliance.facts.kernelmessages import KernelFaults
from rigappliance.preflight.finding import Finding, counted, ok, warn

# Below the temperature at which the card slows itself down, and where that is unknown.
MARGIN_C = 5
HOT_C = 85


def check_temperature(cards: tuple[CardFacts, ...]) -> Finding:
    """Now, when nothing computes: a card that is hot idle will be slowed down or lost under load."""
    hot = []
    for card in cards:
        threshold = card.health.temperature_slowdown_c if card.health else None
        limit = threshold - MARGIN_C if threshold else HOT_C
        if card.temperature_c is not None and card.temperature_c >= limit:
            hot.append(f"card {card.index} has {card.temperature_c} °C" + (f" of {threshold}" if threshold else ""))
    known = [card.temperature_c for card in cards if card.temperature_c is not None]
    if not hot:
        low, high = min(known, default=None), max(known, default=None)
        if low is None:
            return ok("cards.temperature", "temperatures are unknown")
        return ok("cards.temperature", f"{low} °C" if low == high else f"{low} to {high} °C")
    return warn(
        "cards.temperature",
        "; ".join(hot),
        f"{MARGIN_C} °C or more below what slows a card down ({HOT_C} °C where it does not say)",
        "clean and check its fan, give it air, or lower its power limit (`nvidia-smi -i N -pl WATTS`)",
    )


def check_slowdown(cards: tuple[CardFacts, ...]) -> Finding:
    """The card's own word for why it runs slower than it could."""
    slowed = [
        f"card {card.index}: {', '.join(card.health.slowed_by)}"
        for card in cards
        if card.health and card.health.slowed_by
    ]
    if not slowed:
        return ok("cards.slowdown", "no card is slowed down")
    return warn(
        "cards.slowdown",
        "; ".join(slowed),
        "cards that run at the clocks that they are set to",
        "see `nvidia-smi -q -d PERFORMANCE,TEMPERATURE`; check power cables, risers and fans",
    )


def check_memory_errors(cards: tuple[CardFacts, ...]) -> Finding:
    """ECC is a matter of server cards; the others cannot tell."""
    wrong = []
    for card in cards:
        health = card.health
        if health is None:
            continue
        problems = [
            counted(health.ecc_uncorrected, "uncorrected memory error") if health.ecc_uncorrected else "",
            "bad memory waits to be replaced by spare memory" if health.pages_pending else "",
            "no spare memory is left for what is bad" if health.remap_failed else "",
        ]
        if any(problems):
            wrong.append(f"card {card.index}: {', '.join(filter(None, problems))}")
    if not wrong:
        with_ecc = sum(bool(card.health and card.health.ecc) for card in cards)
        found = f"no memory errors ({with_ecc} cards with ECC)" if with_ecc else "the cards have no ECC that is on"
        return ok("cards.ecc", found)
    return warn(
        "cards.ecc",
        "; ".join(wrong),
        "no uncorrected errors, and none that wait for a reset",
        "reboot, which replaces what can be replaced; a card with errors again afterwards is worn out: see "
        "`nvidia-smi -q -d ECC,ROW_REMAPPER`",
    )


def check_xids(faults: KernelFaults | None) -> Finding:
    """What the driver has told the kernel's log about cards since the machine started."""
    if faults is None:
        return ok("cards.xid", "only root can read what the kernel says about the cards")
    if not faults.cards:
        return ok("cards.xid", "the driver has named no fault of a card since the machine started")
    count, last = counted(len(faults.cards), "fault"), faults.cards[-1].strip()
    return warn(
        "cards.xid",
        f"{count} of a card since the machine started, the last: {last}",
        "none",
        "look at that card's riser, cable and power supply, then reboot; see `dmesg | grep -i xid`, and what the "
        "number means in NVIDIA's list of Xid errors",
    )
