"""A log from anywhere, of which nothing is known but what it says and, perhaps, how the engine left."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from rigappliance.diagnosis.diagnose import diagnose
from rigappliance.diagnosis.logevidence import LogEvidence
from rigappliance.diagnosis.logreader import LINE_CHARS, LogReader
from rigappliance.diagnosis.observations import Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis
from rigappliance.diagnosis.signature import Role
from rigappliance.launch.phases import Phase, PhaseTracker

BLOCK_BYTES = 1 << 18
# Lines of the kernel's and of systemd's that stand in a journal beside the engine's.
_KERNEL = (
    "Free swap",
    "Total swap",
    "oom-kill:",
    "ut of memory: Kill",
    "NVRM: ",
    "traps: ",
    "segfault at",
    "page allocation failure",
    "I/O error, dev",
)
_JOURNAL = ("systemd-oomd", "due to memory pressure", "OOM killer", "Failed with result", "due to memory used")
_EXITED = re.compile(r"Main process exited, code=(exited|killed|dumped), status=(\d{1,3})")
KEPT = 200
# A shell and systemd show a signal as 128 and its number.
SHELL_SIGNAL = 128
LAST_SIGNAL = 64
# The engine's word that its ranks do not answer. Compilation takes long, too: once is not enough.
_WAITING = "No available shared memory broadcast block found"
WAITS = 2
# An exception nobody knows counts as the end of the engine if so few lines follow it.
CLOSING_LINES = 12


@dataclass(frozen=True)
class BareLog:
    """``diagnosis`` is None where nothing failed, as far as the log tells."""

    diagnosis: Diagnosis | None
    lines: int
    phase: Phase
    serving: bool
    stopping: bool
    size_bytes: int


class _Reader:
    def __init__(self) -> None:
        self.log = LogReader()
        self.tracker = PhaseTracker()
        self.kernel: list[str] = []
        self.journal: list[str] = []
        self.exit_status: int | None = None
        self.waits = 0

    def line(self, text: str, number: int) -> None:
        self.log.feed(text, number)
        if "non-default args" in text:
            self.tracker = PhaseTracker()
        self.tracker.feed(text)
        if _WAITING in text:
            self.waits += 1
        elif text and not text.isspace():
            self.waits = 0
        if len(self.kernel) < KEPT and any(mark in text for mark in _KERNEL):
            self.kernel.append(text.strip())
        elif len(self.journal) < KEPT and any(mark in text for mark in _JOURNAL):
            self.journal.append(text.strip())
        elif "Main process exited" in text and (match := _EXITED.search(text)):
            self.exit_status = int(match[2]) if match[1] == "exited" else -int(match[2])


def read(stream: BinaryIO, exit_status: int | None = None) -> BareLog:
    """Reads to the end, in bounded memory. ``exit_status`` is negative for a signal, or as a shell shows it."""
    reader, size_bytes = _Reader(), 0
    for number, text, length in numbered_lines(stream):
        size_bytes += length
        reader.line(text, number)
    evidence = reader.log.evidence()
    status = plain_status(reader.exit_status if exit_status is None else exit_status)
    seen = Observations(
        log=evidence,
        phase=reader.tracker.phase,
        ready=evidence.serving,
        asked=evidence.stopping and not evidence.of(Role.ROOT) and not evidence.ends_with_error,
        exit_status=status,
        kernel_lines=tuple(reader.kernel),
        journal_lines=tuple(reader.journal),
    )
    diagnosis = diagnose(seen) if failed(seen) else None
    if diagnosis is None and reader.waits >= WAITS:
        waiting = dataclasses.replace(seen, probe=f"{reader.waits} times, and last of all: {_WAITING}")
        diagnosis = dataclasses.replace(diagnose(waiting), confidence=Confidence.POSSIBLE)
    return BareLog(diagnosis, evidence.lines, reader.tracker.phase, evidence.serving, evidence.stopping, size_bytes)


def numbered_lines(stream: BinaryIO) -> Iterator[tuple[int, str, int]]:
    """Number, text and length in bytes of each line, as an editor counts them; a long one is cut."""
    number, rest, dropped = 1, b"", 0
    while block := stream.read(BLOCK_BYTES):
        pieces = block.split(b"\n")
        pieces[0] = rest + pieces[0]
        for piece in pieces[:-1]:
            yield number, piece[:LINE_CHARS].decode(errors="replace"), len(piece) + dropped + 1
            number, dropped = number + 1, 0
        rest = pieces[-1]
        if len(rest) > LINE_CHARS:
            dropped += len(rest) - LINE_CHARS
            rest = rest[:LINE_CHARS]
    if rest:
        yield number, rest.decode(errors="replace"), len(rest) + dropped


def plain_status(status: int | None) -> int | None:
    """137 as -9."""
    if status is not None and SHELL_SIGNAL < status <= SHELL_SIGNAL + LAST_SIGNAL:
        return SHELL_SIGNAL - status
    return status


def failed(seen: Observations) -> bool:
    """Whether anything says that the engine failed; a log may simply go on."""
    log = seen.log
    if seen.exit_status is not None and (seen.exit_status != 0 or not log.stopping):
        return True
    if log.of(Role.ROOT) or log.of(Role.CONSEQUENCE) or log.ends_with_error:
        return True
    if (seen.kernel_lines or seen.journal_lines) and diagnose(seen).cause.name not in ("unknown", "stopped"):
        return True
    return _closing(log)


def _closing(log: LogEvidence) -> bool:
    """Whether it ends with something that looks like a failure, and had not come up before."""
    words = (*log.of(Role.HINT), *log.of(Role.NOTE))
    return not log.serving and any(hit.number > log.lines - CLOSING_LINES for hit in words)
