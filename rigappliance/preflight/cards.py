"""Are the cards there, and do the weights fit them?"""

from __future__ import annotations

from rigappliance.config import RigConfig
from rigappliance.facts.gpu import CardFacts, GpuFacts
from rigappliance.facts.kernelmessages import KernelFaults
from rigappliance.facts.model import ModelFacts
from rigappliance.plan.kernels import activations_dtype, cache_refusal, dotted, least_capability
from rigappliance.preflight.cardcondition import check_memory_errors, check_slowdown, check_temperature, check_xids
from rigappliance.preflight.cardlinks import check_links, check_peers
from rigappliance.preflight.cardpower import check_persistence, check_power
from rigappliance.preflight.carduse import check_compute_mode, check_users, listed
from rigappliance.preflight.driver import check_driver
from rigappliance.preflight.finding import Finding, fail, ok, warn
from rigappliance.units import format_size

# NVML's total leaves out what the driver keeps, so a card always has a little less than its name says.
MEMORY_TOLERANCE = 0.05


def check_cards(
    config: RigConfig,
    gpu: GpuFacts,
    model: ModelFacts,
    *,
    faults: KernelFaults | None = None,
    cuda: int | None = None,
) -> list[Finding]:
    """All findings about the cards; the detailed ones only where there are cards enough.

    ``cuda`` is the release that the engine was built with.  How the cards are is
    judged only where their health was asked for.
    """
    if config.engine.device == "cpu":
        return [ok("cards.count", "engine.device is cpu: no card is needed")]
    count = check_count(config, gpu)
    if count.severity == "fail":
        # What is known of those that are there may say why the others are not.
        known = [check_driver(gpu, cuda)] if gpu.driver_version else []
        return [count, *known, *([check_xids(faults)] if faults else [])]
    cards = engine_cards(config, gpu)
    return [
        count,
        check_driver(gpu, cuda),
        check_memory(config, cards),
        check_free_memory(config, cards),
        check_weights(config, cards, model),
        check_capability(config, cards, model),
        check_links(cards),
        *(check_health(cards, gpu, faults) if any(card.health for card in cards) else []),
    ]


def check_health(cards: tuple[CardFacts, ...], gpu: GpuFacts, faults: KernelFaults | None) -> list[Finding]:
    """What no start depends on at once, or what takes time to ask."""
    peers = check_peers(gpu.peers)
    return [
        *([peers] if peers else []),
        check_users(cards),
        check_compute_mode(cards),
        check_temperature(cards),
        check_slowdown(cards),
        check_power(cards),
        check_persistence(cards),
        check_memory_errors(cards),
        check_xids(faults),
    ]


def engine_cards(config: RigConfig, gpu: GpuFacts) -> tuple[CardFacts, ...]:
    """The cards that the ranks get: CUDA numbers the fastest first, which a small display card is not."""
    answering = [card for card in gpu.cards if card.problem is None]
    largest = sorted(answering, key=lambda card: (-(card.memory_total_bytes or 0), card.index))[: config.ranks]
    return tuple(sorted(largest, key=lambda card: card.index))


def check_count(config: RigConfig, gpu: GpuFacts) -> Finding:
    """Cards that answer against the ranks, and against ``hardware.cards``."""
    broken = [f"card {card.index}: {card.problem}" for card in gpu.cards if card.problem]
    answering = len(gpu.cards) - len(broken)
    reasons = "; ".join([gpu.reason, *broken] if gpu.reason else broken)
    found = f"{answering} cards" + (f" ({reasons})" if reasons else "")
    expected = f"{config.ranks} cards, one for each rank of the layout"
    if not gpu.cards:
        return fail("cards.count", f"no card: {gpu.reason}", expected, "install the NVIDIA driver; see `nvidia-smi`")
    if answering < config.ranks:
        return fail(
            "cards.count",
            found,
            expected,
            "reseat the risers and see dmesg for the card that is missing, or declare a smaller layout "
            "(engine.tensor_parallel, engine.pipeline_parallel)",
        )
    if broken or answering < config.hardware.cards:
        return warn(
            "cards.count",
            found,
            f"hardware.cards: {config.hardware.cards}",
            "reseat the card that is missing, or set hardware.cards",
        )
    return ok("cards.count", f"{found}: {', '.join(sorted({card.name or 'unnamed' for card in gpu.cards}))}")


def check_memory(config: RigConfig, cards: tuple[CardFacts, ...]) -> Finding:
    """Each card's memory against ``hardware.card_memory``."""
    declared = config.hardware.card_memory
    small = [card for card in cards if (card.memory_total_bytes or 0) < declared * (1 - MEMORY_TOLERANCE)]
    if not small:
        return ok("cards.memory", f"{format_size(least_memory(cards))} a card")
    return warn(
        "cards.memory",
        "; ".join(f"card {card.index} has {size_or_unknown(card.memory_total_bytes)}" for card in small),
        f"hardware.card_memory: {format_size(declared)}, less 5 % at most",
        "set hardware.card_memory to the smallest card",
    )


def least_memory(cards: tuple[CardFacts, ...]) -> int:
    return min(card.memory_total_bytes or 0 for card in cards)


def size_or_unknown(size: int | None) -> str:
    return "unknown memory" if size is None else format_size(size)


def check_free_memory(config: RigConfig, cards: tuple[CardFacts, ...]) -> Finding:
    """The engine refuses a card whose free memory is below its budget (``request_memory`` in vllm/v1/worker)."""
    share = config.engine.gpu_memory_utilization
    busy = [
        card
        for card in cards
        if card.memory_free_bytes is not None
        and card.memory_total_bytes is not None
        and card.memory_free_bytes < share * card.memory_total_bytes
    ]
    if not busy:
        return ok("cards.free", f"{share:.0%} of each card is free")
    return fail(
        "cards.free",
        "; ".join(
            f"card {card.index} has {size_or_unknown(card.memory_free_bytes)} free{users(card)}" for card in busy
        ),
        f"{share:.0%} of the card, which engine.gpu_memory_utilization claims",
        "stop what uses the card (see `nvidia-smi`), or lower engine.gpu_memory_utilization",
    )


def users(card: CardFacts) -> str:
    """Who takes the card's memory, where that is known."""
    processes = card.health.processes if card.health else None
    return f" ({listed(processes)})" if processes else ""


def check_weights(config: RigConfig, cards: tuple[CardFacts, ...], model: ModelFacts) -> Finding:
    """A rank's share of the weights against its budget, which must hold the KV cache besides."""
    share = config.engine.gpu_memory_utilization
    per_rank = model.tensor_bytes // config.ranks
    budget = int(share * least_memory(cards))
    found = f"{format_size(per_rank)} of weights a rank, and a budget of {format_size(budget)} a card"
    if not model.tensor_bytes:
        return warn("cards.weights", "the weights' size is unknown", "a readable checkpoint", "see checkpoint.files")
    if any(card.memory_total_bytes is None for card in cards):
        return warn("cards.weights", "a card does not tell its memory", "memory of every card", "see `nvidia-smi`")
    if per_rank < budget:
        return ok("cards.weights", found)
    return fail(
        "cards.weights",
        found,
        "weights well below the budget, which the KV cache shares",
        "spread the model over more cards, raise engine.gpu_memory_utilization, or serve a smaller or more "
        "strongly quantised model",
    )


def check_capability(config: RigConfig, cards: tuple[CardFacts, ...], model: ModelFacts) -> Finding:
    """The engine has no kernels for older cards."""
    method = config.engine.quantization or (model.quantisation.method if model.quantisation else None)
    least, reason = least_capability(method, config.engine.dtype)
    expected = f"compute capability {dotted(least)} or more {reason}"
    known = [(card.compute_capability, card) for card in cards if card.compute_capability]
    if len(known) < len(cards):
        return warn("cards.capability", "a card does not tell its compute capability", expected, "see `nvidia-smi`")
    old = [f"card {card.index}, {card.name}, has {dotted(found)}" for found, card in known if found < least]
    dtype = activations_dtype(config.engine.dtype, model.dtype)
    refusals = [cache_refusal(config.engine.kv_cache_dtype, dtype, found) for found, _ in known]
    if not old and any(refusals):
        return fail(
            "cards.capability",
            f"engine.kv_cache_dtype is {config.engine.kv_cache_dtype} and activations are {dtype}: "
            f"{next(filter(None, refusals))}",
            "a cache that attention can read",
            "set engine.dtype to bfloat16, or engine.kv_cache_dtype to auto",
        )
    if not old:
        return ok("cards.capability", f"compute capability {dotted(min(found for found, _ in known))}")
    remedy = "set engine.dtype to float16" if "bfloat16" in reason else "use newer cards"
    return fail("cards.capability", "; ".join(old), expected, remedy)
