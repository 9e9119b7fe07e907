"""SIGTERM, SIGINT and SIGHUP end the work at once; what is made stays."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from rigappliance.errors import InterruptedStartError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stoppable(remedy: str) -> Iterator[None]:
    """Inside, the signals raise ``InterruptedStartError`` with ``remedy``."""

    def stop(signum: int, _: object) -> None:
        # A second one would only disturb the first.
        for other in STOP_SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise InterruptedStartError(f"stopped on {signal.Signals(signum).name}", "", remedy)

    before = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
    for signum in STOP_SIGNALS:
        if signum != signal.SIGHUP or before[signum] is not signal.SIG_IGN:
            signal.signal(signum, stop)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
