"""What NVML says is wrong with the cards at an engine's end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# nvml.h: the query does not exist on this card, or is not this user's; neither says that the card is ill.
HARMLESS = frozenset({"NVML_ERROR_NOT_SUPPORTED", "NVML_ERROR_NO_PERMISSION"})


def count_cards() -> int:
    """How many cards answer now; opens NVML for good, which the sampling of their memory does anyway."""
    from rigappliance.facts.gpu import polling_session

    return sum(handle is not None for handle in polling_session()[1])


def card_lines(before: int) -> tuple[str, ...]:
    """One line for each card that is lost or ill. ``before`` cards answered at the start. Raises nothing."""
    from rigappliance.facts.gpu import polling_session, read_gpu_facts

    nvml, handles = polling_session()
    lines = list(ill(nvml, handles))
    facts = read_gpu_facts()
    lines += [f"card {card.index}: {card.problem}" for card in facts.cards if card.problem]
    answering = sum(card.problem is None for card in facts.cards)
    if answering < before:
        lines.append(f"{answering} of {before} cards answer" + (f": {facts.reason}" if facts.reason else ""))
    return tuple(dict.fromkeys(lines))


def ill(nvml: Any, handles: Iterable[Any]) -> Iterable[str]:
    """By handles from before: a card that fell off the bus says so only to them."""
    if nvml is None:
        return
    harmless = {getattr(nvml, name, None) for name in HARMLESS}
    for index, handle in enumerate(handles):
        if handle is None:
            continue
        try:
            nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError as error:
            if getattr(error, "value", None) not in harmless:
                yield f"card {index}: {error}"
