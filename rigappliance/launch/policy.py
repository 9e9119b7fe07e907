"""When it is enough: values in, values out."""

from __future__ import annotations

from collections.abc import Sequence

from rigappliance.diagnosis.cause import Cause, Decision
from rigappliance.errors import ExitCode
from rigappliance.launch.failures import Failure

# A start that had loaded the weights was the expensive kind: three quarters of an hour on the reference rig.
LOADED_STARTS = 2
STARTS = 5
COMPACTED_STARTS = 2

# Somebody else ended the engine, and a start is what the machine is switched on for.
NEVER_GIVEN_UP = ("power-cut",)


def attempts(earlier: Sequence[Failure], cause: Cause, boot_id: str) -> list[Failure]:
    """The failures of ``cause`` right before this one that count with it, oldest first.

    A start that got ready, another cause, a reboot and a start after giving up,
    which somebody made by hand, begin anew.
    """
    found: list[Failure] = []
    for failure in reversed(earlier):
        other = failure.cause != cause.name or failure.boot_id != boot_id
        if other or failure.mended or failure.ready or failure.exit_code == ExitCode.GIVEN_UP:
            break
        found.insert(0, failure)
    return found


def enough(earlier: Sequence[Failure], cause: Cause, *, loaded: bool, ready: bool) -> bool:
    """Whether a failure of ``cause`` after ``earlier`` ones that count is the last that is tried.

    ``loaded``: this one had loaded the weights.  An engine that had been ready
    is always started again; systemd's start limit still holds.
    """
    if ready or cause.name in NEVER_GIVEN_UP:
        return False
    count = len(earlier) + 1
    if cause.decision is Decision.COMPACT:
        return count >= COMPACTED_STARTS
    if cause.decision is not Decision.RETRY:
        return False
    with_weights = sum(failure.loaded for failure in earlier) + loaded
    return count >= STARTS or with_weights >= LOADED_STARTS
