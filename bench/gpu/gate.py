"""Holds an engine's core before it touches the card, so that one start can import while the last one has the card.

A plug-in of the engine: `provide` puts it into the engine's site-packages, and a core whose environment names a file
waits until that is there. Imports are most of a start where time on a card is short, and no part of what is measured.
Where the environment names a directory for stacks, each process writes into it, every second, what it is doing.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path

VARIABLE, STACKS = "BENCH_GATE", "BENCH_STACKS"
LOOK_S, STACKS_S, STACK_DEPTH = 0.05, 1.0, 16


def wait() -> None:
    """Called by the engine in each of its processes, in the core before the card is opened (v1/engine/core.py)."""
    if directory := os.environ.get(STACKS):
        name = f"{multiprocessing.current_process().name}-{os.getpid()}.txt"
        threading.Thread(target=watch, args=(Path(directory) / name,), daemon=True).start()
    path = os.environ.get(VARIABLE)
    if path and multiprocessing.current_process().name.startswith("EngineCore"):
        # Seen by whoever may open it: all is imported.
        Path(path + ".reached").touch()
        while not Path(path).exists():
            time.sleep(LOOK_S)


def watch(path: Path) -> None:
    """What the main thread does. From a thread and not by faulthandler, which reads frames that dynamo has in hand."""
    main = threading.main_thread().ident or 0
    with path.open("w") as file:
        while (frame := sys._current_frames().get(main)) is not None:
            stack = "".join(traceback.format_stack(frame)[-STACK_DEPTH:])
            file.write(f"--- {time.strftime('%H:%M:%S')}\n{stack}")
            file.flush()
            time.sleep(STACKS_S)


def provide(site: Path) -> None:
    shutil.copy(__file__, site / "bench_gate.py")
    information = site / "bench_gate-1.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-gate\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[vllm.general_plugins]\nbench_gate = bench_gate:wait\n")
