"""The solver, on cards that fit by a rule that can be reckoned by hand, and on the rig."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.catalogue import from_catalogue
from rigappliance.plan.coefficients import shipped
from rigappliance.plan.fit import CardQuestion, Fit, Verdict
from rigappliance.plan.solver import fits, limits, longest_context, ways

SEED = EngineArguments(8, 1, 0.85, 4096, 32, 2048, measures_kernels=False)
MIB = 1 << 20


def toy(arguments: EngineArguments) -> Fit:
    """Fits from 0.40 to 0.60, for up to 10 000 tokens, unless graphs are captured for more than 8 requests at 0.60."""
    share = arguments.gpu_memory_utilization
    well = 0.40 <= share <= 0.60 and arguments.max_model_len <= 10_000
    return Fit(arguments, Verdict.FITS if well else Verdict.TOO_LARGE, "" if well else "weights")


@pytest.fixture(scope="module")
def rig() -> CardQuestion:
    shape = from_catalogue("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8")
    return CardQuestion(shape, [12288 * MIB] * 8, shipped(), 256 * MIB)


def test_the_limits_are_the_ends_of_what_fits() -> None:
    found = limits(toy, replace(SEED, gpu_memory_utilization=0.5), 32768)
    assert (found.least_utilization, found.most_utilization) == (0.40, 0.60)
    assert found.longest_context == 10_000, "625 blocks of 16"


@pytest.mark.parametrize("longest", [0, 16, 32, 4096, 32752, 32768])
def test_the_longest_context_is_found_exactly(longest: int) -> None:
    def ask(arguments: EngineArguments) -> Fit:
        return Fit(arguments, Verdict.FITS if arguments.max_model_len <= longest else Verdict.TOO_LARGE)

    assert longest_context(ask, SEED, 32768) == (longest or None)


def test_nothing_is_advised_where_it_fits_and_only_what_fits_where_it_does_not() -> None:
    assert ways(toy, replace(SEED, gpu_memory_utilization=0.5), None, []) == []
    found = ways(toy, replace(SEED, gpu_memory_utilization=0.9), None, [(4, 2)])
    assert [way.keys for way in found] == [{"engine.gpu_memory_utilization": 0.60}], "the nearest to what was asked"
    found = ways(toy, replace(SEED, gpu_memory_utilization=0.5, max_model_len=16384), None, [])
    assert [way.keys["engine.max_model_len"] for way in found] == [8192, 4096, 2048, 1024]


def test_the_seeds_numbers_fit_and_a_higher_utilisation_is_told_apart(rig: CardQuestion) -> None:
    """RIG.md: 0.85 serves, with about 9 GB of weights a card; 0.90 died when all was loaded."""
    assert fits(rig.fit(SEED))
    higher = rig.fit(replace(SEED, gpu_memory_utilization=0.90))
    assert higher.verdict is not Verdict.FITS and higher.line, higher
    memory = rig.fit(SEED).memory
    assert memory is not None and memory.kv_tokens is not None and memory.kv_tokens >= 4096
    weights_gb = memory.cards[0].ledger.bytes_of("weights") / 1e9
    assert weights_gb == pytest.approx(9, rel=0.1)


def test_a_cache_of_a_fixed_size_fits_and_a_larger_one_is_not_advised(rig: CardQuestion) -> None:
    size = limits(rig.fit, SEED, 32768).kv_cache_memory_bytes
    assert size is not None and size % MIB == 0
    assert fits(rig.fit(replace(SEED, kv_cache_memory_bytes=size)))
    assert not fits(rig.fit(replace(SEED, kv_cache_memory_bytes=size + 512 * MIB)))
    assert limits(replace(rig, cards=[8192 * MIB] * 8).fit, SEED, 4096).kv_cache_memory_bytes is None


def test_each_way_really_fits(rig: CardQuestion) -> None:
    asked = replace(SEED, max_model_len=32768)
    assert not fits(rig.fit(asked))
    found = ways(rig.fit, asked, (8, 6), [(4, 2), (2, 4)])
    assert found
    names = {"gpu_memory_utilization", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "enforce_eager",
             "tensor_parallel", "pipeline_parallel"}  # fmt: skip
    for way in found:
        changed = {key.removeprefix("engine."): value for key, value in way.keys.items()}
        assert set(changed) <= names
        assert fits(rig.fit(replace(asked, **changed))), way


def test_a_card_of_eight_gigabytes_is_refused_with_the_line_that_overflows(rig: CardQuestion) -> None:
    fit = replace(rig, cards=[8192 * MIB] * 8).fit(SEED)
    assert (fit.verdict, fit.line) == (Verdict.TOO_LARGE, "weights")
    assert "short" in fit.reason
    assert limits(replace(rig, cards=[8192 * MIB] * 8).fit, SEED, 4096).least_utilization is None


def test_a_margin_that_is_not_left_is_unsafe(rig: CardQuestion) -> None:
    fit = replace(rig, margin_bytes=4096 * MIB).fit(SEED)
    assert fit.verdict is Verdict.UNSAFE and "hardware.card_margin" in fit.reason


def test_a_layout_that_the_engine_refuses_is_no_traceback(rig: CardQuestion) -> None:
    fit = rig.fit(replace(SEED, tensor_parallel=3))
    assert (fit.verdict, fit.line) == (Verdict.TOO_LARGE, "layout")
