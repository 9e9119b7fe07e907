"""The weights phase: all shards from the disk, with the real engine's progress bar."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import checkpoint
from .recording import Line

if TYPE_CHECKING:
    from .part import Handle
    from .start import Start

SLICE_BYTES = 8 << 20
# Of the recorded checkpoint: where none is looked at, there are as many bars.
RECORDED_SHARDS = 3


def load(start: Start) -> None:
    """Read all shards, and take the weights' memory shard by shard. Raises ``EndError`` and ``PartGoneError``."""
    settings = start.settings
    if settings.get("check", True):
        # It may have changed since the start.
        start.meet(checkpoint.problem(start.arguments))
    shards = checkpoint.shards(Path(start.arguments.model)) if settings.get("check", True) else []
    total = len(shards) or RECORDED_SHARDS
    took = int((settings.get("take") or {}).get("weights", 0))
    least_s = float(settings.get("weights_s", 0)) * start.factor()
    began = time.monotonic()
    bar(start, 0, total, began)
    for number in range(1, total + 1):
        start.take(took // total)
        if shards:
            read(start, shards[number - 1])
        start.sleep(least_s * number / total - (time.monotonic() - began))
        bar(start, number, total, began)
    blank = Line(b"")
    blank.speaker = "worker"
    start.engine.say(blank, start.translate)


def read(start: Start, shard: Path) -> None:
    """One shard, in slices, by as many workers as are told to."""
    limit = start.settings.get("read_bytes_s")
    for one in start.engine.workers[: int(start.settings.get("readers", 1))]:
        offset = 0
        while done := read_slice(start, one, shard, offset):
            offset += done
            start.sleep(done / float(limit) * start.factor() if limit else 0)


def read_slice(start: Start, one: Handle, shard: Path, offset: int) -> int:
    """Bytes read; the disk's error is the worker's."""
    try:
        done: int = one.call("read", path=str(shard), offset=offset, size=SLICE_BYTES)
    except OSError as error:
        start.fail(f"OSError: [Errno {error.errno}] {error.strerror}: '{shard}'")
    return done


def bar(start: Start, done: int, total: int, began: float) -> None:
    """tqdm's bar as vLLM formats it: a carriage return before, a newline behind. Rank 0 alone shows it."""
    elapsed = time.monotonic() - began
    rate = f"{done / elapsed:5.2f}it/s" if done and elapsed else "?it/s"
    left = clock(elapsed / done * (total - done)) if done else "?"
    text = f"\rLoading safetensors checkpoint shards: {done * 100 // total:3d}% Completed | {done}/{total} "
    text += f"[{clock(elapsed)}<{left}, {rate}]"
    start.engine.workers[0].say(2, text.encode() + b"\n")
    start.after(text)


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"
