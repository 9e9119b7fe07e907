"""What the cards may draw, and whether the driver keeps them awake."""

from __future__ import annotations

from rigappliance.facts.gpu import CardFacts
from rigappliance.preflight.finding import Finding, ok, warn

# Rigs are often limited on purpose, to two thirds or so; far below, a card falls off its efficient clocks.
LEAST_SHARE = 0.5
PERSISTENCE = ("nvidia-smi", "-pm", "1")


def check_power(cards: tuple[CardFacts, ...]) -> Finding:
    """The limit that is set against the card's default and its lowest."""
    low, seen = [], set()
    for card in cards:
        default = card.health.power_default_w if card.health else None
        if card.power_limit_w is None or not default:
            continue
        seen.add(f"{card.power_limit_w:.0f} W of {default:.0f} W")
        if card.power_limit_w < LEAST_SHARE * default:
            least = card.health.power_least_w if card.health else None
            lowest = f", and the lowest is {least:.0f} W" if least else ""
            low.append((card, f"card {card.index} may draw {card.power_limit_w:.0f} W of {default:.0f} W{lowest}"))
    if not low:
        return ok("cards.power", f"limited to {', '.join(sorted(seen))}" if seen else "power limits are unknown")
    card = low[0][0]
    default = card.health.power_default_w if card.health else None
    return warn(
        "cards.power",
        "; ".join(text for _, text in low),
        f"{LEAST_SHARE:.0%} of the default or more, or prompts take far longer",
        f"run `nvidia-smi -i {card.index} -pl {(default or 0) * 0.7:.0f}` as root, if the power supply is made for it",
    )


def check_persistence(cards: tuple[CardFacts, ...]) -> Finding:
    """Without it the driver forgets a card that nobody uses, and takes seconds a card to start it again."""
    off = [str(card.index) for card in cards if card.health and card.health.persistence is False]
    if not off:
        return ok("cards.persistence", "the driver keeps the cards awake")
    return warn(
        "cards.persistence",
        f"persistence mode is off (card {', '.join(off)})",
        "on: a start does not wait for the cards, and their power limits stay",
        f"run `{' '.join(PERSISTENCE)}` as root, or enable nvidia-persistenced",
        (PERSISTENCE,),
    )
