"""The card's memory while an engine starts, by NVML, looked at 20 times a second."""

from __future__ import annotations

import threading
import time
from typing import Any

LOOK_S = 0.05
STEP_BYTES = 32 << 20


class CardWatch:
    """``with CardWatch() as watch: …``; then ``before_bytes``, ``peak_bytes`` and ``last_bytes`` of card 0.

    ``series`` has a point (seconds, bytes, bytes of each process) for each change of ``STEP_BYTES`` or more, and
    ``mark`` begins a new peak.
    """

    def __init__(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        self.nvml: Any = pynvml
        self.handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.before_bytes = self.peak_bytes = self.last_bytes = self.used()
        self.began = time.monotonic()
        self.series: list[tuple[float, int, list[int]]] = [(0.0, self.before_bytes, [])]
        self.peak_since_mark_bytes = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def used(self) -> int:
        return int(self.nvml.nvmlDeviceGetMemoryInfo(self.handle).used)

    def by_process(self) -> list[int]:
        """What each process holds; compilers may have contexts of their own."""
        try:
            found = self.nvml.nvmlDeviceGetComputeRunningProcesses(self.handle)
        except self.nvml.NVMLError:
            return []
        return sorted((each.usedGpuMemory or 0 for each in found), reverse=True)

    def watch(self) -> None:
        while not self.ended.is_set():
            now = self.last_bytes = self.used()
            self.peak_bytes = max(self.peak_bytes, now)
            self.peak_since_mark_bytes = max(self.peak_since_mark_bytes, now)
            if abs(now - self.series[-1][1]) >= STEP_BYTES:
                self.series.append((round(time.monotonic() - self.began, 2), now, self.by_process()))
            time.sleep(LOOK_S)

    def mark(self) -> None:
        self.peak_since_mark_bytes = self.used()

    def __enter__(self) -> CardWatch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
