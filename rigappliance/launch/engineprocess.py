"""Starting the guard and talking to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rigappliance.errors import EngineMissingError, PreflightError, RigError
from rigappliance.launch import guard
from rigappliance.launch.leftovers import clean_temporary
from rigappliance.launch.state import NO_ROOM

RUN_ID = "RIGAPPLIANCE_RUN_ID"


@dataclass
class EngineProcess:
    """Pipes to a running guard. ``log_fd`` carries the engine's output, ``status_fd`` the guard's events."""

    popen: subprocess.Popen[bytes]
    control_fd: int
    status_fd: int
    log_fd: int
    run_directory: Path

    def terminate(self) -> None:
        """SIGTERM to the engine's main process."""
        self._command(b"t")

    def kill(self) -> None:
        """End the whole tree now."""
        self._command(b"k")

    def _command(self, command: bytes) -> None:
        with suppress(OSError):
            os.write(self.control_fd, command)


def run_directory() -> Path:
    """A directory for this start's sockets.

    Its path has to be short: the engine's socket names below it must fit into
    the 108 bytes of a Unix socket address.
    """
    base = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    usable = base if base and len(base) < 40 and os.access(base, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="rigappliance-", dir=usable))


def start(argv: Sequence[str], environment: Mapping[str, str], run_id: str, temporary: Path) -> EngineProcess:
    """Start the guard and, below it, the engine, whose temporary directory is ``temporary``. Raises ``OSError``.

    That directory stays the same from start to start, because libraries keep
    caches in it that name their own place.
    """
    temporary.mkdir(parents=True, exist_ok=True)
    clean_temporary(temporary)
    directory = run_directory()
    control_read, control_write = os.pipe2(os.O_CLOEXEC)
    status_read, status_write = os.pipe2(os.O_CLOEXEC)
    log_read, log_write = os.pipe2(os.O_CLOEXEC)
    places = [str(control_read), str(status_write), str(directory), str(temporary)]
    try:
        popen = subprocess.Popen(
            [sys.executable, "-I", guard.__file__, *places, *argv],
            stdin=subprocess.DEVNULL,
            stdout=log_write,
            stderr=log_write,
            env={
                **environment,
                RUN_ID: run_id,
                "TMPDIR": str(temporary),
                "VLLM_RPC_BASE_PATH": str(directory),
            },
            pass_fds=(control_read, status_write),
            # Out of the terminal's foreground group: Ctrl-C is for the supervisor.
            start_new_session=True,
        )
    finally:
        for fd in (control_read, status_write, log_write):
            os.close(fd)
    os.set_blocking(status_read, False)
    return EngineProcess(popen, control_write, status_read, log_read, directory)


def cannot_start(error: OSError) -> RigError:
    """What an ``OSError`` of :func:`start` means to the operator."""
    if error.errno in NO_ROOM:
        return PreflightError(
            f"no room for the engine's temporary directory: {error.strerror}",
            "some free space in state_dir and in the runtime directory",
            "free some space, or move state_dir to another disk",
        )
    return EngineMissingError(f"cannot start the engine's guard: {error.strerror}")


class EventReader:
    """The guard's events from the bytes of its status pipe."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, object]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines if line]
