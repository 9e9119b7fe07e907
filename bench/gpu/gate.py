"""Holds an engine's core before it touches the card, so that one start can import while the last one has the card.

A plug-in of the engine: `provide` puts it into the engine's site-packages, and a core whose environment names a file
waits until that is there. Imports are most of a start where time on a card is short, and no part of what is measured.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from pathlib import Path

VARIABLE = "BENCH_GATE"
LOOK_S = 0.05


def wait() -> None:
    """Called by the engine in each of its processes, in the core before the card is opened (v1/engine/core.py)."""
    path = os.environ.get(VARIABLE)
    if path and multiprocessing.current_process().name.startswith("EngineCore"):
        # Seen by whoever may open it: all is imported.
        Path(path + ".reached").touch()
        while not Path(path).exists():
            time.sleep(LOOK_S)


def provide(site: Path) -> None:
    shutil.copy(__file__, site / "bench_gate.py")
    information = site / "bench_gate-1.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-gate\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[vllm.general_plugins]\nbench_gate = bench_gate:wait\n")
