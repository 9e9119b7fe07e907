"""SIGTERM, SIGINT and SIGHUP end the work at once; what is made stays."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from rigappliance.errors import InterruptedStartError
from rigappliance.signals import STOP_SIGNALS, handling


@contextmanager
def stoppable(remedy: str) -> Iterator[None]:
    """Inside, the signals raise ``InterruptedStartError`` with ``remedy``."""

    def stop(signum: int, _: object) -> None:
        # A second one would only disturb the first.
        for other in STOP_SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise InterruptedStartError(f"stopped on {signal.Signals(signum).name}", "", remedy)

    with handling(stop):
        yield
