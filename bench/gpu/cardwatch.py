"""The card's memory while an engine starts, by NVML, looked at 20 times a second."""

from __future__ import annotations

import threading
import time
from typing import Any

LOOK_S = 0.05


class CardWatch:
    """``with CardWatch() as watch: …``; then ``before_bytes``, ``peak_bytes`` and ``last_bytes`` of card 0."""

    def __init__(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        self.nvml: Any = pynvml
        self.handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.before_bytes = self.peak_bytes = self.last_bytes = self.used()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def used(self) -> int:
        return int(self.nvml.nvmlDeviceGetMemoryInfo(self.handle).used)

    def watch(self) -> None:
        while not self.ended.is_set():
            self.last_bytes = self.used()
            self.peak_bytes = max(self.peak_bytes, self.last_bytes)
            time.sleep(LOOK_S)

    def __enter__(self) -> CardWatch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()
