"""One line to the engine's log."""

from __future__ import annotations

import sys

PREFIX = "rigappliance start:"


def say(text: str) -> None:
    """What became of the start, and why; on stderr, as the engine's own log is."""
    print(f"{PREFIX} {text}", file=sys.stderr, flush=True)  # noqa: T201 this is the engine's log
