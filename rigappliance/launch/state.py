"""The state directory: one launch at a time, and what it is doing for others to read.

    lock             held by the running launch
    state.json       the running or the last start
    history.jsonl    one line a start that got ready
    failures.jsonl   one line a failure, and what it came from
    compact          asks the unit to compact memory before the next start
    state.refused.json  why the last start was refused, if it was
    reserve          gives its room to the files above when the disk is full
    engine.log       the engine's output, and engine.log.1 before it
    cache/           the engine's compile caches
    tmp/             the engine's TMPDIR

A file that does not make sense is set aside under another name and said so; it
never stops a start.
"""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rigappliance.errors import BusyError, PreflightError
from rigappliance.exclusive import taken

# The unit's ExecStartPre looks for it.
COMPACT_FLAG = "compact"
# Room for a state and a record of a failure, which matter most when there is none.
RESERVE_BYTES = 1 << 17

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

# What parsing and checking raise for JSON that is none, too deep, or of another shape.
NONSENSE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


@dataclass
class PhaseRecord:
    """One phase of one start; times are seconds since the epoch, ``seconds`` comes from the monotonic clock."""

    name: str
    started: float
    ended: float | None = None
    seconds: float | None = None


@dataclass
class StartState:
    """What ``state.json`` holds.

    Dates are seconds since the epoch and may jump with the clock; ``…_s`` are
    seconds of the monotonic clock, which all processes of a boot share.
    ``counters`` are the kernel's at the start (:mod:`rigappliance.launch.memorywatch`).
    """

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
    boot_id: str = ""
    started_s: float | None = None
    elapsed_s: float | None = None
    ready_after_s: float | None = None
    loaded: bool = False  # the weights were loaded
    cause: str | None = None
    counters: dict[str, int] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def duration_s(self) -> float:
        """How long a start of this boot has gone on, or went on, whatever the clock was set to meanwhile."""
        if self.elapsed_s is not None:
            return self.elapsed_s
        if self.started_s is not None:
            return max(time.monotonic() - self.started_s, 0.0)
        return max((self.ended or time.time()) - self.started, 0.0)


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
    def failures_file(self) -> Path:
        return self.root / "failures.jsonl"

    @property
    def refusal_file(self) -> Path:
        return self.root / "state.refused.json"

    @property
    def compact_flag(self) -> Path:
        return self.root / COMPACT_FLAG

    @property
    def reserve(self) -> Path:
        return self.root / "reserve"

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
        # On a full disk the lock holds without a name.
        with suppress(OSError):
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

    def write(self, state: StartState, *, durable: bool = False) -> None:
        """Replace the state in one step. A full disk must not stop a running engine, so errors pass."""
        self.replace(self.state_file, json.dumps(asdict(state)), durable=durable)

    def replace(self, path: Path, text: str, *, durable: bool = True) -> bool:
        """Replace a file in one step; false where that fails, even with the room of the reserve.

        ``durable``: it outlasts a power cut from now on. That waits for the disk.
        """
        part = path.with_suffix(".part")
        for _ in range(2):
            try:
                with part.open("w", encoding="utf-8") as file:
                    file.write(text)
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
                part.replace(path)
                if durable:
                    self._sync_names()
            except OSError as error:
                if error.errno not in NO_ROOM or not self._give_up_reserve():
                    return False
            else:
                return True
        return False

    def _sync_names(self) -> None:
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def make_reserve(self) -> None:
        """Set room aside for the end; without it a full disk takes the record of what it caused."""
        with suppress(OSError):
            if not self.reserve.exists() or self.reserve.stat().st_size < RESERVE_BYTES:
                # Not zeros: a file system that compresses would set nothing aside.
                self.reserve.write_bytes(os.urandom(RESERVE_BYTES))

    def _give_up_reserve(self) -> bool:
        try:
            self.reserve.unlink()
        except OSError:
            return False
        return True


def state_from(content: Any) -> StartState:
    """Raises one of ``NONSENSE`` for anything but a whole state."""
    if not isinstance(content, dict):
        raise TypeError("not an object")
    phases = [PhaseRecord(**record) for record in content.pop("phases")]
    state = StartState(**content, phases=phases)
    numbers = (state.started, state.supervisor_pid, state.supervisor_start_ticks)
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError("times are numbers")
    if not isinstance(state.boot_id, str) or not isinstance(state.cause, str | None):
        raise ValueError("names are text")
    state.counters = {str(name): int(count) for name, count in state.counters.items()}
    state.facts = {str(name): str(fact) for name, fact in state.facts.items()}
    for seconds in (state.started_s, state.elapsed_s, state.ready_after_s, *(each.seconds for each in phases)):
        if seconds is not None and not (isinstance(seconds, int | float) and 0 <= seconds < 1e12):
            raise ValueError("a duration is out of range")
    return state
