"""The state directory: one launch at a time, and what it is doing for others to read.

    lock             held by the running launch
    state.json       the running or the last start
    history.jsonl    one line a start
    engine.log       the engine's output, and engine.log.1 before it
    cache/           the engine's compile caches
    tmp/             the engine's TMPDIR

A file that does not make sense is set aside under another name and said so; it
never stops a start.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rigappliance.errors import BusyError, PreflightError
from rigappliance.exclusive import taken

# What parsing and checking raise for JSON that is none, too deep, or of another shape.
NONSENSE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


@dataclass
class PhaseRecord:
    """One phase of one start; times are seconds since the epoch."""

    name: str
    started: float
    ended: float | None = None


@dataclass
class StartState:
    """What ``state.json`` holds."""

    run_id: str
    supervisor_pid: int
    supervisor_start_ticks: int
    started: float
    url: str
    model: str
    engine_version: str
    phase: str = "process start"
    detail: str = ""
    phases: list[PhaseRecord] = field(default_factory=list)
    engine_pid: int | None = None
    ready: float | None = None
    ended: float | None = None
    outcome: str | None = None
    exit_code: int | None = None
    message: str | None = None
    eta_s: float | None = None
    eta_basis: str | None = None
    kv_tokens: int | None = None


class StateDirectory:
    """Paths below ``root``, and the lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notices: list[str] = []
        self._lock_fd: int | None = None

    @property
    def state_file(self) -> Path:
        return self.root / "state.json"

    @property
    def history_file(self) -> Path:
        return self.root / "history.jsonl"

    @property
    def log_file(self) -> Path:
        return self.root / "engine.log"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    def acquire(self) -> None:
        """Take the lock for the life of this process.

        Raises ``BusyError`` where another launch holds it and ``PreflightError``
        where the directory cannot be used.
        """
        lock = self.root / "lock"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            free = taken(fd)
        except OSError as error:
            raise PreflightError(
                f"cannot use state directory {self.root}: {error.strerror}",
                "a directory that this user can write",
                "set state_dir, or mend its owner and mode",
            ) from error
        if not free:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            raise BusyError(
                f"state directory {self.root} is in use by another launch (pid {holder or 'unknown'})",
                "one launch per state directory",
                "stop that launch, or give this one a state_dir of its own",
            )
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = fd

    def release(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def set_aside(self, path: Path, reason: str) -> None:
        """Rename a file that makes no sense, so that it can be looked at and is not in the way."""
        aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}")
        with suppress(OSError):
            path.rename(aside)
            self.notices.append(f"{path} {reason}; set aside as {aside.name}")

    def peek(self) -> StartState | None:
        """The running or last start for a reader that changes nothing; None where there is none to understand."""
        try:
            return state_from(json.loads(self.state_file.read_text(encoding="utf-8")))
        except (OSError, *NONSENSE):
            return None

    def read(self) -> StartState | None:
        """The last start, for its successor; a file that makes no sense is set aside."""
        try:
            text = self.state_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            self.set_aside(self.state_file, "cannot be read")
            return None
        try:
            return state_from(json.loads(text))
        except NONSENSE:
            self.set_aside(self.state_file, "is not a state file")
            return None

    def write(self, state: StartState) -> None:
        """Replace the state in one step. A full disk must not stop a running engine, so errors pass."""
        part = self.state_file.with_suffix(".part")
        with suppress(OSError):
            part.write_text(json.dumps(asdict(state)), encoding="utf-8")
            part.replace(self.state_file)


def state_from(content: Any) -> StartState:
    """Raises one of ``NONSENSE`` for anything but a whole state."""
    if not isinstance(content, dict):
        raise TypeError("not an object")
    phases = [PhaseRecord(**record) for record in content.pop("phases")]
    state = StartState(**content, phases=phases)
    numbers = (state.started, state.supervisor_pid, state.supervisor_start_ticks)
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError("times are numbers")
    return state
