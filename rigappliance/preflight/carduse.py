"""Who computes on the cards already, and may another process?"""

from __future__ import annotations

from collections.abc import Iterable

from rigappliance.facts.cardhealth import CardProcess
from rigappliance.facts.gpu import CardFacts
from rigappliance.preflight.finding import Finding, fail, ok, warn
from rigappliance.units import format_size


def check_users(cards: tuple[CardFacts, ...]) -> Finding:
    """Processes that compute on a card; each takes memory and time from the engine."""
    busy = [(card, card.health.processes) for card in cards if card.health and card.health.processes]
    if not busy:
        return ok("cards.users", "no process computes on a card")
    found = "; ".join(f"card {card.index}: {listed(processes)}" for card, processes in busy)
    pids = sorted({process.pid for _, processes in busy for process in processes})
    return warn(
        "cards.users",
        found,
        "cards that nobody else uses",
        f"end them if they are not wanted: `kill {' '.join(map(str, pids))}`; see `nvidia-smi`",
    )


def listed(processes: Iterable[CardProcess]) -> str:
    return ", ".join(
        f"process {process.pid}"
        + (f" ({process.name})" if process.name else "")
        + (f" with {format_size(process.used_bytes)}" if process.used_bytes is not None else "")
        for process in processes
    )


def check_compute_mode(cards: tuple[CardFacts, ...]) -> Finding:
    """A card may forbid CUDA altogether, or to a second process."""
    for card in cards:
        if card.health is None or card.health.compute_mode in (None, "default"):
            continue
        mode = card.health.compute_mode
        if mode == "exclusive process" and not card.health.processes:
            continue
        return fail(
            "cards.mode",
            f"the compute mode of card {card.index} is {mode}",
            "default: the engine's worker may use the card",
            f"run `nvidia-smi -i {card.index} -c DEFAULT` as root",
        )
    return ok("cards.mode", "the engine may use every card")
