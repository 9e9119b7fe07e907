"""Layouts: which there are, in what order, and what is told of each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigappliance.errors import ConfigError
from rigappliance.facts.model import Quantisation
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.coefficients import shipped
from rigappliance.plan.layout import Layout, Verdict, layouts
from rigappliance.plan.times import decode, prefill
from rigappliance.plan.times_inputs import machine_of
from rigappliance.plan.times_load import load_s, silent_s
from rigappliance.plan.times_model import Shape, model_of
from rigappliance.plan.times_split import Split
from tests.unit.plan.test_times_inputs import CARD, HOST, QWEN_72B, Headers

KNOWN = shipped()
ARGUMENTS = EngineArguments(max_num_seqs=32)
RIG = machine_of(HOST, [replace(CARD, index=index) for index in range(8)], KNOWN)
MODERN = replace(RIG, cores=16, core_speed=1.0)


def enough(arguments: EngineArguments) -> Verdict:
    """72B in 8 bits needs eight cards of 12 GB."""
    whole = arguments.ranks == 8
    return Verdict(whole, "" if whole else "weights overflow")


def sizes(found: list[Layout]) -> set[tuple[int, int]]:
    return {(layout.tensor_parallel, layout.pipeline_parallel) for layout in found}


def test_every_layout_that_divides_the_model_and_the_cards_is_there_once() -> None:
    found = layouts(QWEN_72B, RIG, ARGUMENTS, enough, KNOWN)
    expected = {(tp, pp) for tp, most in ((1, 8), (2, 4), (4, 2), (8, 1)) for pp in range(1, most + 1)}
    assert sizes(found) == expected and len(found) == len(expected)


@pytest.mark.parametrize(
    ("shape", "cards", "tensor_parallels"),
    [
        # Qwen2.5-72B as it was before it was padded: 29568 inputs are 231 groups of 128.
        (replace(QWEN_72B, intermediate_size=29568), 8, {1}),
        (replace(QWEN_72B, intermediate_size=29568, quantisation=None), 8, {1, 2, 4, 8}),
        (replace(QWEN_72B, intermediate_size=29568, quantisation=Quantisation("gptq", 8, -1)), 8, {1, 2, 4, 8}),
        (QWEN_72B, 6, {1, 2, 4}),
        # 14 heads: 7 ranks would share them, but not the 2 KV heads.
        (Headers(), 8, {1, 2}),
        (replace(QWEN_72B, kv_heads=4), 8, {1, 2, 4, 8}),
        (replace(QWEN_72B, kv_heads=3), 8, {1}),
        # 16 ranks would share 29696 inputs, and cut through a group.
        (QWEN_72B, 16, {1, 2, 4, 8}),
        (replace(QWEN_72B, quantisation=None), 16, {1, 2, 4, 8, 16}),
        # The MLP's inputs would do, but the attention's 896 are seven groups of 128.
        (replace(Headers(), quantisation=Quantisation("gptq", 8, 128), intermediate_size=4096), 8, {1}),
    ],
)
def test_ranks_share_whole_heads_and_whole_groups(shape: Shape, cards: int, tensor_parallels: set[int]) -> None:
    found = sizes(layouts(shape, replace(RIG, cards=cards), ARGUMENTS, enough, KNOWN))
    assert {tp for tp, _ in found} == tensor_parallels
    assert max(tp * pp for tp, pp in found) <= cards


def test_a_stage_needs_a_layer() -> None:
    found = sizes(layouts(replace(QWEN_72B, layers=3), RIG, ARGUMENTS, enough, KNOWN))
    assert max(pp for _, pp in found) == 3


def test_what_fits_comes_first_and_then_what_writes_fastest() -> None:
    found = layouts(QWEN_72B, MODERN, ARGUMENTS, enough, KNOWN)
    assert [layout.fits for layout in found] == [True] * 4 + [False] * 11
    for group in (found[:4], found[4:]):
        speeds = [layout.decode_tokens_s[1] for layout in group]
        assert speeds == sorted(speeds, reverse=True)
    # One request is served fastest by ranks that share each layer, many by stages, where links are narrow.
    assert found[0].name == "TP 8 × PP 1"
    many = layouts(QWEN_72B, MODERN, ARGUMENTS, enough, KNOWN, concurrencies=(32, 1))
    assert many[0].pipeline_parallel > 1


def test_a_row_says_what_the_parts_of_the_plan_say() -> None:
    found = layouts(QWEN_72B, RIG, ARGUMENTS, enough, KNOWN, concurrencies=(1, 32), prompt_tokens=512)
    row = next(layout for layout in found if (layout.tensor_parallel, layout.pipeline_parallel) == (4, 2))
    model, split = model_of(QWEN_72B), Split(4, 2)
    arguments = replace(ARGUMENTS, tensor_parallel=4, pipeline_parallel=2)
    speed = decode(model, RIG, split, 1, KNOWN)
    assert row.decode_tokens_s == {1: speed.tokens_s, 32: decode(model, RIG, split, 32, KNOWN).tokens_s}
    assert row.prefill_tokens_s == prefill(model, RIG, split, 512, 2048, KNOWN).tokens_s
    assert row.load_s == load_s(model, RIG, split, KNOWN)
    assert row.silent_s == silent_s(model, RIG, split, arguments, KNOWN, cached=False)
    assert (row.limit, row.step_s) == (speed.limit, speed.parts)
    assert row.limit_share == max(speed.parts.values()) / sum(speed.parts.values())
    assert (row.fits, row.reason) == (True, "")
    assert row.as_dict()["decode_tokens_s"] == {"1": row.decode_tokens_s[1], "32": row.decode_tokens_s[32]}


def test_the_verdict_is_asked_of_each_layout_with_its_own_arguments() -> None:
    asked = []

    def fits(arguments: EngineArguments) -> Verdict:
        asked.append(arguments)
        return Verdict(False, f"{arguments.ranks} ranks")

    found = layouts(QWEN_72B, RIG, replace(ARGUMENTS, max_model_len=1234), fits, KNOWN)
    assert {(one.tensor_parallel, one.pipeline_parallel) for one in asked} == sizes(found)
    assert {one.max_model_len for one in asked} == {1234}
    assert {layout.reason for layout in found} == {
        f"{layout.tensor_parallel * layout.pipeline_parallel} ranks" for layout in found
    }


def test_fewer_graphs_make_two_cores_slower() -> None:
    arguments = [
        ARGUMENTS,
        replace(ARGUMENTS, optimization_level=3),
        replace(ARGUMENTS, optimization_level=1),
        replace(ARGUMENTS, optimization_level=0),
        replace(ARGUMENTS, enforce_eager=True),
    ]
    default, more, piecewise, none, eager = (
        layouts(QWEN_72B, RIG, each, enough, KNOWN)[0].decode_tokens_s[1] for each in arguments
    )
    assert default == more > piecewise > none == eager


def test_a_start_whose_kernels_are_compiled_and_a_cache_in_8_bits_are_faster() -> None:
    first, again = (layouts(QWEN_72B, RIG, ARGUMENTS, enough, KNOWN, cached=cached)[0] for cached in (False, True))
    assert again.silent_s < first.silent_s
    small = layouts(QWEN_72B, RIG, replace(ARGUMENTS, kv_cache_dtype="fp8_e4m3"), enough, KNOWN)[0]
    assert small.decode_tokens_s[32] > first.decode_tokens_s[32]


@pytest.mark.parametrize("concurrencies", [(), (0,), (1, -8)])
def test_no_request_at_a_time_is_refused(concurrencies: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="concurrency"):
        layouts(QWEN_72B, RIG, ARGUMENTS, enough, KNOWN, concurrencies=concurrencies)
