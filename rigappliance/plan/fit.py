"""Whether a start fits its cards: yes, only just, or not, and which line of the ledger is in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rigappliance.facts.gpu import CardFacts
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.memory import CardPlan, MemoryPlan, plan_memory
from rigappliance.plan.sharding.parts import ImpossibleLayoutError
from rigappliance.plan.tensors import CheckpointShape
from rigappliance.units import format_size


class Verdict(StrEnum):
    """``UNSAFE``: it fits by the numbers, but what differs from start to start may be more than what is left."""

    FITS = "fits"
    UNSAFE = "unsafe"
    TOO_LARGE = "does not fit"


@dataclass(frozen=True)
class Fit:
    """``line`` is the name of the ledger's line that finds no room, ``reason`` a clause; both empty where it fits."""

    arguments: EngineArguments
    verdict: Verdict
    line: str = ""
    reason: str = ""
    memory: MemoryPlan | None = None

    @property
    def requests(self) -> int:
        """Requests of ``max_model_len`` tokens that the KV cache holds at a time; 0 where that is not known."""
        tokens = self.memory.kv_tokens if self.memory else None
        return (tokens or 0) // self.arguments.max_model_len


@dataclass(frozen=True)
class CardQuestion:
    """All that a fit depends on but the engine's arguments."""

    shape: CheckpointShape
    cards: Sequence[CardFacts | int]
    numbers: Coefficients
    margin_bytes: int = 0
    partition: str | None = None

    def fit(self, arguments: EngineArguments) -> Fit:
        """Raises ``PreflightError`` where cards are too few or do not say their memory."""
        try:
            memory = plan_memory(self.shape, arguments, self.cards, self.numbers, self.partition)
        except ImpossibleLayoutError as error:
            return Fit(arguments, Verdict.TOO_LARGE, "layout", error.found)
        for card in memory.cards:
            if not card.fits:
                line, reason = overflow_of(card)
                return Fit(arguments, Verdict.TOO_LARGE, line, reason, memory)
        fullest = memory.fullest
        left = fullest.ledger.free_bytes
        if left < self.margin_bytes:
            reason = (
                f"{format_size(left)} of {fullest.ledger.owner} would be free, less than the margin of "
                f"{format_size(self.margin_bytes)} (hardware.card_margin)"
            )
            return Fit(arguments, Verdict.UNSAFE, fullest.ledger.lines[-1].name, reason, memory)
        if not memory.safe:
            doubts = ", ".join(f"{line.name} {format_size(line.size_bytes)}" for line in fullest.doubts)
            reason = f"{format_size(left)} of {fullest.ledger.owner} would be free, and more may be used: {doubts}"
            return Fit(arguments, Verdict.UNSAFE, fullest.doubts[0].name, reason, memory)
        return Fit(arguments, Verdict.FITS, memory=memory)


def overflow_of(card: CardPlan) -> tuple[str, str]:
    """The line that is in the way on a card that does not fit, and a clause about it."""
    if card.budget.overflow is not None:
        line = card.budget.overflow
        over = format_size(-card.budget.free_bytes)
        return line.name, f"{card.budget.owner} is {over} short: {line.name} finds no room ({line.note or line.basis})"
    if card.ledger.overflow is not None:
        line = card.ledger.overflow
        over = format_size(-card.ledger.free_bytes)
        return line.name, f"{card.ledger.owner} is {over} short: {line.name} finds no room"
    return "budget", card.refusal
