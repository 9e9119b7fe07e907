"""What one load was measured to be, and what several were together."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from bench.common import spread
from bench.hdd import Counts
from bench.loadwork import groups
from bench.loadwork.rival import FILE
from rigappliance.units import format_size


@dataclass(frozen=True)
class Run:
    seconds: float
    skew_s: float = 0.0
    cpu_s: float = 0.0
    disk: Counts | None = None
    usage: groups.Usage | None = None


def medians(runs: list[Run], base: list[Run], checkpoint_bytes: int) -> dict[str, Any]:
    """Ratios are taken within a round, against that round's sequential read."""
    ratios = [run.seconds / against.seconds for run, against in zip(runs, base, strict=True)]
    result: dict[str, Any] = {
        "seconds": [run.seconds for run in runs],
        "median_s": statistics.median(run.seconds for run in runs),
        "ratios": ratios,
        "median_ratio": statistics.median(ratios),
        "skew_s": statistics.median(run.skew_s for run in runs),
        "cpu_s": statistics.median(run.cpu_s for run in runs),
    }
    disks = [run.disk.without(FILE) for run in runs if run.disk]
    if disks:
        result |= {
            "bytes_ratio": statistics.median(disk.bytes / checkpoint_bytes for disk in disks),
            "reads": statistics.median(disk.requests for disk in disks),
            "mean_read_bytes": statistics.median(disk.mean_bytes for disk in disks),
            "seeks": statistics.median(disk.seeks for disk in disks),
            "disk_busy_s": statistics.median(disk.busy_s for disk in disks),
            "disk_lost_s": max(disk.lost_s for disk in disks),
            "longest_queue": max(disk.longest_queue for disk in disks),
        }
    usages = [run.usage for run in runs if run.usage]
    if usages:
        result |= {
            "peak_bytes": max(usage.peak_bytes for usage in usages),
            "refaults": statistics.median(usage.refaults for usage in usages),
            "reclaims": statistics.median(usage.reclaims for usage in usages),
            "stalled_s": {
                kind: statistics.median(usage.stalled_s.get(kind, 0.0) for usage in usages) for kind in groups.PRESSURES
            },
        }
    return result


def over(runs: list[Run], others: list[Run]) -> float:
    """The median of the rounds' own ratios."""
    return statistics.median(run.seconds / other.seconds for run, other in zip(runs, others, strict=True))


def row(found: dict[str, Any], ratios: list[float], seconds: list[float]) -> str:
    text = f"{spread(seconds)} s, {spread(ratios)} of sequential"
    if "over_stock" in found:
        text += f", {found['over_stock']:.3f} of stock"
    if "reads" in found:
        text += (
            f", {found['bytes_ratio']:.3f} of the bytes, {found['reads']:.0f} reads of "
            f"{format_size(int(found['mean_read_bytes']))}, {found['seeks']:.0f} seeks, disk busy "
            f"{found['disk_busy_s']:.1f} s"
        )
    if "peak_bytes" in found:
        stalled = " ".join(f"{kind} {seconds:.1f}" for kind, seconds in found["stalled_s"].items())
        text += (
            f", peak {format_size(found['peak_bytes'])}, {found['refaults']:.0f} refaults, "
            f"{found['reclaims']:.0f} times at the limit, stalled s: {stalled}"
        )
    return text + f", skew {found['skew_s']:.1f} s, CPU {found['cpu_s']:.1f} s"
