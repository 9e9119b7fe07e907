"""Children that nobody else would end, should this process be killed."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
# Loaded before the fork: nothing may be loaded in a child that still has to execute its program.
LIBC = ctypes.CDLL(None)


def signalled_with_parent(signum: signal.Signals) -> Callable[[], None]:
    """What a child runs before its program: it gets ``signum`` when this process ends, however it does."""
    parent = os.getpid()

    def ask() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask
