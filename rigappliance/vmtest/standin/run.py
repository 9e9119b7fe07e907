"""The life of a stand-in: start, serve, leave."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time

from . import __doc__ as manual
from .arguments import Arguments
from .engine import Engine
from .faults import EndError
from .serving import Serving, TerminatedError
from .settings import Settings
from .start import Start

# Of a Python program that nobody caught a KeyboardInterrupt in.
INTERRUPTED = 130


def on_term(settings: Settings, engine: Engine) -> None:
    """SIGTERM and SIGINT as the settings say when they come."""

    def handle(*_: object) -> None:
        settings.refresh()
        told = settings.get("term")
        # While the real one waits for its core, a SIGTERM is lost: measured, it goes on and serves.
        lost = bool(engine.core.pid) and not engine.serving and told is None
        if told == "ignore" or lost:
            return
        if isinstance(told, int | float):
            time.sleep(told)
        raise TerminatedError

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, handle)


def main(argv: list[str]) -> int:
    """Exit status of the API server."""
    if "--help" in argv:
        sys.stdout.write(manual or "")
        return 0
    if os.environ.get("PYTHONFAULTHANDLER"):
        # An isolated interpreter does not look at it; forked processes keep it.
        faulthandler.enable()
    settings = Settings()
    arguments = Arguments(argv, dict(os.environ))
    engine = Engine(arguments)
    on_term(settings, engine)
    status = 1
    try:
        start = Start(arguments, settings, engine)
        start.run()
        Serving(start).run()
    except EndError as end:
        status = end.status
    except TerminatedError:
        os.write(2, b"KeyboardInterrupt: terminated\n")
        status = INTERRUPTED
    finally:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)
        engine.kill()
    sys.stdout.flush()
    # Threads that still wait for something must not hold up the end.
    os._exit(status)
