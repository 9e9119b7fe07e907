"""Predicted time of a start: reading the checkpoint, and the silent phase."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigappliance.plan.activations import capture_sizes
from rigappliance.plan.arguments import EngineArguments
from rigappliance.plan.times_load import disk_s, load_s, share_apart, silent_s
from rigappliance.plan.times_split import Split
from tests.unit.plan.test_times import KNOWN, PP_8, QWEN_72B, SPLITS, TP_8, cores, rig

# As the rig starts: RIG.md.
ARGUMENTS = EngineArguments(tensor_parallel=8, max_num_seqs=32, gpu_memory_utilization=0.85)
SEQUENTIAL = KNOWN.number("times.disk_sequential_hdd")


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_the_rig_loads_as_long_as_was_measured(generation: int) -> None:
    """About 28 min. Fitted to nothing: seeks of data sheets, and the disk's sequential speed, which RIG.md gives."""
    assert load_s(QWEN_72B, rig(generation), TP_8, KNOWN) == pytest.approx(28 * 60, rel=0.25)


@pytest.mark.parametrize("generation", [1, 2, 3])
def test_the_rig_is_silent_as_long_as_was_measured(generation: int) -> None:
    """15 to 20 min, the first time."""
    assert silent_s(QWEN_72B, rig(generation), TP_8, ARGUMENTS, KNOWN, cached=False) == pytest.approx(
        17.5 * 60, rel=0.25
    )


def test_one_reader_sweeps_the_disk_and_eight_seek_where_their_slices_lie_apart() -> None:
    sweep = QWEN_72B.tensor_bytes / SEQUENTIAL
    assert disk_s(QWEN_72B, rig(), Split(1, 1), KNOWN) == sweep
    assert disk_s(QWEN_72B, rig(), TP_8, KNOWN) > 2.5 * sweep
    # GPTQ keeps a matrix inputs first: the output and down projections, and embedding and head, are in pieces.
    assert share_apart(QWEN_72B, TP_8) == pytest.approx(0.39, abs=0.01)
    assert share_apart(replace(QWEN_72B, inputs_first=False), TP_8) == pytest.approx(0.67, abs=0.01)
    assert share_apart(QWEN_72B, PP_8) == 1


def test_stages_read_a_hard_disk_in_more_places_and_another_disk_no_slower() -> None:
    assert disk_s(QWEN_72B, rig(), PP_8, KNOWN) > 1.5 * disk_s(QWEN_72B, rig(), TP_8, KNOWN)
    flash = replace(rig(), disk_rotates=False, disk_bandwidth=2e9)
    assert {disk_s(QWEN_72B, flash, split, KNOWN) for split in SPLITS} == {QWEN_72B.tensor_bytes / 2e9}


def test_a_larger_read_ahead_and_a_faster_disk_load_sooner() -> None:
    times = [
        load_s(QWEN_72B, machine, TP_8, KNOWN)
        for machine in (
            rig(),
            replace(rig(), read_ahead_bytes=1024**2),
            replace(rig(), read_ahead_bytes=1024**2, disk_bandwidth=240e6),
            replace(rig(), disk_rotates=False),
        )
    ]
    assert times == sorted(times, reverse=True) and len(set(times)) == 4
    assert times[1] < 0.5 * times[0]


def test_a_larger_disk_seeks_less_far_for_the_same_checkpoint() -> None:
    times = [disk_s(QWEN_72B, replace(rig(), disk_bytes=size), PP_8, KNOWN) for size in (10**12, 8 * 10**12)]
    assert times[1] < times[0]


def test_with_a_fast_disk_the_links_set_the_pace() -> None:
    fast = replace(cores(rig(1), 64), disk_rotates=False, disk_bandwidth=7e9)
    link_s = QWEN_72B.tensor_bytes / 8 / (0.86 * 250e6)
    assert load_s(QWEN_72B, fast, TP_8, KNOWN) == pytest.approx(link_s, rel=0.1)
    # A single rank reads, copies and sends one after another.
    alone = replace(fast, disk_bandwidth=1e9)
    parts = QWEN_72B.tensor_bytes / 1e9 + QWEN_72B.tensor_bytes / 2e9 + QWEN_72B.tensor_bytes / (0.86 * 250e6)
    assert load_s(QWEN_72B, alone, Split(1, 1), KNOWN) == pytest.approx(parts)


def test_what_is_compiled_already_or_not_at_all_is_silent_for_less() -> None:
    def silent(arguments: EngineArguments, *, cached: bool = False) -> float:
        return silent_s(QWEN_72B, rig(), TP_8, arguments, KNOWN, cached=cached)

    first, again = silent(ARGUMENTS), silent(ARGUMENTS, cached=True)
    eager = silent(replace(ARGUMENTS, enforce_eager=True))
    assert eager < again < first
    assert silent(replace(ARGUMENTS, optimization_level=0)) == eager
    assert silent(replace(ARGUMENTS, capture_sizes=(1, 2))) < first < silent(replace(ARGUMENTS, max_num_seqs=256))
    assert silent_s(QWEN_72B, cores(rig(), 8), TP_8, ARGUMENTS, KNOWN, cached=False) < first / 3


def test_the_sizes_of_graphs_are_the_engines_own() -> None:
    def sizes(requests: int) -> tuple[int, ...]:
        return capture_sizes(replace(ARGUMENTS, max_num_seqs=requests))

    assert sizes(32) == (1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64)
    assert sizes(1) == (1, 2)
    assert (len(sizes(256)), sizes(256)[-3:]) == (51, (480, 496, 512))
    assert sizes(1000) == sizes(256)
