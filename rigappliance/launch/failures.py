"""The record of failures in the state directory: one JSON object a line, the newest last."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.cause import Cause
from rigappliance.launch.state import NONSENSE, StateDirectory

KEPT = 50


@dataclass(frozen=True)
class Failure:
    """One start that failed, or one engine that died.

    ``started`` and ``ended`` are seconds since the epoch.  ``facts`` are those
    that would mend the cause, as they were.  ``attempt`` counts failures of the
    same cause in a row, from 1.  ``mended``: a later start got ready.  ``told``:
    the exit code reached systemd, whose main process was not killed.
    """

    run_id: str
    started: float
    ended: float
    boot_id: str
    phase: str
    ready: bool
    loaded: bool
    exit_code: int
    cause: str
    diagnosis: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    attempt: int = 1
    mended: bool = False
    told: bool = True

    @property
    def known_cause(self) -> Cause:
        """A cause that another version named counts as unknown."""
        return CAUSES.get(self.cause, CAUSES["unknown"])


def read_failures(directory: StateDirectory) -> list[Failure]:
    """All of them, oldest first. Lines that make no sense are left out and the file is set aside."""
    failures, bad = parse(directory)
    if bad:
        directory.set_aside(directory.failures_file, f"has {bad} line(s) that are no failure")
        write(directory, failures)
    return failures


def peek_failures(directory: StateDirectory) -> list[Failure]:
    """The same for a reader that changes nothing."""
    return parse(directory)[0]


def parse(directory: StateDirectory) -> tuple[list[Failure], int]:
    try:
        text = directory.failures_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [], 0
    failures, bad = [], 0
    # Not splitlines: a log may hold the other characters that this takes for the end of a line.
    for line in filter(str.strip, text.split("\n")):
        try:
            failures.append(failure_from(json.loads(line)))
        except NONSENSE:
            bad += 1
    return failures, bad


def failure_from(content: Any) -> Failure:
    """Raises one of ``NONSENSE`` for anything but a whole record."""
    failure = Failure(**content)
    texts = (failure.run_id, failure.boot_id, failure.phase, failure.cause, *failure.facts.values())
    numbers = (failure.started, failure.ended, failure.exit_code, failure.attempt)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("names are text")
    if not all(isinstance(number, int | float) and abs(number) < 1e12 for number in numbers):
        raise TypeError("times are numbers")
    if not isinstance(failure.diagnosis, dict):
        raise TypeError("a diagnosis is an object")
    return failure


def append(directory: StateDirectory, failure: Failure) -> bool:
    """Add one; old ones beyond ``KEPT`` are dropped. False where the disk does not take it."""
    return write(directory, [*read_failures(directory), failure][-KEPT:])


def mend_all(directory: StateDirectory) -> None:
    """A start has got ready: what failed before it says nothing about the next one."""
    failures = read_failures(directory)
    if any(not failure.mended for failure in failures):
        write(directory, [replace(failure, mended=True) for failure in failures])


def replace_last(directory: StateDirectory, failure: Failure) -> None:
    write(directory, [*read_failures(directory)[:-1], failure])


def write(directory: StateDirectory, failures: Iterable[Failure]) -> bool:
    return directory.replace(directory.failures_file, "".join(json.dumps(asdict(each)) + "\n" for each in failures))
