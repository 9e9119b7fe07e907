"""Stopping on a signal: noticed at the next look, so that nothing is left half-written."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from rigappliance.errors import InterruptedStartError
from rigappliance.signals import handling


class Stop:
    """Remembers the first signal."""

    def __init__(self) -> None:
        self.signum: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, the signals only set ``signum``."""
        with handling(self.request):
            yield

    def request(self, signum: int, _: object = None) -> None:
        self.signum = self.signum or signum

    def check(self) -> None:
        """Raises ``InterruptedStartError`` once a signal has come."""
        if self.signum is not None:
            raise InterruptedStartError(
                f"stopped on {signal.Signals(self.signum).name}",
                "",
                "call `rigappliance fetch` again: it keeps every whole file and goes on with the others",
            )
