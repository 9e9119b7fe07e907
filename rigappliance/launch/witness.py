"""All that is known about one engine, gathered while it runs, for a diagnosis of its end."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from rigappliance.diagnosis.catalogue import CAUSES
from rigappliance.diagnosis.diagnose import diagnose
from rigappliance.diagnosis.logreader import LogReader
from rigappliance.diagnosis.observations import DeadPart, Observations
from rigappliance.diagnosis.result import Confidence, Diagnosis, Evidence
from rigappliance.launch import cardwatch, cgroup
from rigappliance.launch.kernellog import KernelLog
from rigappliance.launch.memorywatch import MemoryWatch
from rigappliance.launch.outcome import Ending
from rigappliance.launch.phases import Phase

# A driver that has lost a card can take for ever to say so.
CARDS_S = 5.0
PARTS_KEPT = 64
# Compilers come and go by the hundred.
PIDS_KEPT = 10_000


class Witness:
    """``card_lines`` asks the cards; None where the engine uses none."""

    def __init__(
        self,
        state_dir: Path,
        card_lines: Callable[[], tuple[str, ...]] | None = None,
        root: Path = Path("/"),
        before: Mapping[str, int] | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        self.state_dir = state_dir
        self.checkpoint = checkpoint
        self.log = LogReader()
        self.memory = MemoryWatch(root, before)
        self.kernel = KernelLog(root / "dev/kmsg")
        self.card_lines = card_lines
        self.cards: tuple[str, ...] = ()
        self.parts: dict[int, DeadPart] = {}
        self.statuses: dict[int, int] = {}
        self.pids: set[int] = set()
        self.stacks: tuple[str, ...] = ()

    def saw(self, pids: Iterable[int]) -> None:
        """Processes of the engine; the kernel's log names those of others too."""
        if len(self.pids) < PIDS_KEPT:
            self.pids.update(pids)

    def feed(self, line: str) -> None:
        self.log.feed(line)

    def part_died(self, name: str, pid: int) -> None:
        if len(self.parts) < PARTS_KEPT:
            self.parts[pid] = DeadPart(name, pid, self.statuses.get(pid))

    def orphan_reaped(self, pid: int, status: int) -> None:
        """The guard collected a process whose parent had gone before it."""
        self.statuses[pid] = status
        if pid in self.parts:
            self.parts[pid] = DeadPart(self.parts[pid].name, pid, status)

    async def ask_cards(self) -> None:
        if self.card_lines is not None:
            with suppress(TimeoutError):
                self.cards = await asyncio.wait_for(asyncio.to_thread(self.card_lines), CARDS_S)

    def observe(self, ending: Ending, phase: Phase, *, ready: bool) -> Observations:
        return Observations(
            log=self.log.evidence(),
            phase=phase,
            ready=ready,
            asked=ending.asked,
            exit_status=ending.exit_status,
            dead_parts=tuple(self.parts.values()),
            memory=self.memory.evidence(),
            engine_pids=frozenset(self.pids),
            kernel_lines=self.kernel.lines(),
            journal_lines=oomd_lines(self.memory.group),
            card_lines=self.cards,
            unreadable=unreadable(self.checkpoint) if self.checkpoint else (),
            disk_free_bytes=free_bytes(self.state_dir),
            quiet_s=ending.quiet_s,
            stacks=self.stacks,
            probe=ending.probe,
            core_dead=ending.core_dead,
        )

    def diagnose(self, ending: Ending, phase: Phase, *, ready: bool) -> Diagnosis:
        """Never raises: the engine still has to be ended, and its end to be told."""
        try:
            return diagnose(self.observe(ending, phase, ready=ready))
        except Exception as error:
            words = Evidence("rigappliance", f"a defect of the diagnosis: {type(error).__name__}: {error}")
            unknown = CAUSES["unknown"]
            return Diagnosis(unknown, Confidence.POSSIBLE, (words,), remedy=unknown.remedy)

    def close(self) -> None:
        self.kernel.close()


def witness_for(state_dir: Path, device: str, checkpoint: Path) -> Witness:
    """A witness of an engine that is about to start on ``device``."""
    if device != "cuda":
        return Witness(state_dir, checkpoint=checkpoint)
    before = cardwatch.count_cards()
    return Witness(state_dir, lambda: cardwatch.card_lines(before), checkpoint=checkpoint)


def unreadable(checkpoint: Path) -> tuple[str, ...]:
    """The checkpoint's directory, or those of its files, that this user may not read."""
    try:
        if not os.access(checkpoint, os.R_OK | os.X_OK):
            return (str(checkpoint),) if checkpoint.exists() else ()
        return tuple(str(path) for path in sorted(checkpoint.iterdir()) if not os.access(path, os.R_OK))
    except OSError as error:
        return (f"{error.filename or checkpoint}",) if isinstance(error, PermissionError) else ()


def oomd_lines(group: cgroup.ControlGroup | None) -> tuple[str, ...]:
    """systemd-oomd marks a group in which it has killed; that needs no journal."""
    kills = cgroup.oomd_kills(group) if group else 0
    return (f"systemd-oomd killed {kills} process(es) of this control group (user.oomd_kill)",) if kills else ()


def free_bytes(directory: Path) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None
