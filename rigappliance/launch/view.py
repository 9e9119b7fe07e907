"""What an operator sees of a start: plain lines, or a live view on a terminal.

The engine's log goes to standard output as it is; everything of our own goes
to standard error.
"""

from __future__ import annotations

import sys
import time
from typing import Protocol

from rigappliance.launch.logpump import Passthrough
from rigappliance.launch.snapshot import Snapshot, describe
from rigappliance.units import format_duration, format_size

PREFIX = "rigappliance: "


class View(Protocol):
    def log(self, data: bytes) -> None:
        """Bytes of the engine's log."""

    def line(self, text: str) -> None:
        """A sentence of our own."""

    def update(self, snapshot: Snapshot) -> None:
        """The start has moved on, or time has."""

    def ready(self, snapshot: Snapshot, text: str) -> None:
        """The start is over."""

    def close(self) -> None:
        """Nothing comes after this."""


class PlainView:
    """For journals, pipes and files: one line a change."""

    # Progress within a phase is worth a line when it has come this far, or after this long.
    STEP_SHARE = 0.05
    STEP_S = 60.0

    def __init__(self, quiet: bool = False) -> None:
        # Both have threads of their own: not even our own words may make the engine wait.
        self.passthrough = Passthrough(1)
        self.words = Passthrough(2)
        self.quiet = quiet
        self._last: Snapshot | None = None
        self._last_s = 0.0
        self._said_dropped = 0

    def log(self, data: bytes) -> None:
        self.passthrough.put(data)

    def line(self, text: str) -> None:
        if not self.quiet:
            self.words.put(f"{PREFIX}{text}\n".encode(errors="replace"))

    def update(self, snapshot: Snapshot) -> None:
        if self._is_news(snapshot):
            basis = snapshot.estimate.basis
            # What the estimate rests on is worth saying once, and again when it changes.
            said = self._last is not None and self._last.estimate.basis == basis
            self._last, self._last_s = snapshot, time.monotonic()
            rests_on = "" if said else f" ({basis})"
            self.line(f"[{format_duration(snapshot.elapsed_s)}] {describe(snapshot)}{rests_on}")
        dropped = self.passthrough.dropped_bytes
        if dropped > self._said_dropped:
            self._said_dropped = dropped
            self.line(f"{format_size(dropped)} of the log are not shown, since nobody reads them; the log file has all")

    def _is_news(self, snapshot: Snapshot) -> bool:
        last = self._last
        if last is None or last.phase is not snapshot.phase:
            return True
        if snapshot.share is not None and snapshot.share - (last.share or 0.0) >= self.STEP_SHARE:
            return True
        return time.monotonic() - self._last_s >= self.STEP_S

    def ready(self, snapshot: Snapshot, text: str) -> None:
        self.line(f"[{format_duration(snapshot.elapsed_s)}] {text}")

    def close(self) -> None:
        self.passthrough.close()
        self.words.close()


def make_view(*, plain: bool = False, quiet: bool = False) -> View:
    """The live view where both standard streams are one terminal, plain lines elsewhere."""
    if plain or quiet or not (sys.stdout.isatty() and sys.stderr.isatty()):
        return PlainView(quiet)
    from rigappliance.launch.liveview import LiveView

    return LiveView()
