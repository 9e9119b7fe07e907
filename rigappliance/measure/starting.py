"""A start of its own for a run, through ``rigappliance launch``, and its stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rigappliance.config import RigConfig
from rigappliance.errors import BusyError, ExitCode, RigError
from rigappliance.launch.earlier import supervisor_alive
from rigappliance.launch.state import StateDirectory
from rigappliance.measure.orphans import signalled_with_parent

POLL_S = 0.1


class LaunchEndedError(RigError):
    """It has said why, and its exit code goes on."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the launch ended with exit code {code}", "a ready engine", "see `rigappliance why`")
        self.exit_code = code if code > 0 else ExitCode.START_FAILED


@contextmanager
def started(config: RigConfig, arguments: Sequence[str]) -> Iterator[None]:
    """An engine that is ready; it is stopped at the end. ``arguments``: those that name the configuration.

    Raises ``BusyError`` where one serves already, and ``LaunchEndedError``.
    """
    state = StateDirectory(config.state_dir).peek()
    if state and state.ended is None and supervisor_alive(state):
        raise BusyError(
            f"an engine runs already with the state directory {config.state_dir}",
            "none, so that its start can be measured",
            "leave --start out, or stop that engine",
        )
    # In a session of its own: Ctrl-C is for us, who stop it when what we have is kept.
    child = subprocess.Popen(
        [sys.executable, "-m", "rigappliance", "launch", *arguments, "--plain"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=signalled_with_parent(signal.SIGTERM),
    )
    try:
        wait_ready(config, child)
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


def wait_ready(config: RigConfig, child: subprocess.Popen[bytes]) -> None:
    """Its own messages are on standard error."""
    directory = StateDirectory(config.state_dir)
    while True:
        code = child.poll()
        state = directory.peek()
        if code is None and state and state.supervisor_pid == child.pid and state.ready is not None:
            return
        if code is not None:
            raise LaunchEndedError(code)
        time.sleep(POLL_S)
