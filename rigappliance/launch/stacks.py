"""What the processes of a hung engine are doing, before they are ended."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rigappliance.launch.proctree import PROC, ProcessStat, read_stat, send
from rigappliance.launch.treememory import display_name

# All of them together: a hang has taken long enough.
PY_SPY_S = 2.0
ABORT_S = 2.5
ABORT_ONE_S = 0.5
STACK_LINES = 40
# faulthandler's lines (Modules/faulthandler.c).
FAULT_LINES = ("Fatal Python error", "Current thread 0x", "Thread 0x", "  File ", "  <", "  ...")

STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting in the kernel for a device",
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
}


def headline(stat: ProcessStat, root: Path = PROC) -> str:
    """One process in a line: name, state, and where in the kernel it waits, if that is told."""
    waits = ""
    with suppress(OSError):
        waits = (root / str(stat.pid) / "wchan").read_text(encoding="ascii", errors="replace").strip()
    where = f", in the kernel at {waits}" if waits not in ("", "0") else ""
    state = STATES.get(stat.state, "unknown")
    return f"{display_name(stat)} (pid {stat.pid}), state {stat.state} ({state}){where}"


def find_py_spy(engine_python: Path) -> Path | None:
    """Beside the engine's interpreter, or on the PATH."""
    beside = engine_python.parent / "py-spy"
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("py-spy")
    return Path(found) if found else None


async def gather(tree: Sequence[ProcessStat], engine_python: Path, said: Callable[[], list[str]]) -> tuple[str, ...]:
    """A text a process: its headline, and below it what it is doing, as far as that can be known.

    Without a py-spy that works the processes are dead afterwards.
    """
    # Who is stopped, or waits for a device, is what the others wait for.
    telling = sorted(tree, key=lambda stat: "TtD".find(stat.state) if stat.state in "TtD" else len("TtD"))
    heads = {stat.pid: headline(stat) for stat in telling}
    found = await spy(find_py_spy(engine_python), tree) or await aborted(tree, said)
    return tuple(f"{head}\n{cut(found[pid])}" if pid in found else head for pid, head in heads.items())


async def spied(program: Path, pid: int) -> str:
    """The Python stacks of one process, or nothing where that is not permitted or it is no Python."""
    process = await asyncio.create_subprocess_exec(
        str(program), "dump", "--nonblocking", "--pid", str(pid),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PY_SPY_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
            await process.wait()
        return ""
    return output.decode(errors="replace") if process.returncode == 0 else ""


async def spy(program: Path | None, tree: Iterable[ProcessStat]) -> dict[int, str]:
    """Stacks by pid, all asked at once."""
    stats = list(tree)
    if program is None or not stats:
        return {}
    answers = await asyncio.gather(*(spied(program, stat.pid) for stat in stats), return_exceptions=True)
    return {stat.pid: answer for stat, answer in zip(stats, answers, strict=True) if isinstance(answer, str) and answer}


async def aborted(tree: Iterable[ProcessStat], said: Callable[[], list[str]]) -> dict[int, str]:
    """Stacks by pid, as Python's fault handler prints them into the log on SIGABRT.

    ``said`` returns the lines of the log since it was last asked.  One process
    after the other, or their lines would mix; the main process last, as the
    guard ends the others when that is gone.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + ABORT_S
    found: dict[int, str] = {}
    said()
    for stat in reversed(list(tree)):
        send(stat, signal.SIGABRT)
        if stat.state == "T":
            send(stat, signal.SIGCONT)
        one_s = min(loop.time() + ABORT_ONE_S, deadline_s)
        while alive(stat) and loop.time() < one_s:
            await asyncio.sleep(0.02)
        # What it said last is in the pipe, and the loop has to come round to it.
        await asyncio.sleep(0.02)
        lines = [line for line in said() if line.startswith(FAULT_LINES)]
        if lines:
            found[stat.pid] = "\n".join(lines)
        if loop.time() >= deadline_s:
            break
    return found


def alive(stat: ProcessStat) -> bool:
    now = read_stat(stat.pid)
    return now is not None and now.start_ticks == stat.start_ticks and now.state not in "ZX"


def cut(text: str) -> str:
    lines = text.splitlines()
    more = len(lines) - STACK_LINES
    return "\n".join(lines[:STACK_LINES] + ([f"… {more} more lines"] if more > 0 else []))
