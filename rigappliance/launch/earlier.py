"""What an earlier launch of the same state directory left, should both it and its guard have been killed."""

from __future__ import annotations

import os
import signal

from rigappliance.launch.engineprocess import RUN_ID
from rigappliance.launch.leftovers import remove_shared_memory
from rigappliance.launch.proctree import ProcessStat, read_stat, send, wait_gone, with_environment
from rigappliance.launch.state import StartState

# An earlier guard that is still at work needs about three seconds.
GUARD_S = 6.0
KILL_S = 30.0


def supervisor_alive(state: StartState) -> bool:
    """The very process that wrote the state, not a later one with its pid."""
    stat = read_stat(state.supervisor_pid)
    return stat is not None and stat.start_ticks == state.supervisor_start_ticks and stat.state not in "ZX"


def survivors(state: StartState) -> list[ProcessStat]:
    """Processes of that launch, known by the run id in their environment."""
    return [stat for stat in with_environment(f"{RUN_ID}={state.run_id}") if stat.pid != os.getpid()]


def sweep_earlier(state: StartState) -> list[str]:
    """End what is left of ``state``'s launch; return what was done, for the operator."""
    notices = []
    if state.ended is None:
        notices.append(f"the launch before this one (pid {state.supervisor_pid}) was killed during {state.phase}")
    left = wait_gone(survivors(state), GUARD_S)
    for stat in left:
        send(stat, signal.SIGKILL)
    if left:
        wait_gone(left, KILL_S)
        notices.append(f"ended {len(left)} process(es) that it left: {', '.join(stat.name for stat in left)}")
    if state.ended is None:
        # The clock may have been set back meanwhile.
        since = min([state.started, *(record.started for record in state.phases)])
        removed = remove_shared_memory(frozenset(), not_older_than_s=since)
        if removed:
            notices.append(f"removed shared memory that it left: {', '.join(removed)}")
    return notices
