"""Looking for processes without the help of what is tested."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil


def with_argument(text: str) -> list[psutil.Process]:
    """Live processes that have ``text`` somewhere on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(
            text in part for part in process.info["cmdline"] or ()
        ):
            found.append(process)
    return found


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> bool:
    """Whether ``condition`` came true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True
