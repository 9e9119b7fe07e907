"""Predicted speed of a step: what it is made of, and which way it moves with the machine."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from rigappliance.plan.cardtable import card_named
from rigappliance.plan.coefficients import shipped
from rigappliance.plan.links import pcie_link
from rigappliance.plan.sharding.parts import ImpossibleLayoutError
from rigappliance.plan.times import decode, prefill
from rigappliance.plan.times_inputs import Machine
from rigappliance.plan.times_model import Model
from rigappliance.plan.times_split import Split

KNOWN = shipped()
# Qwen2.5-72B-Instruct-GPTQ-Int8, whose MLP is padded so that eight ranks can share it.
QWEN_72B = Model(80, 8192, 64, 8, 128, 29696, 152064, 77_100_000_000, group=128, inputs_first=True)
TP_8, PP_8 = Split(8, 1), Split(1, 8)
# As the seed's engine ran, which still knew --swap-space and VLLM_USE_V1.
AS_MEASURED = Split(8, 1, graphs="piecewise")
SPLITS = [Split(*sizes) for sizes in ((1, 1), (2, 1), (8, 1), (4, 2), (2, 4), (1, 8))]


def rig(generation: int = 2, width: int = 1) -> Machine:
    """The rig of RIG.md: two old cores, eight cards of 12 GB on x1 risers. It does not say the risers' generation."""
    card = card_named("GeForce RTX 3060", 12288 * 1024**2)
    assert card is not None
    return Machine(8, card, pcie_link(generation, width), cores=2, core_speed=KNOWN.number("times.core_speed_old"))


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_the_rig_writes_as_fast_as_was_measured_whatever_its_risers_generation(generation: int) -> None:
    """4 to 5 tok/s, give or take a quarter; no coefficient is fitted to it, one was estimated knowing it."""
    assert 0.75 * 4 <= decode(QWEN_72B, rig(generation), AS_MEASURED, 1, KNOWN).tokens_s <= 1.25 * 5


def cores(machine: Machine, count: int) -> Machine:
    return replace(machine, cores=count, core_speed=1.0)


def faster_card(machine: Machine) -> Machine:
    card = machine.card
    return replace(machine, card=replace(card, memory_bandwidth=2 * card.memory_bandwidth, fp16_flops=card.fp16_flops))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("concurrency", [1, 8, 32])
def test_a_better_machine_is_never_slower(split: Split, concurrency: int) -> None:
    narrow = rig(1)
    for better in (rig(1, 4), rig(3), cores(narrow, 4), faster_card(narrow), replace(narrow, core_speed=1.0)):
        assert (
            decode(QWEN_72B, better, split, concurrency, KNOWN).tokens_s
            >= decode(QWEN_72B, narrow, split, concurrency, KNOWN).tokens_s
        )
        assert (
            prefill(QWEN_72B, better, split, 4096, 2048, KNOWN).tokens_s
            >= prefill(QWEN_72B, narrow, split, 4096, 2048, KNOWN).tokens_s
        )


@pytest.mark.parametrize("split", SPLITS)
def test_a_longer_context_is_slower_and_more_requests_write_more_together(split: Split) -> None:
    speeds = [decode(QWEN_72B, rig(), split, 4, KNOWN, context).tokens_s for context in (128, 1024, 8192)]
    assert speeds == sorted(speeds, reverse=True) and len(set(speeds)) == 3
    together = [decode(QWEN_72B, rig(), split, count, KNOWN).tokens_s for count in (1, 2, 4, 8, 16, 32)]
    assert together == sorted(together)


def test_stages_move_less_than_ranks_that_share_each_layer() -> None:
    for tp, pp in itertools.pairwise((TP_8, Split(4, 2), Split(2, 4), PP_8)):
        moved = [moving_s(decode(QWEN_72B, rig(1), split, 8, KNOWN).parts) for split in (tp, pp)]
        assert moved[1] < moved[0]


def moving_s(parts: object) -> float:
    assert isinstance(parts, dict)
    return float(parts.get("link latency", 0) + parts.get("link bandwidth", 0))


def test_one_card_reads_its_weights_and_nothing_else_of_note() -> None:
    """77.1 GB less the embedding, at 86.5 % of 360 GB/s."""
    one = decode(QWEN_72B, cores(rig(), 8), Split(1, 1), 1, KNOWN, context_tokens=1)
    assert one.limit == "memory bandwidth"
    assert one.parts["memory bandwidth"] == pytest.approx((77.1e9 - 2.491e9) / (0.865 * 360e9), rel=1e-3)
    assert set(one.parts) == {"memory bandwidth", "kernels", "link latency", "link bandwidth", "CPU cores"}
    assert one.parts["CPU cores"] == moving_s(one.parts) == 0


@pytest.mark.parametrize("split", [PP_8, Split(1, 4), Split(1, 1)])
def test_stages_together_read_the_model_once(split: Split) -> None:
    once = (77.1e9 - 2.491e9) / (0.865 * 360e9)
    assert decode(QWEN_72B, rig(), split, 1, KNOWN, 1).parts["memory bandwidth"] == pytest.approx(once, rel=1e-3)


def test_each_requests_cache_is_read_and_the_weights_once_for_all() -> None:
    """40 KiB a token and rank; read at 22 % of the bandwidth."""
    one, eight = (decode(QWEN_72B, rig(), TP_8, count, KNOWN, 1000).parts["memory bandwidth"] for count in (1, 8))
    assert eight - one == pytest.approx(7 * 1000 * 40960 / (0.22 * 360e9))


def test_a_mixture_reads_less_for_a_token_and_computes_less_for_a_prompt() -> None:
    """128 experts of which 8 are used, in a model of the same size."""
    mixture = replace(QWEN_72B, intermediate_size=29696 // 128, experts=128, used_experts=8)
    one, many = (decode(mixture, rig(), PP_8, count, KNOWN).parts["memory bandwidth"] for count in (1, 2048))
    assert one < 0.3 * decode(QWEN_72B, rig(), PP_8, 1, KNOWN).parts["memory bandwidth"]
    assert many > 3 * one
    dense_s, sparse_s = (
        1 / prefill(model, cores(rig(4, 16), 64), PP_8, 8192, 8192, KNOWN).tokens_s for model in (QWEN_72B, mixture)
    )
    assert sparse_s < 0.4 * dense_s


def test_what_stages_hand_over_is_shared_by_their_ranks() -> None:
    """Four ranks send a quarter of hidden state and residual each, and then exchange what they got."""
    fast = cores(rig(1), 16)
    tokens = 512
    wide, narrow = (
        moving_s(prefill(QWEN_72B, fast, Split(4, stages), tokens, tokens, KNOWN).parts) for stages in (2, 1)
    )
    # Of each share a slice of 1 MiB lies in host memory before it is read.
    sent_s = (tokens * 8192 * 2 * 2 / 4 + 1024**2) / (0.72 * 250e6)
    assert wide - narrow == pytest.approx(sent_s + 3 * sent_s, rel=0.01)


def test_a_long_prompt_costs_attention_besides_its_matrices() -> None:
    fast = cores(rig(4, 16), 16)
    short, long = (
        prefill(QWEN_72B, fast, PP_8, tokens, tokens, KNOWN).parts["compute"] / tokens for tokens in (2048, 32768)
    )
    # Scores and values: 4 operations for each of half the tokens before, in 64 heads of 128 and 80 layers.
    assert long - short == pytest.approx(4 * 8192 * 80 * (32768 - 2048) / 2 / (0.75 * 25.5e12), rel=0.01)


def test_stages_work_on_the_pieces_of_a_prompt_at_the_same_time() -> None:
    fast = cores(rig(4, 16), 16)
    one, eight = (prefill(QWEN_72B, fast, PP_8, 2048 * pieces, 2048, KNOWN).tokens_s for pieces in (1, 8))
    assert 3 < eight / one < 8
    # One stage has nothing to overlap with.
    alone, more = (prefill(QWEN_72B, fast, TP_8, 2048 * pieces, 2048, KNOWN).tokens_s for pieces in (1, 8))
    assert more == pytest.approx(alone, rel=0.1)


def test_the_parts_are_what_one_request_waits_for() -> None:
    for split in SPLITS:
        speed = decode(QWEN_72B, rig(), split, 1, KNOWN)
        assert sum(speed.parts.values()) == pytest.approx(1 / speed.tokens_s)


def test_a_pipeline_serves_as_many_requests_as_it_has_stages_at_the_price_of_one() -> None:
    fast = cores(rig(4, 16), 16)
    one, eight = (decode(QWEN_72B, fast, PP_8, count, KNOWN).tokens_s for count in (1, 8))
    assert 6 < eight / one <= 8


def test_what_holds_a_step_up_depends_on_the_machine() -> None:
    assert decode(QWEN_72B, rig(), TP_8, 1, KNOWN).limit == "CPU cores"
    assert decode(QWEN_72B, cores(rig(1), 16), TP_8, 1, KNOWN).limit == "link bandwidth"
    assert decode(QWEN_72B, cores(rig(4, 16), 16), Split(2, 1), 1, KNOWN).limit == "memory bandwidth"
    assert prefill(QWEN_72B, rig(1), TP_8, 2048, 2048, KNOWN).limit == "link bandwidth"
    assert prefill(QWEN_72B, rig(1), PP_8, 2048, 2048, KNOWN).limit == "compute"


def test_a_long_prompt_on_x1_links_is_read_as_fast_as_the_links_carry_its_sums() -> None:
    """161 sums of 16 KiB a token, of which each link carries 14/8, at 72 % of 250 MB/s; slices add some."""
    least_s = 161 * 16384 * 14 / 8 / (0.72 * 250e6)
    speed = prefill(QWEN_72B, rig(1), TP_8, 2048, 2048, KNOWN).tokens_s
    assert 0.7 / least_s < speed < 1 / least_s


def test_a_tied_head_is_read_and_a_quantised_cache_is_half() -> None:
    tied = replace(QWEN_72B, tied=True)
    assert tied.body_bytes - QWEN_72B.body_bytes == QWEN_72B.end_bytes == 152064 * 8192 * 2
    whole = decode(QWEN_72B, rig(), TP_8, 1, KNOWN, 32768).parts["memory bandwidth"]
    half = decode(QWEN_72B, rig(), Split(8, 1, kv_bytes=1), 1, KNOWN, 32768).parts["memory bandwidth"]
    none = decode(QWEN_72B, rig(), TP_8, 1, KNOWN, 0).parts["memory bandwidth"]
    assert half - none == pytest.approx((whole - none) / 2)


def test_kv_heads_that_are_fewer_than_ranks_are_read_by_each() -> None:
    few = replace(QWEN_72B, kv_heads=4)
    read = [decode(model, rig(), TP_8, 1, KNOWN, 32768).parts["memory bandwidth"] for model in (few, QWEN_72B)]
    assert read[0] == pytest.approx(read[1])


def test_stages_have_the_layers_that_the_engine_gives_them() -> None:
    assert Split(1, 4).layers(replace(QWEN_72B, layers=10)) == (2, 3, 3, 2)
    with pytest.raises(ImpossibleLayoutError):
        decode(replace(QWEN_72B, layers=3), rig(), Split(1, 4), 1, KNOWN)


def test_the_stage_with_the_head_sets_the_pace_of_a_full_pipeline() -> None:
    fast, split = cores(rig(4, 16), 64), Split(1, 4)
    small = replace(QWEN_72B, vocab_size=1024, tensor_bytes=QWEN_72B.body_bytes + 2 * 1024 * 8192 * 2)
    head_s = (QWEN_72B.end_bytes - small.end_bytes) / (0.865 * 360e9)
    times = [1 / decode(model, fast, split, 4, KNOWN).tokens_s for model in (small, QWEN_72B)]
    assert times[1] - times[0] == pytest.approx(head_s, rel=0.15)
