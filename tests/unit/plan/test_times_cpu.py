"""What a step costs where processes outnumber cores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rigappliance.plan.times import decode
from rigappliance.plan.times_inputs import Machine
from rigappliance.plan.times_split import Split
from tests.unit.plan.test_times import KNOWN, QWEN_72B, TP_8, cores, rig


def test_launching_kernels_one_by_one_costs_two_cores_more_than_many() -> None:
    def step_s(machine: Machine, split: Split) -> float:
        return 1 / decode(QWEN_72B, machine, split, 1, KNOWN).tokens_s

    splits = [replace(TP_8, graphs=graphs) for graphs in ("full", "piecewise", "none")]
    on_two = [step_s(rig(), split) for split in splits]
    assert on_two == sorted(on_two) and len(set(on_two)) == 3
    # 80 layers of 83 µs, by eight workers on two cores of 45 % speed, less what a fast core hides.
    assert on_two[1] - on_two[0] == pytest.approx(80 * 83e-6 * (8 / 2 / 0.45 - 1))
    assert len({step_s(cores(rig(), 16), split) for split in splits}) == 1


def test_each_stage_waits_for_a_turn_more_and_launches_its_own_layers_alone() -> None:
    """Nine processes on two cores: 3.5 before each in the queue, 4 ms each, three times and once more a stage."""
    for stages in (1, 2, 4, 8):
        split = Split(8 // stages, stages)
        assert split.ranks == 8
        full, pieces = (
            decode(QWEN_72B, rig(), replace(split, graphs=graphs), 1, KNOWN).parts["CPU cores"]
            for graphs in ("full", "piecewise")
        )
        work = 2e-3 * (8 / 2 / 0.45 - 1)
        assert full == pytest.approx(work + (2 + stages) * 3.5 * 4e-3)
        assert pieces - full == pytest.approx(80 / stages * 83e-6 * (8 / 2 / 0.45 - 1))


def test_slow_cores_take_longer_for_what_each_worker_does() -> None:
    old = decode(QWEN_72B, rig(), TP_8, 1, KNOWN).parts["CPU cores"]
    fast = decode(QWEN_72B, replace(rig(), core_speed=1.0), TP_8, 1, KNOWN).parts["CPU cores"]
    assert old - fast == pytest.approx(8 / 2 * 2e-3 * (1 / KNOWN.number("times.core_speed_old") - 1))
