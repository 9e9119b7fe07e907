"""A record of what a script did with a guest, and how long it took."""

from __future__ import annotations

import time
from pathlib import Path

from rigappliance.vmtest.shell import Answer

# More of one command's output makes the record unreadable.
SHOWN_CHARACTERS = 20_000


class Transcript:
    """Lines with the time since the machine was made."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", errors="replace", buffering=1)
        self._began = time.monotonic()
        self._asked = self._began

    def note(self, text: str) -> None:
        if not self._file.closed:
            self._file.write(f"[{time.monotonic() - self._began:9.3f}] {text}\n")

    def command(self, text: str) -> None:
        self._asked = time.monotonic()
        self.note(f"$ {text}")

    def answer(self, answer: Answer) -> None:
        for text in (answer.output.decode(errors="replace"), answer.errors):
            if text.strip():
                self._file.write(text[-SHOWN_CHARACTERS:].rstrip("\n") + "\n")
        self.note(f"status {answer.status} after {time.monotonic() - self._asked:.3f} s")

    def close(self) -> None:
        self._file.close()
