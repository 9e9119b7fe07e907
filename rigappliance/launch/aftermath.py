"""After a failure: is it tried again, and what is written down for those who come later."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from rigappliance.config import RigConfig
from rigappliance.diagnosis.cause import Decision, Fact
from rigappliance.diagnosis.report import as_dict
from rigappliance.diagnosis.result import Diagnosis
from rigappliance.errors import ExitCode
from rigappliance.launch import failures, policy
from rigappliance.launch.compaction import ask_for_compaction
from rigappliance.launch.failures import Failure
from rigappliance.launch.outcome import Outcome
from rigappliance.launch.standing import FROM_THE_START, standing
from rigappliance.launch.state import StartState, StateDirectory


def settle(
    outcome: Outcome, config: RigConfig, directory: StateDirectory, state: StartState, *, told: bool = True
) -> Outcome:
    """Record a failure, and give up where it is enough; returns what the operator is told. Raises nothing of its own.

    A stop on request, and an end without a diagnosis, leave nothing.  ``told``:
    systemd will hear of it by the exit code.
    """
    diagnosis = outcome.diagnosis
    if diagnosis is None or diagnosis.decision is Decision.NONE:
        return outcome
    cause, ready = diagnosis.cause, state.ready is not None
    earlier = policy.attempts(failures.read_failures(directory), cause, state.boot_id)
    if policy.enough(earlier, cause, loaded=state.loaded, ready=ready):
        outcome = given_up(outcome, len(earlier) + 1)
    elif cause.decision is Decision.COMPACT:
        ask_for_compaction(directory)
    failure = record_of(outcome, diagnosis, config, state, attempt=len(earlier) + 1)
    failures.append(directory, replace(failure, told=told))
    return outcome


def record_of(outcome: Outcome, diagnosis: Diagnosis, config: RigConfig, state: StartState, *, attempt: int) -> Failure:
    # The clock may have been set meanwhile: what it says now is more often right than what it said then.
    now = time.time()
    return Failure(
        run_id=state.run_id,
        started=now - state.duration_s() if state.ended is None else state.started,
        ended=now if state.ended is None else max(state.ended, state.started),
        boot_id=state.boot_id,
        phase=state.phase,
        ready=state.ready is not None,
        loaded=state.loaded,
        exit_code=outcome.exit_code,
        cause=diagnosis.cause.name,
        diagnosis=as_dict(diagnosis),
        facts=facts_of(diagnosis, config, state.facts),
        attempt=attempt,
    )


def facts_of(diagnosis: Diagnosis, config: RigConfig, at_the_start: Mapping[str, str]) -> dict[str, str]:
    """Those that would mend the cause, as they are now.

    What has changed since the start is left out: it may have been spoilt or mended meanwhile, and as long as nobody
    knows which, another start is worth it.
    """
    wanted = diagnosis.cause.mended_by
    now = standing(config, wanted)
    found = {name: fact for name, fact in now.items() if at_the_start.get(name, fact) == fact}
    if Fact.PORT in wanted:
        # Whoever took it may be gone by now, and a start would be worth it.
        found[str(Fact.PORT)] = "taken"
    return found


def facts_at_the_start(config: RigConfig) -> dict[str, str]:
    return standing(config, FROM_THE_START)


def given_up(outcome: Outcome, count: int) -> Outcome:
    return replace(
        outcome,
        ending=ExitCode.GIVEN_UP,
        message=f"{outcome.message}; given up after {count} starts that failed so",
        remedy="reboot: compacting the memory did not help" if compacts(outcome) else outcome.remedy,
    )


def compacts(outcome: Outcome) -> bool:
    return outcome.diagnosis is not None and outcome.diagnosis.decision is Decision.COMPACT
