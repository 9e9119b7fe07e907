"""The end of a launch whose supervisor could not tell it: it was killed, or the machine went down."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rigappliance.config import RigConfig
from rigappliance.diagnosis.diagnose import diagnose
from rigappliance.diagnosis.logreader import LogReader
from rigappliance.diagnosis.observations import MemoryEvidence, Observations
from rigappliance.errors import ExitCode
from rigappliance.launch import journal
from rigappliance.launch.aftermath import settle
from rigappliance.launch.boot import boot_id
from rigappliance.launch.memorywatch import MemoryWatch
from rigappliance.launch.outcome import Ending, Outcome, diagnosed
from rigappliance.launch.phases import LABELS, Phase
from rigappliance.launch.state import StartState, StateDirectory
from rigappliance.launch.witness import free_bytes, oomd_lines

UNIT = "rigappliance.service"
# Enough for a start and its end; of a longer log only the end is read.
LOG_BYTES = 16 << 20
# systemd.exec(5): what ExecStopPost is told about the end of the main process.
SERVICE_VARIABLES = ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS")
# Results by which systemd itself ended a supervisor that then left in good order.
IMPATIENT = ("timeout", "watchdog")


def record_killed(
    config: RigConfig, directory: StateDirectory, state: StartState, environ: Mapping[str, str] = os.environ
) -> str | None:
    """Diagnose and record the end of ``state``'s launch if nobody has; the sentence for the operator, or None.

    The caller holds the lock, so that launch is not running.
    """
    result = environ.get("SERVICE_RESULT", "")
    impatient = result in IMPATIENT and state.outcome == "interrupted"
    if state.ended is not None and not impatient:
        return None
    seen = observe(config, directory, state, systemd_words(environ), impatient=impatient)
    outcome = settle(concluded(seen, state, directory), config, directory, state, told=False)
    if state.ended is None:
        state.elapsed_s = None if seen.rebooted else state.duration_s()
        state.ended = max(time.time(), state.started)
    state.outcome = outcome.kind if impatient else "power-cut" if seen.rebooted else "killed"
    state.exit_code, state.message = outcome.exit_code, outcome.message
    state.cause = outcome.diagnosis.cause.name if outcome.diagnosis else None
    directory.write(state)
    return outcome.message


def concluded(seen: Observations, state: StartState, directory: StateDirectory) -> Outcome:
    when = "while serving" if seen.ready else f"during {state.phase}"
    if seen.rebooted:
        ending = Ending(ExitCode.DIED, f"the machine went down {when}")
    elif seen.supervisor_killed:
        ending = Ending(ExitCode.DIED, f"rigappliance (pid {state.supervisor_pid}) was killed {when}")
    else:
        ending = Ending(ExitCode.HUNG, f"systemd's patience ended {when}")
    return diagnosed(ending, diagnose(seen), directory.log_file)


def observe(
    config: RigConfig, directory: StateDirectory, state: StartState, systemd: tuple[str, ...], *, impatient: bool
) -> Observations:
    """What files, kernel and journal still tell."""
    rebooted = bool(state.boot_id) and state.boot_id != boot_id() and not impatient
    watch = MemoryWatch(before=state.counters)
    if not systemd:
        # Only the unit's own stop command still finds the group in which it happened.
        watch.group = None
    reader = LogReader()
    for line in log_lines(directory.log_file):
        reader.feed(line)
    return Observations(
        log=reader.evidence(),
        phase=phase_of(state.phase),
        ready=state.ready is not None,
        memory=MemoryEvidence() if rebooted else watch.evidence(),
        kernel_lines=journal.kernel_lines(state.boot_id, state.started),
        journal_lines=(
            *systemd,
            *(() if rebooted else oomd_lines(watch.group)),
            *journal.unit_lines(UNIT, state.boot_id, state.started),
        ),
        disk_free_bytes=free_bytes(config.state_dir),
        quiet_s=state.duration_s() if impatient else None,
        supervisor_killed=not impatient,
        rebooted=rebooted,
    )


def systemd_words(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What systemd tells its ExecStopPost, in a line."""
    result, code, status = (environ.get(name, "") for name in SERVICE_VARIABLES)
    return (f"systemd: Result={result}, ExitCode={code}, ExitStatus={status}",) if result else ()


def phase_of(label: str) -> Phase:
    return next((phase for phase, text in LABELS.items() if text == label), Phase.PROCESS)


def log_lines(path: Path) -> Iterator[str]:
    """Lines of the log's end, a carriage return ending one too; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - LOG_BYTES, 0))
            data = file.read(LOG_BYTES)
    except OSError:
        return
    for line in data.replace(b"\r", b"\n").split(b"\n"):
        yield line[: 1 << 14].decode(errors="replace")
