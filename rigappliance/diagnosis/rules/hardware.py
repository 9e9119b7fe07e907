"""Cards and disks that the kernel or NVML names."""

from __future__ import annotations

from rigappliance.diagnosis.finding import CARDS, KERNEL, found, of_hit
from rigappliance.diagnosis.kernellog import card_faults, disk_faults, driver_mismatches
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.diagnosis.signature import Role

SHOWN = 3


def card_lost(seen: Observations) -> Diagnosis | None:
    faults = [Evidence(KERNEL, line) for line in card_faults(seen.kernel_lines)[:SHOWN]]
    faults += [Evidence(CARDS, line) for line in seen.card_lines[:SHOWN]]
    said = [of_hit(hit) for hit in seen.log.of(Role.ROOT)[:1]]
    return found("card-lost", Confidence.CERTAIN, (*faults, *said)) if faults else None


def driver_mismatch(seen: Observations) -> Diagnosis | None:
    lines = driver_mismatches(seen.kernel_lines)
    if not lines:
        return None
    return found(
        "driver-missing",
        Confidence.CERTAIN,
        (Evidence(KERNEL, lines[0]),),
        "reboot, so that the kernel's module and the driver's libraries are of one version again",
    )


def disk_failing(seen: Observations) -> Diagnosis | None:
    faults = disk_faults(seen.kernel_lines)
    evidence = [Evidence(KERNEL, line) for line in faults[:SHOWN]]
    return found("disk-failing", Confidence.LIKELY, evidence) if faults else None
