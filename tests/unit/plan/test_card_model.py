"""The card model against starts on a real card, and the parts of it that are told apart there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.gpu.cases import FITTED, Case
from bench.gpu.checkpoints import shape_with
from bench.gpu.replan import CARD, arguments_of
from rigappliance.config import RigConfig
from rigappliance.facts.gpu import CardFacts
from rigappliance.plan import tuning
from rigappliance.plan.activations import graphs_bytes
from rigappliance.plan.arguments import EngineArguments, engine_arguments
from rigappliance.plan.chip import Chip, chip_of
from rigappliance.plan.coefficients import Coefficients, shipped
from rigappliance.plan.memory import CardPlan, MemoryPlan, plan_memory
from rigappliance.render.vllm import render

MIB = 1 << 20
RESULTS = Path(__file__).resolve().parents[3] / "bench/results/gpu.json"
# `estimated` in the log's line `CUDA graph pool memory`.
GRAPHS_MIB = {
    "72B shape, 8 layers, 0.85": 126, "72B shape, 8 layers, 0.50": 126, "72B shape, 70 layers, 0.92": 216,
    "72B shape, 40 layers, 8192 tokens a step": 86, "72B shape, 8 layers, eager": 0,
    "72B shape, 8 layers, 256 requests": 796, "7B bf16, 28 layers, 0.60": 202,
}  # fmt: skip


def planned(case: Case, **changes: Any) -> MemoryPlan:
    return plan_memory(shape_with(case.model, **case.shape), replace(arguments_of(case), **changes), [CARD])


def card_of(case: Case, **changes: Any) -> CardPlan:
    return planned(case, **changes).cards[0]


@pytest.mark.parametrize("case", FITTED, ids=lambda case: case.name)
def test_the_tokens_of_a_first_start_on_an_h100_are_told_within_3_percent(case: Case) -> None:
    logged = {seen["case"]: seen["tokens_logged"] for seen in json.loads(RESULTS.read_text())["cases"]}
    assert planned(case).kv_tokens == pytest.approx(logged[case.name], rel=0.03)


@pytest.mark.parametrize("case", FITTED, ids=lambda case: case.name)
def test_graphs_are_estimated_as_the_engine_estimates_them(case: Case) -> None:
    assert card_of(case).budget.bytes_of("graphs") / MIB == pytest.approx(GRAPHS_MIB[case.name], abs=22)


def test_a_first_start_has_less_for_its_cache_by_a_copy_of_the_embedding() -> None:
    """2376 MiB and two hidden states of 2048 tokens, in place of the step that fits in there."""
    first, later = card_of(FITTED[0]), card_of(FITTED[0], measures_kernels=False)
    copy_bytes = 152064 * 8192 * 2 + 2 * 2048 * 8192 * 2
    assert first.budget.bytes_of("activations") == copy_bytes
    assert later.kv_available_bytes - first.kv_available_bytes == copy_bytes - later.budget.bytes_of("activations")
    # Nobody holds it while the engine serves.
    assert first.ledger.bytes_of("activations") == later.ledger.bytes_of("activations") < copy_bytes / 5
    assert "embedding" in next(one.note for one in first.budget.lines if one.name == "activations")
    eager = {card_of(FITTED[0], enforce_eager=True, measures_kernels=each).kv_available_bytes for each in (True, False)}
    assert len(eager) == 1


def test_the_copy_is_that_of_the_rank_and_only_where_the_embedding_is() -> None:
    shape = shape_with(FITTED[0].model)

    def cards(**layout: Any) -> list[int]:
        told = EngineArguments(gpu_memory_utilization=0.9, max_num_seqs=32, max_num_batched_tokens=512, **layout)
        found = plan_memory(shape, told, [CARD] * 8).cards
        return [card.budget.bytes_of("activations") // MIB for card in found]

    assert cards(tensor_parallel=8) == [2376 // 8 + 16] * 8
    assert cards(pipeline_parallel=8)[0] == 2376 + 16 > 2 * max(cards(pipeline_parallel=8)[1:])


def test_uncompiled_code_holds_on_to_more() -> None:
    """452.25 MiB in the log beside cuBLAS's 32, which came after the peak."""
    assert card_of(FITTED[4]).budget.bytes_of("activations") == 484.25 * MIB
    assert card_of(FITTED[4]).ledger.bytes_of("cublas-workspace") == 32 * MIB
    # Where cuBLAS makes every product it is part of the peak.
    plain = card_of(FITTED[6], enforce_eager=True)
    assert plain.ledger.bytes_of("cublas-workspace") == 0
    assert plain.budget.bytes_of("activations") == 2048 * (4 * 3584 + 3 * 18944) * 2 + 32 * MIB


@pytest.mark.parametrize(
    ("name", "context_mib"),
    [
        # vllm's `Free memory on device (78.66/79.18 GiB)`: 526.8 MiB.
        ("NVIDIA H100 80GB HBM3", 527),
        ("NVIDIA GeForce RTX 3090", 256),
        # 102 MiB by itself, but nobody read it beside NCCL.
        ("NVIDIA GeForce RTX 3060", 256),
        ("a card of the future", 256),
        (None, 256),
    ],
)
def test_a_context_grows_with_the_threads_of_the_chip(name: str | None, context_mib: int) -> None:
    chip = chip_of(CardFacts(0, name=name, memory_total_bytes=12288 * MIB))
    assert chip.context_bytes(shipped()) / MIB == pytest.approx(context_mib, abs=5)


def test_a_rigs_own_context_goes_before_the_chips() -> None:
    own = Coefficients({"vram.cuda_context": replace(shipped()["vram.cuda_context"], value=200.0 * MIB)})
    assert chip_of(CARD).context_bytes(own.before(shipped())) == 200 * MIB


def test_buffers_of_kernels_by_chip() -> None:
    hopper, small = chip_of(CARD), chip_of(CardFacts(0, name="NVIDIA GeForce RTX 3060"))
    assert (hopper.workspace_bytes, small.workspace_bytes) == (32 * MIB, 8.125 * MIB)
    assert [hopper.marlin_sum_bytes(tokens) / MIB for tokens in (1, 16, 17, 64, 2048)] == [
        2.0625, 2.0625, 4.125, 8.25, 8.25,
    ]  # fmt: skip
    assert small.marlin_sum_bytes(64) == 1.75 * MIB


def test_graphs_of_several_ranks_take_more() -> None:
    one = EngineArguments(max_num_seqs=32)
    several = replace(one, tensor_parallel=2)
    apart = graphs_bytes(several, shipped(), 64, Chip()) - graphs_bytes(one, shipped(), 64, Chip())
    assert apart == shipped().size_bytes("vram.graphs")
    assert graphs_bytes(replace(several, optimization_level=0), shipped(), 64) == 0


@pytest.mark.parametrize(
    ("engine", "measures"),
    [
        ({}, False),
        ({"device": "cpu"}, True),
        ({"options": {"compilation-config": {"mode": 3}}}, True),
        ({"options": {"compilation_config": {"inductor_compile_config": {"combo_kernels": False}}}}, True),
        ({"options": {"compilation_config": {"inductor_compile_config": {tuning.TUNE: True}}}}, True),
        ({"options": {"compilation-config": {"inductor_compile_config": {tuning.TUNE: False}}}}, False),
        ({"options": {"compilation-config.mode": 3}}, True),
    ],
)  # fmt: skip
def test_whether_a_start_measures_its_kernels(engine: dict[str, Any], measures: bool) -> None:
    config = RigConfig.model_validate({"engine": engine})
    assert engine_arguments(config).measures_kernels is measures
    told = tuning.recommended(config)
    assert (told is None) == bool(engine)


def test_the_engine_is_told_what_the_plan_counts_on() -> None:
    argv = render(RigConfig()).argv
    told = json.loads(argv[argv.index("--compilation-config") + 1])
    assert told == tuning.recommended(RigConfig())
    eager = render(RigConfig.model_validate({"engine": {"enforce_eager": True}})).argv
    assert "--compilation-config" not in eager
