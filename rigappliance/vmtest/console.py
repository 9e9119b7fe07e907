"""The guest's serial console, which QEMU appends to a file."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.2
# Colours and cursor movements of systemd's status display.
ESCAPES = re.compile(r"\x1b(\[[0-9;?!]*[ -/]*[@-~]|[@-Z\\-_c])")


class Console:
    """What the guest wrote since its last start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start_bytes = 0
        self._seen = 0

    def begin(self) -> None:
        """A new start of the guest: earlier text is no longer looked at."""
        self._start_bytes = self._path.stat().st_size if self._path.exists() else 0
        self._seen = 0

    def text(self) -> str:
        """All of it, without control sequences and carriage returns."""
        if not self._path.exists():
            return ""
        data = self._path.read_bytes()[self._start_bytes :]
        return ESCAPES.sub("", data.decode(errors="replace")).replace("\r", "")

    def tail(self, lines: int) -> str:
        return "\n".join([line for line in self.text().splitlines() if line.strip()][-lines:])

    def wait_for(self, pattern: str, timeout_s: float, watch: Callable[[], None]) -> bool:
        """Whether whole lines that an earlier wait did not match come to match in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            text = self.text()
            whole = text.rfind("\n") + 1
            match = re.search(pattern, text[self._seen : whole])
            if match is not None:
                self._seen = text.index("\n", max(self._seen, self._seen + match.end() - 1)) + 1
                return True
            if time.monotonic() > deadline:
                return False
            watch()
            time.sleep(POLL_S)
