"""What the kernel says while an engine runs, where this user may read it."""

from __future__ import annotations

import os
import re
from collections import deque
from contextlib import suppress
from pathlib import Path

RECORD_BYTES = 1 << 13
KEPT = 500
# The kernel writes bytes that are not printable as \xNN.
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


class KernelLog:
    """``/dev/kmsg`` from the moment of its making on; nothing where that is not readable."""

    def __init__(self, path: Path = Path("/dev/kmsg")) -> None:
        self._fd: int | None = None
        self._kept: deque[str] = deque(maxlen=KEPT)
        with suppress(OSError):
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)

    def lines(self) -> tuple[str, ...]:
        """The last messages since then, oldest first."""
        while self._fd is not None:
            try:
                record = os.read(self._fd, RECORD_BYTES)
            except BlockingIOError:
                break
            except BrokenPipeError:
                # Overwritten before it was read; the next read goes on behind the gap.
                continue
            except OSError:
                break
            if not record:
                break
            self._kept.extend(messages(record.decode(errors="replace")))
        return tuple(self._kept)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def messages(text: str) -> list[str]:
    """The texts of records ``priority,number,time,flags;text``; what continues one begins with a blank."""
    found = []
    for line in text.splitlines():
        head, separator, message = line.partition(";")
        if separator and not line.startswith(" ") and head[:1].isdigit():
            found.append(_ESCAPED.sub(lambda match: chr(int(match[1], 16)), message))
    return found
