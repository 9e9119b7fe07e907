"""Ledgers of cards: the seed's rig, and the edges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rigappliance.errors import PreflightError
from rigappliance.facts.gpu import CardFacts
from rigappliance.plan.activations import (
    activation_bytes,
    capture_sizes,
    graph_count,
    logits_bytes,
    sampling_bytes,
)
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.catalogue import from_catalogue
from rigappliance.plan.coefficients import Coefficient, Coefficients, shipped
from rigappliance.plan.kvcache import kv_tokens
from rigappliance.plan.ledger import Ledger
from rigappliance.plan.memory import MemoryPlan, card_ledgers, plan_memory

SEED = from_catalogue("Qwen2.5-72B-Instruct-GPTQ-Int8")
# An RTX 3060 as NVML tells it.
CARD = 12288 << 20
MIB, GIB = 1 << 20, 1 << 30
RIG = EngineArguments(tensor_parallel=8, gpu_memory_utilization=0.85, max_num_seqs=32, measures_kernels=False)


def planned(cards: int = 8, card: int = CARD, **changes: Any) -> MemoryPlan:
    return plan_memory(SEED, replace(RIG, **changes), [card] * cards)


def line(ledger: Ledger, name: str) -> int:
    return ledger.bytes_of(name)


def with_coefficient(name: str, value: float) -> Coefficients:
    return Coefficients({name: replace(shipped()[name], value=value, source="this rig")}).before(shipped())


def test_the_seeds_rig_fits_at_85_and_is_unsafe_at_90() -> None:
    fits, unsafe = planned(), planned(gpu_memory_utilization=0.90)
    assert fits.fits and fits.safe and fits.exact_weights and not fits.notes
    assert 4096 <= (fits.kv_tokens or 0) < 20_000
    assert not unsafe.safe
    assert unsafe.fullest.ledger.free_bytes < unsafe.fullest.doubt_bytes
    assert line(fits.fullest.ledger, "weights") == pytest.approx(9e9, rel=0.1)


def test_the_ledger_holds_every_line_once_and_in_order() -> None:
    ledgers = card_ledgers(SEED, RIG, [CARD] * 8)
    assert [ledger.owner for ledger in ledgers] == [f"card {index}" for index in range(8)]
    assert [one.name for one in ledgers[0].lines] == [
        "driver", "cuda-context", "nccl", "weights", "marlin-workspace", "non-torch", "request-state", "activations",
        "allocator-slack", "graphs", "kv-cache", "sampling", "cublas-workspace",
    ]  # fmt: skip


def test_the_budget_is_the_share_of_what_cuda_sees_and_the_cache_takes_its_rest() -> None:
    card = planned().cards[0]
    visible = CARD - shipped().size_bytes("vram.driver")
    assert card.budget.capacity_bytes == pytest.approx(0.85 * visible, abs=1)
    inside = card.budget.used_bytes - line(card.budget, "kv-cache")
    assert card.kv_available_bytes == card.budget.capacity_bytes - inside
    # Whole blocks of 640 KiB.
    assert 0 <= card.kv_available_bytes - line(card.ledger, "kv-cache") < 640 << 10
    assert planned().kv_tokens == kv_tokens(SEED, RIG, card.kv_available_bytes)
    assert {"driver", "cuda-context", "nccl"}.isdisjoint(one.name for one in card.budget.lines)


def test_a_higher_share_gives_tokens_and_takes_room() -> None:
    plans = [planned(gpu_memory_utilization=share) for share in (0.84, 0.85, 0.88, 0.90, 0.92)]
    tokens = [plan.kv_tokens or 0 for plan in plans]
    free = [plan.fullest.ledger.free_bytes for plan in plans]
    assert tokens == sorted(tokens) and free == sorted(free, reverse=True) and len(set(tokens)) == len(tokens)


def test_too_little_for_one_request_overflows_the_budget() -> None:
    plan = planned(gpu_memory_utilization=0.84)
    card = plan.cards[0]
    overflow = card.budget.overflow
    assert not plan.fits and overflow is not None and overflow.name == "kv-cache"
    assert "4096 tokens" in overflow.note
    assert planned(gpu_memory_utilization=0.84, max_model_len=64).fits


@pytest.mark.parametrize(("ranks", "name"), [(4, "weights"), (1, "weights")])
def test_weights_that_find_no_room_are_named(ranks: int, name: str) -> None:
    overflow = planned(ranks, tensor_parallel=ranks).cards[0].ledger.overflow
    assert overflow is not None and overflow.name == name


def test_stages_at_the_ends_overfill_their_cards() -> None:
    """Embedding and head are 2.5 GB each: known of the rig."""
    even = planned(tensor_parallel=1, pipeline_parallel=8)
    assert [card.fits for card in even.cards] == [False, True, True, True, True, True, True, False]
    partition = "9,11,11,11,11,10,10,7"
    better = plan_memory(SEED, replace(RIG, tensor_parallel=1, pipeline_parallel=8), [CARD] * 8, partition=partition)
    weights = [line(card.ledger, "weights") for card in better.cards]
    assert weights[0] < line(even.cards[0].ledger, "weights") and weights[1] > line(even.cards[1].ledger, "weights")


def test_the_stage_with_least_room_sets_the_cache_of_all() -> None:
    plan = plan_memory(
        SEED,
        replace(RIG, tensor_parallel=4, pipeline_parallel=2, gpu_memory_utilization=0.9),
        [16 * GIB, *[24 * GIB] * 7],
    )
    caches = [line(card.ledger, "kv-cache") for card in plan.cards]
    assert len(set(caches)) == 1 and caches[0] <= plan.cards[0].kv_available_bytes < plan.cards[1].kv_available_bytes


def test_memory_in_use_by_others_refuses_the_start() -> None:
    facts = [CardFacts(index, memory_total_bytes=CARD, memory_used_bytes=400 * MIB) for index in range(8)]
    assert plan_memory(SEED, RIG, facts).fits
    facts[3] = replace(facts[3], memory_used_bytes=3 * GIB)
    card = plan_memory(SEED, RIG, facts).cards[3]
    assert not card.fits and "free on card 3" in card.refusal
    assert line(card.ledger, "driver") == 3 * GIB


def test_an_idle_card_tells_what_its_driver_keeps() -> None:
    facts = [CardFacts(index, memory_total_bytes=CARD, memory_used_bytes=480 * MIB) for index in range(8)]
    card = plan_memory(SEED, RIG, facts).cards[0]
    assert line(card.ledger, "driver") == 480 * MIB
    assert card.budget.capacity_bytes == pytest.approx(0.85 * (CARD - 480 * MIB), abs=1)
    busy = [replace(one, memory_used_bytes=2 * GIB) for one in facts]
    assert plan_memory(SEED, RIG, busy).cards[0].budget.capacity_bytes == planned().cards[0].budget.capacity_bytes


def test_a_card_that_nvml_counts_elsewhere_keeps_its_number() -> None:
    facts = [CardFacts(index + 2, memory_total_bytes=CARD) for index in range(8)]
    assert [ledger.owner for ledger in card_ledgers(SEED, RIG, facts)] == [f"card {index}" for index in range(2, 10)]


def test_cards_must_be_enough_and_say_their_memory() -> None:
    with pytest.raises(PreflightError, match="8 ranks and 7 cards"):
        planned(7)
    with pytest.raises(PreflightError, match="card 0 does not say"):
        plan_memory(SEED, RIG, [CardFacts(index) for index in range(8)])
    assert len(planned(9).cards) == 8


def test_declared_cache_bytes_replace_the_budget() -> None:
    plan = planned(kv_cache_memory_bytes=GIB)
    ledger = plan.cards[0].ledger
    assert GIB - line(ledger, "kv-cache") < 640 << 10
    assert next(one for one in ledger.lines if one.name == "kv-cache").basis == "declared"
    short = planned(kv_cache_memory_bytes=100 * MIB).cards[0]
    assert short.budget.overflow is not None and short.budget.overflow.name == "kv-cache"


def test_one_rank_needs_no_nccl_and_no_graphs_when_eager() -> None:
    small = from_catalogue("Qwen2.5-7B-Instruct-AWQ")
    ledger = card_ledgers(small, EngineArguments(enforce_eager=True), [CARD])[0]
    assert line(ledger, "nccl") == 0 == line(ledger, "graphs")
    assert line(card_ledgers(small, EngineArguments(), [CARD])[0], "graphs") > 300 * MIB


def test_a_calibrated_number_is_less_in_doubt() -> None:
    measured = with_coefficient("vram.nccl", 200 * MIB)
    before, after = (plan_memory(SEED, RIG, [CARD] * 8, numbers).cards[0] for numbers in (shipped(), measured))
    assert line(after.ledger, "nccl") == 200 * MIB
    doubts = {one.name: one.size_bytes for one in after.doubts}
    assert doubts["nccl"] == 20 * MIB and doubts["cuda-context"] == shipped().size_bytes("vram.cuda_context")
    assert after.doubt_bytes < before.doubt_bytes


def test_an_unknown_model_is_an_estimate_and_says_so() -> None:
    other = replace(SEED, config={**SEED.config, "architectures": ["BloomForCausalLM"]})
    plan = plan_memory(other, RIG, [CARD] * 8)
    assert not plan.exact_weights and plan.kv_tokens is None
    assert any("an estimate" in note for note in plan.notes) and any("cannot be said" in note for note in plan.notes)
    assert line(plan.cards[0].ledger, "weights") == -(-other.tensor_bytes // 8)


def test_a_sliding_window_is_said() -> None:
    config = {**SEED.config, "use_sliding_window": True, "sliding_window": 4096}
    assert "look back 4096 tokens" in plan_memory(replace(SEED, config=config), RIG, [CARD] * 8).notes[0]


@pytest.mark.parametrize(
    ("requests", "largest", "pieces", "graphs"),
    # 256: as an engine logs it, PIECEWISE=51 (largest=512), FULL=35 (largest=256).
    [(256, 512, 51, 86), (32, 64, 11, 18), (1, 2, 2, 3), (1000, 512, 51, 102)],
)
def test_graphs_are_as_many_as_the_engine_captures(requests: int, largest: int, pieces: int, graphs: int) -> None:
    arguments = EngineArguments(max_num_seqs=requests)
    assert (len(capture_sizes(arguments)), capture_sizes(arguments)[-1]) == (pieces, largest)
    assert graph_count(arguments) == graphs
    assert graph_count(replace(arguments, enforce_eager=True)) == 0
    assert graph_count(replace(arguments, capture_sizes=(1, 2))) == 2 + min(2, requests)


def test_the_peak_is_the_step_or_the_logits() -> None:
    step = activation_bytes(SEED, RIG, last_stage=True)
    # 2048 tokens: residual and summed output, 8192 each, beside the output and the MLP's slice of 3712.
    assert step == 2048 * (3 * 8192 + 3712) * 2
    assert activation_bytes(SEED, replace(RIG, max_num_batched_tokens=4096), last_stage=True) == 2 * step
    many = replace(RIG, max_num_seqs=2048)
    assert activation_bytes(SEED, many, last_stage=True) == 2048 * 8192 * 2 + logits_bytes(SEED, many) > step
    assert activation_bytes(SEED, RIG, last_stage=False) == step + 2 * 2048 * 8192 * 2


def test_sampling_beyond_the_profile_is_on_the_card_but_not_in_the_budget() -> None:
    assert line(planned().cards[0].ledger, "sampling") == 0
    many = planned(max_num_seqs=512).cards[0]
    peak = line(many.ledger, "activations")
    assert line(many.ledger, "sampling") == sampling_bytes(SEED, replace(RIG, max_num_seqs=512)) - peak > 0
    assert "sampling" not in {one.name for one in many.budget.lines}


def test_the_sampler_keeps_a_count_of_every_token_for_every_request() -> None:
    one = line(planned(max_num_seqs=1).cards[0].ledger, "request-state")
    assert one == 152064 * 4 + 152064 // 32 * 4
    assert line(planned(max_num_seqs=256).cards[0].ledger, "request-state") == 256 * one > 150 * MIB
    stages = planned(tensor_parallel=1, pipeline_parallel=8).cards
    assert [line(card.ledger, "request-state") > 0 for card in stages] == [False] * 7 + [True]


def test_the_shipped_numbers_are_bytes() -> None:
    numbers = {name: one for name, one in shipped().items() if name.startswith("vram.")}
    assert len(numbers) == 9
    assert all(isinstance(one, Coefficient) and one.unit == "bytes" and one.value > 0 for one in numbers.values())
