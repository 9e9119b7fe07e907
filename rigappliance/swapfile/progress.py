"""How far it is, how fast it goes and how long it will still take."""

from __future__ import annotations

import time
from collections.abc import Callable

from rigappliance.swapfile.machine import Output
from rigappliance.units import format_duration, format_size

STEPS = 20
LINE_EVERY_S = 10.0
# Preallocation takes a second or two in all; a line a step would only scroll.
LINE_AT_MOST_EVERY_S = 1.0


class Progress:
    """``at`` is told the bytes that are done, and writes a line about every 5 % or 10 s, whichever comes first."""

    def __init__(
        self, doing: str, total_bytes: int, output: Output, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.doing = doing
        self.total_bytes = total_bytes
        self.done_bytes = 0
        self._output = output
        self._clock = clock
        self._began: tuple[float, int] | None = None
        self._said: tuple[float, int] = (0.0, 0)

    def at(self, done_bytes: int) -> None:
        self.done_bytes = done_bytes
        now = self._clock()
        if self._began is None:
            self._began = self._said = (now, done_bytes)
            if done_bytes:
                self._say(f"{self.doing}: going on at {self._how_far()}")
            return
        since_s = now - self._said[0]
        stepped = self._step(done_bytes) > self._step(self._said[1])
        if since_s >= LINE_EVERY_S or (stepped and since_s >= LINE_AT_MOST_EVERY_S):
            self._said = (now, done_bytes)
            self._say(f"{self.doing}: {self._how_far()}, {self._how_fast(now)}")

    def _step(self, done_bytes: int) -> int:
        return done_bytes * STEPS // self.total_bytes

    def _say(self, text: str) -> None:
        self._output.line(text)
        self._output.status(text)

    def _how_far(self) -> str:
        share = self.done_bytes / self.total_bytes
        return f"{format_size(self.done_bytes)} of {format_size(self.total_bytes)} ({share:.0%})"

    def _how_fast(self, now: float) -> str:
        began_s, began_bytes = self._began or (now, 0)
        made, elapsed_s = self.done_bytes - began_bytes, now - began_s
        if made <= 0 or elapsed_s <= 0:
            return "nothing written yet"
        rate = made / elapsed_s
        left = format_duration((self.total_bytes - self.done_bytes) / rate)
        return f"{format_size(rate)}/s, about {left} left"
