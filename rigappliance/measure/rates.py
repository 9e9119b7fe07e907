"""How fast a rig is before it is measured: by its plan, and by a few requests."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from rigappliance.config import RigConfig
from rigappliance.errors import RigError
from rigappliance.measure.figures import Sample
from rigappliance.measure.session import Job
from rigappliance.measure.workload import Rates

# A plan that is off by more than this is put right by the first requests.
TRUSTED = 2.0


def planned_rates(config: RigConfig) -> Rates | None:
    """None where the plan knows no times: an engine on the CPU, or a card that is not in its table."""
    # Only here: a plan reads the checkpoint's headers and asks the cards.
    from rigappliance.plan.subject import planned

    try:
        layout = planned(config, None, None, None).layout
    except RigError:
        return None
    return Rates(layout.prefill_tokens_s, layout.decode_tokens_s, "by the plan") if layout else None


def tried_jobs(most: int) -> tuple[Job, Job]:
    """All at once first, which also warms everything up, then one alone."""
    return Job(most, most, 8, 4), Job(1, 1, 32, 8)


def tried_rates(jobs: tuple[Job, Job], samples: tuple[Sample, Sample]) -> Rates:
    """What the tried jobs tell. Their prompts are short, so that reading long ones may be faster."""
    reading, writing = [], {}
    for job, sample in zip(jobs, samples, strict=True):
        # The last of the first tokens: by then all prompts are read.
        reading.append(sample.input_tokens / max(sample.first_s))
        gap = statistics.median(sample.gaps_s) if sample.gaps_s else sample.duration_s / job.output_tokens
        # At once is a clock's resolution.
        writing[job.concurrency] = job.concurrency / max(gap, 1e-6)
    return Rates(max(reading), writing, "by the first requests")


def believed(plan: Rates | None, tried: Rates) -> Rates:
    """The plan's, unless the first requests show that it is far off."""
    if plan is None:
        return tried
    ratios: Mapping[int, float] = {count: plan.decode_at(count) / rate for count, rate in tried.decode.items()}
    return plan if all(1 / TRUSTED <= ratio <= TRUSTED for ratio in ratios.values()) else tried
