"""Two habits of the engine's that cost a starved machine: readers that spin, and heaps that keep what they freed.

Both are changed in the process that all others are forked from.  Each is left alone, and that is said, where the engine
does not look as in vLLM 0.32.0.  Neither changes what is computed.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

# vLLM's readers poll shared memory for this long after each read before they wait for a message (shm_broadcast.py,
# SpinCondition); 0.32.0 has no option for it.
STOCK_SPIN_S = 1
SPIN_S = 0.002
# The writer sends a message always, but its socket holds one and drops the next: a reader that waits for a dropped one
# looks again only after this time.  While it spins for a second that hardly happens; with a short spin one in some
# thousand answers took 5 s longer (bench/host_memory.py).  A look costs some 50 µs.
STOCK_RECHECK_MS = 5000
RECHECK_MS = 20

# Reached once in each process, when it is ready: (module, class or None, function).  The API server is the last.
API_SERVER = ("vllm.entrypoints.launchers.api_server.entry", None, "build_and_serve")
READY: tuple[tuple[str, str | None, str], ...] = (
    API_SERVER,
    ("vllm.v1.engine.core", "EngineCoreProc", "run_busy_loop"),
    ("vllm.v1.executor.multiproc_executor", "WorkerProc", "worker_busy_loop"),
)


def tune(all_ready: Callable[[], None]) -> Iterator[str]:
    """Do both; what could not be done is told. ``all_ready`` is called when the engine is ready to serve."""
    yield from spin_less(importlib.import_module("vllm.distributed.device_communicators.shm_broadcast"))
    for place in READY:
        module, owner, function = place
        holder: Any = importlib.import_module(module)
        holder = getattr(holder, owner, None) if owner else holder
        if place == API_SERVER:
            yield from before(holder, function, all_ready)
        yield from before(holder, function, trim)


def spin_less(module: Any, seconds: float = SPIN_S, recheck_ms: int = RECHECK_MS) -> Iterator[str]:
    make: Any = getattr(getattr(module, "SpinCondition", None), "__init__", None)
    names = list(inspect.signature(make).parameters) if make is not None else []
    if names[-1:] != ["busy_loop_s"] or getattr(make, "__defaults__", None) != (STOCK_SPIN_S,):
        yield "readers of shared memory spin as they do in the stock engine: SpinCondition is not the one expected"
        return
    if getattr(module, "SHM_READER_RECHECK_INTERVAL_MS", None) != STOCK_RECHECK_MS:
        yield "readers of shared memory spin as they do in the stock engine: how often they look again is not known"
        return
    make.__defaults__ = (seconds,)
    module.SHM_READER_RECHECK_INTERVAL_MS = recheck_ms


def before(holder: Any, name: str, action: Callable[[], None]) -> Iterator[str]:
    """Have ``action`` done just before ``name`` of ``holder`` is called."""
    original: Callable[..., Any] | None = getattr(holder, name, None)
    if original is None:
        yield f"{action.__name__} is not done when the engine is ready: it has no {name}"
        return

    @functools.wraps(original)
    def after_action(*arguments: Any, **named: Any) -> Any:
        action()
        return original(*arguments, **named)

    setattr(holder, name, after_action)


def trim() -> None:
    """What a start freed is still in the heap, and Python's own arenas are returned only when they are empty."""
    gc.collect()
    # Only glibc has it.
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)


def keep_frozen() -> None:
    """Take all objects of now out of the collector's sight for good, in this process and in those forked from it.

    A collection writes to every object that it looks at, and a page that is written to is no longer shared: 190 MB a
    process.  The engine freezes by itself when it has started, but lets go again around the capture of graphs and
    before it leaves (utils/gc_utils.py, v1/engine/core.py).  What it then wants collected is its own; that this is
    frozen a moment sooner than in the stock engine changes nothing that is alive.
    """
    gc.freeze()
    gc.unfreeze = unfrozen_never


def unfrozen_never() -> None:
    """In place of ``gc.unfreeze``."""
