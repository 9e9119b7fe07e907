"""The plan: everything that can be said of a start before it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rigappliance.config import RigConfig
from rigappliance.errors import ConfigError
from rigappliance.facts.gpu import CardFacts
from rigappliance.facts.machine import MachineFacts
from rigappliance.plan.arguments import EngineArguments, engine_arguments
from rigappliance.plan.cardtable import card_named
from rigappliance.plan.coefficients import Coefficients
from rigappliance.plan.fit import CardQuestion, Fit, Verdict
from rigappliance.plan.host import HostNeeds, HostPlan, plan_host
from rigappliance.plan.kernels import activations_dtype, cache_refusal, dotted, least_capability
from rigappliance.plan.kvcache import kv_tokens
from rigappliance.plan.layout import Layout, layouts
from rigappliance.plan.layout import Verdict as LayoutVerdict
from rigappliance.plan.sharding.ranks import weights_of_ranks
from rigappliance.plan.solver import Limits, Way, limits, ways
from rigappliance.plan.tensors import CheckpointShape, UnknownShapeError
from rigappliance.plan.times_inputs import machine_of
from rigappliance.units import format_size, memory_limit_bytes

CONCURRENCIES = (1, 8, 32)


@dataclass(frozen=True)
class Plan:
    """``cards`` is ``None`` where the engine uses none; ``layouts`` are empty where a card is not in the table."""

    model: str
    arguments: EngineArguments
    checkpoint_bytes: int
    machine: str
    cards: Fit | None
    host: HostPlan
    kv_tokens: int | None
    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    layouts: tuple[Layout, ...] = ()
    limits: Limits | None = None
    ways: tuple[Way, ...] = ()

    @property
    def layout(self) -> Layout | None:
        """The declared one, where its times are known."""
        asked = (self.arguments.tensor_parallel, self.arguments.pipeline_parallel)
        return next((each for each in self.layouts if (each.tensor_parallel, each.pipeline_parallel) == asked), None)

    def as_dict(self) -> dict[str, Any]:
        memory = self.cards.memory if self.cards else None
        declared = self.layout
        return {
            "model": self.model,
            "checkpoint_bytes": self.checkpoint_bytes,
            "machine": self.machine,
            "verdict": str(self.verdict),
            "reasons": self.reasons,
            "notes": self.notes,
            "kv_tokens": self.kv_tokens,
            "requests": self.cards.requests if self.cards else None,
            "overflow": (self.cards.line or None) if self.cards else None,
            "cards": [
                {"ledger": card.ledger.as_dict(), "budget": card.budget.as_dict()}
                for card in (memory.cards if memory else ())
            ],
            "host": self.host.as_dict(),
            "layout": declared.as_dict() if declared else None,
            "layouts": [each.as_dict() for each in self.layouts],
            "limits": self.limits.as_dict() if self.limits else None,
            "ways": [way.as_dict() for way in self.ways],
        }


def declared_cards(config: RigConfig) -> tuple[CardFacts, ...]:
    """Cards as they are declared, for a machine whose cards cannot be asked from here."""
    size = config.hardware.card_memory
    return tuple(CardFacts(index, memory_total_bytes=size) for index in range(config.hardware.cards))


def named_cards(count: int, name: str) -> tuple[CardFacts, ...]:
    """Cards that somebody thinks of buying. Raises ``ConfigError`` for one that the table lacks."""
    card = card_named(name)
    if card is None:
        raise ConfigError(f"no card {name!r} in the table", "a card's usual name", "such as 'RTX 3060'")
    first = CardFacts(
        0,
        name=card.name,
        memory_total_bytes=card.memory_bytes,
        compute_capability=card.capability,
        pcie_generation_max=card.pcie_generation,
        pcie_width=card.pcie_width,
    )
    return tuple(replace(first, index=index) for index in range(count))


def make_plan(
    config: RigConfig,
    shape: CheckpointShape,
    machine: MachineFacts,
    numbers: Coefficients,
    *,
    largest_shard_bytes: int,
    thorough: bool = True,
) -> Plan:
    """The plan of one start. ``thorough``: with the layouts, the limits and the ways to make it fit.

    Raises ``ConfigError`` and ``PreflightError`` where a fact is missing without which nothing can be said.
    """
    cards = machine.gpu.cards or declared_cards(config)
    usable = tuple(card for card in cards if card.problem is None)
    arguments = engine_arguments(config, usable[0] if usable else None)
    host = plan_host(host_needs(config, shape, machine, arguments, largest_shard_bytes), numbers)
    notes = list(host.notes)
    if config.engine.device == "cpu":
        tokens = cpu_tokens(shape, arguments, notes)
        verdict, reasons = combined(None, host)
        return Plan(
            config.model.name, arguments, shape.tensor_bytes, described(machine, ()), None, host, tokens, verdict,
            reasons, tuple(notes),
        )  # fmt: skip
    if not machine.gpu.cards:
        notes.append(f"no card was asked ({machine.gpu.reason or 'none in the facts'}): planned with hardware.cards")
    partition = config.engine.environment.get("VLLM_PP_LAYER_PARTITION")
    question = CardQuestion(shape, usable, numbers, config.hardware.card_margin, partition)
    fit = question.fit(arguments)
    notes += fit.memory.notes if fit.memory else ()
    notes += sharing_notes(fit)
    verdict, reasons = combined(fit, host)
    if missing := no_kernels(config, shape, usable):
        verdict, reasons = Verdict.TOO_LARGE, (missing, *reasons)
    plan = Plan(
        model=config.model.name,
        arguments=arguments,
        checkpoint_bytes=shape.tensor_bytes,
        machine=described(machine, usable),
        cards=fit,
        host=host,
        kv_tokens=fit.memory.kv_tokens if fit.memory else None,
        verdict=verdict,
        reasons=reasons,
        notes=tuple(notes),
    )
    return deepened(plan, config, shape, machine, usable, numbers, question) if thorough else plan


def deepened(
    plan: Plan,
    config: RigConfig,
    shape: CheckpointShape,
    machine: MachineFacts,
    cards: Sequence[CardFacts],
    numbers: Coefficients,
    question: CardQuestion,
) -> Plan:
    arguments = plan.arguments

    def judged(asked: EngineArguments) -> LayoutVerdict:
        fit = question.fit(asked)
        return LayoutVerdict(fit.verdict is Verdict.FITS, fit.line)

    try:
        speeds = machine_of(machine.host, cards, numbers)
        table = tuple(layouts(shape, speeds, arguments, judged, numbers, concurrencies=CONCURRENCIES))
    except ConfigError as error:
        table = ()
        plan = replace(plan, notes=(*plan.notes, f"times are not known: {error.found}"))
    capability = min((card.compute_capability for card in cards if card.compute_capability), default=None)
    others = [(each.tensor_parallel, each.pipeline_parallel) for each in table]
    positions = shape.numbers["max_positions"]
    return replace(
        plan,
        layouts=table,
        limits=limits(question.fit, arguments, positions),
        ways=tuple(ways(question.fit, arguments, capability, others)),
    )


def no_kernels(config: RigConfig, shape: CheckpointShape, cards: Sequence[CardFacts]) -> str:
    """A clause about cards that the engine has no kernels for; empty where there are none."""
    method = config.engine.quantization or (shape.quantisation.method if shape.quantisation else None)
    least, reason = least_capability(method, config.engine.dtype)
    known = [card.compute_capability for card in cards if card.compute_capability]
    dtype = activations_dtype(config.engine.dtype, shape.numbers["dtype"])
    refusals = (cache_refusal(config.engine.kv_cache_dtype, dtype, found) for found in known)
    if not known or min(known) >= least:
        return next(filter(None, refusals), "")
    return f"a card has compute capability {dotted(min(known))}, and the engine needs {dotted(least)} {reason}"


def host_needs(
    config: RigConfig, shape: CheckpointShape, machine: MachineFacts, arguments: EngineArguments, largest_shard: int
) -> HostNeeds:
    ram = machine.host.ram_total_bytes or config.hardware.ram
    swap = machine.host.swap_total_bytes
    cpu = config.engine.device == "cpu"
    return HostNeeds(
        device=config.engine.device,
        ranks=arguments.ranks,
        ram_bytes=ram,
        limit_bytes=memory_limit_bytes(config.memory.max, ram),
        # Swap that is declared and not there yet is what `swap on` makes.
        swap_bytes=max(swap or 0, config.memory.swap),
        largest_shard_bytes=largest_shard,
        cpu_weights_bytes=cpu_weights(shape, arguments) if cpu else 0,
        cpu_kv_bytes=(arguments.kv_cache_memory_bytes or 0) if cpu else 0,
        start=config.engine.start,
    )


def cpu_weights(shape: CheckpointShape, arguments: EngineArguments) -> int:
    held = weights_of_ranks(shape, arguments.tensor_parallel, arguments.pipeline_parallel, dtype=arguments.dtype)
    return max(each.total_bytes for each in held)


def cpu_tokens(shape: CheckpointShape, arguments: EngineArguments, notes: list[str]) -> int | None:
    if arguments.kv_cache_memory_bytes is None:
        notes.append("engine.kv_cache_memory is not set: the CPU engine takes a share of the RAM")
        return None
    try:
        return kv_tokens(shape, arguments, arguments.kv_cache_memory_bytes, "cpu")
    except UnknownShapeError as error:
        notes.append(error.found)
        return None


def combined(fit: Fit | None, host: HostPlan) -> tuple[Verdict, tuple[str, ...]]:
    """The worse of both, with the reasons of each."""
    reasons = [] if fit is None or not fit.reason else [fit.reason]
    verdict = fit.verdict if fit else Verdict.FITS
    if not host.fits:
        verdict = Verdict.TOO_LARGE
        phase = max(host.phases, key=lambda each: each.missing_bytes)
        line = phase.ledger.overflow
        reasons.append(
            f"{phase.ledger.owner} is {format_size(phase.missing_bytes)} short of RAM and swap: "
            f"{line.name if line else 'page cache'} finds no room"
        )
    return verdict, tuple(reasons)


def sharing_notes(fit: Fit) -> list[str]:
    """What max_num_seqs is worth with a cache of this size."""
    tokens = fit.memory.kv_tokens if fit.memory else None
    asked = fit.arguments.max_num_seqs
    if not tokens or fit.requests >= asked:
        return []
    return [f"{asked} requests (engine.max_num_seqs) run together up to {tokens // asked} tokens each, then some wait"]


def described(machine: MachineFacts, cards: Sequence[CardFacts]) -> str:
    """``8 × RTX 3060 (12.0 GiB), 16.0 GB of RAM``."""
    kinds: dict[str, int] = {}
    for card in cards:
        size = format_size(card.memory_total_bytes) if card.memory_total_bytes else "unknown memory"
        name = f"{card.name or 'card'} ({size})"
        kinds[name] = kinds.get(name, 0) + 1
    parts = [f"{count} × {name}" for name, count in kinds.items()]
    ram = machine.host.ram_total_bytes
    return ", ".join([*parts, f"{format_size(ram)} of RAM" if ram else "RAM as declared"])
