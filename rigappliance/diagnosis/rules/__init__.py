"""The rules in their order: the first that finds something is right.

What the kernel and systemd say comes before the log, the log's root causes
before signals, and signals before what merely fits.
"""

from __future__ import annotations

from collections.abc import Callable

from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Diagnosis
from rigappliance.diagnosis.rules import (
    ending,
    fragments,
    hang,
    hardware,
    killed,
    logcause,
    pressure,
    probes,
    signalled,
)

Rule = Callable[[Observations], Diagnosis | None]

RULES: tuple[Rule, ...] = (
    ending.stopped,
    killed.by_the_kernel,
    pressure.by_oomd,
    ending.power_cut,
    hardware.card_lost,
    hardware.driver_mismatch,
    fragments.fragmented,
    ending.supervisor_killed,
    probes.no_tokenizer,
    probes.refused,
    hang.hung,
    logcause.first_root,
    hardware.disk_failing,
    signalled.trapped,
    signalled.by_signal,
    logcause.first_hint,
    ending.core_dead,
    ending.silent_exit,
    ending.disk_full,
)
