"""What is measured fits the time and the engine, and stays the same from run to run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from rigappliance.configfile import load_config
from rigappliance.measure.figures import Sample
from rigappliance.measure.rates import TRUSTED, believed, planned_rates, tried_jobs, tried_rates
from rigappliance.measure.record import Run
from rigappliance.measure.run import Notes, agreed
from rigappliance.measure.workload import FULL_S, QUICK_S, Lengths, Rates, Workload, chosen, possible
from rigappliance.plan.subject import planned

RIG_KV_TOKENS = 5136


@cache
def rig_rates() -> Rates:
    layout = planned(load_config(environ={}), None, Path("rig"), None).layout
    assert layout is not None
    return Rates(layout.prefill_tokens_s, layout.decode_tokens_s, "by the plan")


@pytest.mark.parametrize(("limit_s", "least_s"), [(FULL_S, 300.0), (QUICK_S, 60.0)])
def test_the_reference_rig_is_through_in_about_the_time(limit_s: float, least_s: float) -> None:
    rates = rig_rates()
    workload = chosen(possible(32, RIG_KV_TOKENS, 4096), rates, limit_s)
    assert workload.concurrencies == (1, 4, 16, 32)
    assert least_s < rates.seconds(workload) <= limit_s


def test_no_request_has_to_wait_for_room() -> None:
    for most in (100, 4096):
        found = possible(32, RIG_KV_TOKENS, most)
        assert found
        for _, job in (job for workload in found for job in workload.jobs()):
            assert (job.input_tokens + job.output_tokens) * job.concurrency <= RIG_KV_TOKENS
            assert job.input_tokens + job.output_tokens <= most
            assert job.requests >= job.concurrency
    assert possible(32, 500, 4096) == []


@pytest.mark.parametrize(
    ("most", "expected"), [(1, (1,)), (8, (1, 4, 8)), (16, (1, 4, 16)), (32, (1, 4, 16, 32)), (256, (1, 4, 16, 32))]
)
def test_no_more_at_a_time_than_the_engine_takes(most: int, expected: tuple[int, ...]) -> None:
    assert possible(most, None, 4096)[0].concurrencies == expected


def test_rates_between_known_concurrencies_lie_between() -> None:
    rates = Rates(100.0, {1: 10.0, 16: 40.0}, "")
    assert rates.decode_at(4) == pytest.approx(20.0)
    assert (rates.decode_at(1), rates.decode_at(16), rates.decode_at(64)) == (10.0, 40.0, 40.0)


def sample(job_tokens: int, first_s: float, gap_s: float) -> Sample:
    return Sample(first_s + gap_s, job_tokens, 8, (first_s / 2, first_s), (gap_s, gap_s), 1.0, 0.1)


def test_the_first_requests_tell_the_rates() -> None:
    rates = tried_rates(tried_jobs(32), (sample(256, 2.0, 0.8), sample(32, 0.5, 0.1)))
    assert rates.prefill == pytest.approx(128.0)
    assert rates.decode == pytest.approx({32: 40.0, 1: 10.0})


def test_a_plan_is_believed_unless_the_rig_is_far_from_it() -> None:
    tried = Rates(100.0, {1: 10.0, 32: 40.0}, "tried")
    near = Rates(500.0, {1: 10.0 * TRUSTED * 0.9, 32: 40.0}, "plan")
    far = Rates(500.0, {1: 10.0, 32: 40.0 * TRUSTED * 1.1}, "plan")
    assert believed(near, tried) is near
    assert believed(far, tried) is tried
    assert believed(None, tried) is tried


def test_a_plan_that_knows_no_times_is_none(tmp_path: Path) -> None:
    assert planned_rates(load_config(profile="demo", environ={"RIGAPPLIANCE_MODEL__PATH": str(tmp_path)})) is None


def run_of(workload: Workload) -> Run:
    return Run(0.0, {}, {}, False, workload, True, 1.0, (), {}, 0)


def test_lengths_stay_those_of_the_last_run_while_they_fit() -> None:
    fast, slow = Rates(4000.0, {1: 1000.0}, ""), Rates(40.0, {1: 10.0}, "")
    candidates = possible(32, None, 4096)
    last = run_of(candidates[2])
    notes = Notes([])
    assert agreed(candidates, [last], fast, FULL_S, notes) == last.workload
    assert notes.texts == []
    assert agreed(candidates, [], fast, FULL_S, notes) == candidates[0]
    assert agreed(candidates, [last], slow, FULL_S, notes).lengths == Lengths(64, 16)
    assert len(notes.texts) == 1
