"""Sizes of captured graphs: which, how many, and what they cost."""

from __future__ import annotations

from typing import Any

import pytest

from rigappliance.config import RigConfig
from rigappliance.configfile import load_config
from rigappliance.plan.activations import graphs_bytes
from rigappliance.plan.arguments import EngineArguments, engine_arguments
from rigappliance.plan.capture import chosen_sizes, recommended
from rigappliance.plan.coefficients import shipped
from rigappliance.plan.graphs import graph_choices, worst_padding
from rigappliance.plan.times_load import CAPTURE_LAYERS

RIG = EngineArguments(tensor_parallel=8, max_num_seqs=32)


@pytest.mark.parametrize(
    ("seqs", "tokens", "sizes"),
    [
        (1, 2048, (1,)),
        (2, 2048, (1, 2)),
        (7, 2048, (1, 2, 4, 7)),
        (32, 2048, (1, 2, 4, 8, 16, 24, 32)),
        (33, 2048, (1, 2, 4, 8, 16, 24, 32, 33)),
        (256, 2048, (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256)),
        (32, 12, (1, 2, 4, 8, 12)),
    ],
)
def test_the_sizes_end_with_the_fullest_step(seqs: int, tokens: int, sizes: tuple[int, ...]) -> None:
    assert chosen_sizes(seqs, tokens) == sizes


@pytest.mark.parametrize("seqs", [1, 3, 8, 31, 32, 100, 256, 1000])
def test_less_than_half_of_any_step_is_padding(seqs: int) -> None:
    sizes = chosen_sizes(seqs, 4096)
    padded = [next(size for size in sizes if size >= tokens) for tokens in range(1, seqs + 1)]
    worst = max((size - tokens) / size for size, tokens in zip(padded, range(1, seqs + 1), strict=True))
    assert worst_padding(sizes, seqs) == worst < 0.5


def test_what_each_choice_costs() -> None:
    numbers = shipped()
    default, chosen, pieces, none = graph_choices(RIG, layers=80, cores=2, numbers=numbers)
    assert default.sizes == (1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64)
    assert [way.graphs for way in (default, chosen, pieces, none)] == [11 + 7, 14, 7, 0]
    assert default.card_bytes == graphs_bytes(RIG, numbers, layers=80)
    # Four sizes in 81 pieces each, and a segment of the allocator.
    assert default.card_bytes - chosen.card_bytes == 4 * (81 * numbers.size_bytes("vram.graph_piece") + (2 << 20))
    assert none.card_bytes == none.seconds == 0
    assert chosen.seconds == pytest.approx(default.seconds * 14 / 18)
    # Seven sizes both ways, eight ranks in turns on two cores.
    each_s = numbers.number("times.capture_cpu") * 80 / CAPTURE_LAYERS
    assert chosen.seconds == pytest.approx(7 * each_s * 4)
    assert pieces.seconds == pytest.approx(chosen.seconds / 2)
    assert [way.uncaptured for way in (default, chosen, pieces, none)] == ["none", "none", "none", "all"]
    assert chosen.options == {"cudagraph-capture-sizes": [1, 2, 4, 8, 16, 24, 32]}
    assert none.options == {}


def test_ranks_wait_for_the_cores() -> None:
    numbers = shipped()
    two, eight = (graph_choices(RIG, layers=80, cores=cores, numbers=numbers)[0].seconds for cores in (2, 8))
    assert two == pytest.approx(4 * eight)
    fast = graph_choices(RIG, layers=80, cores=8, numbers=numbers, core_speed=2.0)[0].seconds
    assert fast == pytest.approx(eight / 2)


def declared(**engine: Any) -> RigConfig:
    loaded = load_config(environ={})
    return loaded.model_copy(update={"engine": loaded.engine.model_copy(update=engine)})


def test_a_rig_that_says_nothing_gets_those_for_its_requests() -> None:
    assert recommended(declared()) == (1, 2, 4, 8, 16, 24, 32)
    assert recommended(declared(max_num_seqs=4, optimization_level=1)) == (1, 2, 4)


@pytest.mark.parametrize(
    "engine",
    [
        {"device": "cpu"},
        {"enforce_eager": True},
        {"optimization_level": 0},
        {"options": {"cudagraph_capture_sizes": [1, 64]}},
        {"options": {"compilation-config": {"cudagraph_mode": "PIECEWISE"}}},
        {"options": {"speculative-config": {"num_speculative_tokens": 3}}},
        {"options": {"spec_tokens": 3}},
    ],
)
def test_what_was_told_or_is_off_is_left_alone(engine: dict[str, Any]) -> None:
    assert recommended(declared(**engine)) is None


def test_the_plan_counts_what_the_engine_is_told() -> None:
    assert engine_arguments(declared()).capture_sizes == (1, 2, 4, 8, 16, 24, 32)
    assert engine_arguments(declared(max_num_batched_tokens=16)).capture_sizes == (1, 2, 4, 8, 16)
    assert engine_arguments(declared(options={"cudagraph_capture_sizes": [1, 64]})).capture_sizes == (1, 64)
    assert engine_arguments(declared(device="cpu")).capture_sizes is None
