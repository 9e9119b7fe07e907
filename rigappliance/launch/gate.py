"""Before anything is loaded: would this start fail as the last one did?"""

from __future__ import annotations

import time
from dataclasses import replace

from rigappliance.config import RigConfig
from rigappliance.diagnosis.cause import Decision, Fact
from rigappliance.errors import ExitCode, RigError
from rigappliance.launch.failures import Failure, replace_last
from rigappliance.launch.standing import as_it_was, standing
from rigappliance.launch.state import StateDirectory

CHANGES = {
    Fact.CONFIGURATION: "the configuration",
    Fact.CHECKPOINT: "the checkpoint",
    Fact.MEMORY: "RAM and memory limit",
    Fact.SWAP: "the swap",
    Fact.CARDS: "cards and driver",
    Fact.TOOLCHAIN: "compilers and headers",
    Fact.ENGINE: "the engine's packages",
    Fact.DISK: "the free space",
    Fact.PORT: "the port",
    Fact.BOOT: "the boot",
    Fact.CACHES: "the caches",
}


class KnownFailureError(RigError):
    """A start that was refused, with the code of the cause for which it would fail."""

    def __init__(self, failure: Failure, found: str, expected: str, remedy: str) -> None:
        super().__init__(found, expected, remedy)
        self.failure = failure
        self.exit_code = failure.exit_code


def final(failure: Failure) -> bool:
    """Whether nothing but a change mends it."""
    cause = failure.known_cause
    if failure.mended or not cause.mended_by:
        return False
    # Compacted in vain.
    given_up = cause.decision is Decision.COMPACT and failure.exit_code == ExitCode.GIVEN_UP
    return cause.decision is Decision.STOP or given_up


def unchanged(failure: Failure, config: RigConfig) -> bool:
    """Whether all that could have mended it is as it was. A fact that was not recorded keeps the gate open."""
    names = [str(fact) for fact in failure.known_cause.mended_by]
    if any(name not in failure.facts for name in names):
        return False
    # Only those that are asked for: the cards take seconds.
    for fact in failure.known_cause.mended_by:
        now = standing(config, [fact])[str(fact)]
        if not as_it_was(fact, failure.facts[str(fact)], now):
            return False
    return True


def check_given_up(failures: list[Failure], directory: StateDirectory, boot_id: str) -> None:
    """Raises ``KnownFailureError``, once, where it was enough and systemd could not be told, since it was killed."""
    last = failures[-1] if failures else None
    if last is None or last.told or last.exit_code != ExitCode.GIVEN_UP:
        return
    replace_last(directory, replace(last, told=True))
    if last.boot_id != boot_id or last.mended:
        return
    cause = last.known_cause
    raise KnownFailureError(
        last,
        f"not started: given up after {last.attempt} starts that failed alike ({cause.name}: {cause.title})",
        "a start that gets ready",
        f"{cause.remedy}; `rigappliance why` tells more, another start tries again",
    )


def check_gate(failures: list[Failure], config: RigConfig) -> None:
    """Raises ``KnownFailureError`` where the last failure would come again."""
    if not failures or not final(failures[-1]) or not unchanged(failures[-1], config):
        return
    failure = failures[-1]
    cause = failure.known_cause
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(failure.ended))
    remedy = str(failure.diagnosis.get("remedy") or cause.remedy)
    changes = [CHANGES[fact] for fact in cause.mended_by]
    listed = changes[0] if len(changes) == 1 else f"{', '.join(changes[:-1])} or {changes[-1]}"
    raise KnownFailureError(
        failure,
        f"not started: the last start failed ({cause.name}: {cause.title}, {when}), and nothing has changed since",
        f"a change of {listed}",
        f"{remedy}; `rigappliance why` tells more, `rigappliance launch --force` starts anyway",
    )
