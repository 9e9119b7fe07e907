"""The memory of each card: what the engine budgets, and what the card really has to hold.

The engine plans with ``utilisation`` times the memory that CUDA sees, and counts from a snapshot that it takes when
CUDA's context and NCCL are there already: both lie outside of its budget, as does what the driver keeps for itself.
(v1/worker/gpu_worker.py, init_device and determine_available_memory; utils/mem_utils.py.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rigappliance.errors import PreflightError
from rigappliance.facts.gpu import CardFacts
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.cardlines import RankMemory
from rigappliance.plan.coefficients import Coefficients, shipped
from rigappliance.plan.kvcache import (
    block_tokens,
    kv_blocks,
    kv_bytes_per_token,
    kv_needed_bytes,
    kv_tokens,
    sliding_window,
)
from rigappliance.plan.ledger import Ledger, Line
from rigappliance.plan.sharding.ranks import RankWeights, weights_of_ranks
from rigappliance.plan.tensors import CheckpointShape, UnknownShapeError


@dataclass(frozen=True)
class CardPlan:
    """One rank on one card.

    ``ledger`` is the card's own memory.  ``budget`` is the engine's sum, whose ``kv-cache`` line is what the sum leaves
    or, where that is less than one request of ``max_model_len`` needs, that need: then ``budget.overflow`` is not
    ``None`` and the engine refuses to start.  ``refusal`` says why it would even before that.  ``doubts`` are the bytes
    by which lines may be larger than said, unnoticed by the engine's budget.
    """

    card: int
    stage: int
    ledger: Ledger
    budget: Ledger
    kv_available_bytes: int
    doubts: tuple[Line, ...]
    refusal: str = ""

    @property
    def fits(self) -> bool:
        return not self.refusal and self.budget.overflow is None and self.ledger.overflow is None

    @property
    def doubt_bytes(self) -> int:
        return sum(line.size_bytes for line in self.doubts)

    @property
    def safe(self) -> bool:
        """Whether it fits even if every line that nobody measured here is as large as it may be."""
        return self.fits and self.ledger.free_bytes >= self.doubt_bytes


@dataclass(frozen=True)
class MemoryPlan:
    """All cards of a layout. ``kv_tokens`` is ``None`` where the model's cache is not known; ``notes`` are caveats."""

    cards: tuple[CardPlan, ...]
    kv_tokens: int | None
    exact_weights: bool
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        return all(card.fits for card in self.cards)

    @property
    def safe(self) -> bool:
        return all(card.safe for card in self.cards)

    @property
    def fullest(self) -> CardPlan:
        """The card that decides."""
        return min(self.cards, key=lambda card: (card.fits, card.ledger.free_bytes))


def card_ledgers(
    shape: CheckpointShape,
    arguments: EngineArguments,
    cards: Sequence[CardFacts | int],
    coefficients: Coefficients | None = None,
    partition: str | None = None,
) -> tuple[Ledger, ...]:
    """The ledgers of ``plan_memory`` alone, one a rank in the order of the cards."""
    return tuple(card.ledger for card in plan_memory(shape, arguments, cards, coefficients, partition).cards)


def plan_memory(
    shape: CheckpointShape,
    arguments: EngineArguments,
    cards: Sequence[CardFacts | int],
    coefficients: Coefficients | None = None,
    partition: str | None = None,
) -> MemoryPlan:
    """What each card holds. ``cards`` are facts or sizes in bytes (NVML's total), as many as there are ranks or more.

    ``partition`` is ``VLLM_PP_LAYER_PARTITION``.  Raises ``ImpossibleLayoutError`` where the engine refuses the layout,
    and ``PreflightError`` where cards are too few or do not say their memory.
    """
    held = weights_of_ranks(
        shape, arguments.tensor_parallel, arguments.pipeline_parallel, dtype=arguments.dtype, partition=partition
    )
    if len(cards) < arguments.ranks:
        raise PreflightError(
            f"{arguments.ranks} ranks and {len(cards)} cards",
            "a card for each rank",
            "lower engine.tensor_parallel or engine.pipeline_parallel",
        )
    ranks = [
        RankMemory(
            shape,
            arguments,
            held[index // arguments.tensor_parallel],
            index,
            card,
            coefficients or shipped(),
            partition,
        )
        for index, card in enumerate(cards[: arguments.ranks])
    ]
    room = [min(rank.available_bytes for rank in ranks if rank.weights.stage == stage) for stage in range(len(held))]
    try:
        needed = [kv_needed_bytes(shape, arguments, stage, partition=partition) for stage in range(len(held))]
        blocks = kv_blocks(shape, arguments, room, partition=partition)
        caches = [blocks * block_bytes(shape, arguments, stage, partition) for stage in range(len(held))]
        tokens: int | None = kv_tokens(shape, arguments, room, partition=partition)
    except UnknownShapeError:
        needed, caches, tokens = [0] * len(held), [max(0, left) for left in room], None
    plans = tuple(card_plan(rank, caches[rank.weights.stage], needed[rank.weights.stage]) for rank in ranks)
    return MemoryPlan(plans, tokens, held[0].exact, notes(shape, held, tokens))


def block_bytes(shape: CheckpointShape, arguments: EngineArguments, stage: int, partition: str | None) -> int:
    return block_tokens(arguments, "cuda") * kv_bytes_per_token(shape, arguments, stage, partition=partition)


def notes(shape: CheckpointShape, held: Sequence[RankWeights], tokens: int | None) -> tuple[str, ...]:
    found = [] if held[0].exact else [held[0].note]
    if tokens is None:
        found.append("how this model caches keys and values is not known: the tokens cannot be said")
    window = sliding_window(shape)
    if window is not None and tokens is not None:
        found.append(f"layers look back {window} tokens: the engine may say more tokens than this")
    return tuple(found)


def card_plan(rank: RankMemory, cache_bytes: int, needed_bytes: int) -> CardPlan:
    """With a cache of so many bytes, of which one request needs at least ``needed_bytes``."""
    declared = rank.arguments.kv_cache_memory_bytes
    short = rank.available_bytes < needed_bytes
    if short:
        note = f"one request of {rank.arguments.max_model_len} tokens"
    else:
        note = "what the budget leaves" if declared is None else "kv_cache_memory_bytes"
    line = Line(
        "kv-cache", needed_bytes if short else cache_bytes, "derived" if declared is None or short else "declared", note
    )
    inside_bytes = sum(one.size_bytes for one in rank.inside)
    capacity_bytes = rank.budget_bytes if declared is None else inside_bytes + declared
    return CardPlan(
        card=rank.number,
        stage=rank.weights.stage,
        ledger=Ledger(rank.owner, rank.total_bytes, (*rank.before, *rank.held, line, *rank.after)),
        budget=Ledger(f"the engine's budget on {rank.owner}", capacity_bytes, (*rank.inside, line)),
        kv_available_bytes=rank.available_bytes,
        doubts=rank.doubts,
        # The check stands before the engine looks at kv_cache_memory_bytes.
        refusal=rank.refusal,
    )
