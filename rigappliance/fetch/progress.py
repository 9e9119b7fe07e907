"""How far it is, how fast it goes and how long it will take: in lines for a journal and in systemd's status."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from rigappliance.launch.notify import Notifier
from rigappliance.units import format_duration, format_size

# A line is worth printing at every percent, but not more often than a reader could follow, nor too rarely to see life.
SHORTEST_S = 10.0
LONGEST_S = 60.0
STEP_SHARE = 0.01
STATUS_S = 2.0
# The rate is that of the last minute: long enough for a disk that writes in bursts.
WINDOW_S = 60.0


class Progress:
    """Of one activity over ``total_bytes``, of which ``begun_bytes`` were done before it started."""

    def __init__(
        self,
        activity: str,
        total_bytes: int,
        begun_bytes: int,
        say: Callable[[str], None],
        notifier: Notifier,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.activity = activity
        self.total_bytes = total_bytes
        self.say = say
        self.notifier = notifier
        self.clock = clock
        now_s = clock()
        self._samples: deque[tuple[float, int]] = deque([(now_s, begun_bytes)])
        self._line_s, self._line_bytes = now_s, begun_bytes
        self._status_s = now_s - STATUS_S

    def update(self, done_bytes: int) -> None:
        """Say it where that is due."""
        now_s = self.clock()
        if now_s - self._status_s < STATUS_S:
            return
        self._status_s = now_s
        self._samples.append((now_s, done_bytes))
        while len(self._samples) > 2 and now_s - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()
        text = self.describe(done_bytes)
        self.notifier.status(text)
        since_s = now_s - self._line_s
        stepped = done_bytes - self._line_bytes >= STEP_SHARE * self.total_bytes
        if since_s >= LONGEST_S or (since_s >= SHORTEST_S and stepped):
            self._line_s, self._line_bytes = now_s, done_bytes
            self.say(text)

    @property
    def rate_bytes_per_s(self) -> float:
        (first_s, first_bytes), (last_s, last_bytes) = self._samples[0], self._samples[-1]
        return max(0.0, (last_bytes - first_bytes) / (last_s - first_s)) if last_s > first_s else 0.0

    def describe(self, done_bytes: int) -> str:
        # Rounded down: 100 % is for when it is over.
        share = 100 * done_bytes // self.total_bytes if self.total_bytes else 100
        rate = self.rate_bytes_per_s
        left = f", {format_duration((self.total_bytes - done_bytes) / rate)} left" if rate else ""
        sizes = f"{format_size(done_bytes)} of {format_size(self.total_bytes)} ({share} %)"
        return f"{self.activity}: {sizes}, {format_size(rate)}/s{left}"
