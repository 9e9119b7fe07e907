"""Errors an operator can act on, and the exit code of each kind.

Every error states what was found, what was expected and what to do.  The
command line prints those three and exits with the kind's code; a traceback is
a defect of this program.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every verb. systemd's restart policy reads them, so they never change meaning."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    CONFIG = 3
    PREFLIGHT = 4
    START_FAILED = 5
    HUNG = 6
    DIED = 7
    TIMED_OUT = 8
    BUSY = 9
    ENGINE_MISSING = 10
    NOT_RUNNING = 11
    REQUEST_FAILED = 12
    GIVEN_UP = 13
    INTERRUPTED = 130


EXIT_CODE_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done; for `launch`: stopped on request after it had been ready",
    ExitCode.INTERNAL: "a defect of rigappliance itself",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.CONFIG: "the configuration is wrong",
    ExitCode.PREFLIGHT: "a fact of this machine or of the checkpoint forbids the start, the swap file, the download "
    "or the installation",
    ExitCode.START_FAILED: "the engine left before it was ready",
    ExitCode.HUNG: "the engine stopped making progress",
    ExitCode.DIED: "the engine, or one of its processes, died after it had been ready",
    ExitCode.TIMED_OUT: "`wait` reached its timeout",
    ExitCode.BUSY: "another launch holds the state directory, or another `swap`, `fetch`, `install` or `uninstall` "
    "is at work",
    ExitCode.ENGINE_MISSING: "the engine is not installed where the configuration says",
    ExitCode.NOT_RUNNING: "`status` or `ask` found no running engine; `swap status`: not active as declared; "
    "`uninstall`: nothing is installed",
    ExitCode.REQUEST_FAILED: "the engine, or for `fetch` the model hub, answered a request with an error or not at all",
    ExitCode.GIVEN_UP: "the engine failed for the same passing cause again and again: no more restarts",
    ExitCode.INTERRUPTED: "stopped by SIGINT or SIGTERM before it was ready, or done",
}


class RigError(Exception):
    """Base of all errors that are shown to the operator as one message.

    ``found`` says what is there, ``expected`` what should be, ``remedy`` what to
    do; each is one clause without a final full stop.
    """

    # A member of ExitCode, or the code of a cause.
    exit_code: int = ExitCode.INTERNAL

    def __init__(self, found: str, expected: str = "", remedy: str = "") -> None:
        self.found = found
        self.expected = expected
        self.remedy = remedy
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The three clauses on up to three lines."""
        lines = [self.found]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.remedy:
            lines.append(f"  to do:    {self.remedy}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """The same for ``--json``."""
        return {
            "error": self.found,
            "expected": self.expected,
            "remedy": self.remedy,
            "exit_code": int(self.exit_code),
        }


class UsageError(RigError):
    exit_code = ExitCode.USAGE


class ConfigError(RigError):
    exit_code = ExitCode.CONFIG


class PreflightError(RigError):
    exit_code = ExitCode.PREFLIGHT


class StartFailedError(RigError):
    exit_code = ExitCode.START_FAILED


class HungError(RigError):
    exit_code = ExitCode.HUNG


class DiedError(RigError):
    exit_code = ExitCode.DIED


class TimedOutError(RigError):
    exit_code = ExitCode.TIMED_OUT


class BusyError(RigError):
    exit_code = ExitCode.BUSY


class EngineMissingError(RigError):
    exit_code = ExitCode.ENGINE_MISSING


class NotRunningError(RigError):
    exit_code = ExitCode.NOT_RUNNING


class RequestFailedError(RigError):
    exit_code = ExitCode.REQUEST_FAILED


class InterruptedStartError(RigError):
    exit_code = ExitCode.INTERRUPTED
