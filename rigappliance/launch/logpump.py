"""The engine's output: kept in a file, passed on unaltered, and read line by line.

The engine must never wait for whoever reads along, or a paused terminal would
stop the model.  So this reads as fast as the engine prints; what the reader of
our standard output cannot take in time is left out *there*, counted and said,
while the file has all of it.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

# At the end, a slow reader gets this long for the rest.
CLOSE_S = 2.0
READ_BYTES = 1 << 16
QUEUE_BYTES = 8 << 20
# Longer lines reach the tracker cut to this; no marker stands that far out.
LINE_BYTES = 1 << 14


class LogFile:
    """``path`` and, before it, ``path.1``: at most ``limit_bytes`` each. A full disk is passed over and noted."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.lost_bytes = 0
        self._rotate()

    def _rotate(self) -> None:
        with suppress(OSError):
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        self._size = 0
        self._file: BinaryIO | None = None
        with suppress(OSError):
            self._file = self.path.open("wb", buffering=0)

    def write(self, data: bytes) -> None:
        if self._size + len(data) > self.limit_bytes and self._size:
            self.close()
            self._rotate()
        self._size += len(data)
        if self._file is None:
            self.lost_bytes += len(data)
            return
        written = 0
        with suppress(OSError):
            # An almost full disk takes a part and says so without an error.
            written = self._file.write(data)
        self.lost_bytes += len(data) - written

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


class Passthrough:
    """Writes to ``fd`` from a thread of its own, so that a slow reader holds up nothing else."""

    def __init__(self, fd: int, limit_bytes: int = QUEUE_BYTES) -> None:
        self.fd = fd
        self.limit_bytes = limit_bytes
        self.dropped_bytes = 0
        self._chunks: deque[bytes] = deque()
        self._queued = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="passthrough", daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> None:
        with self._changed:
            if self._queued + len(data) > self.limit_bytes:
                self.dropped_bytes += len(data)
                return
            self._chunks.append(data)
            self._queued += len(data)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._chunks and not self._closed:
                    self._changed.wait()
                if not self._chunks:
                    return
                data = b"".join(self._chunks)
                self._chunks.clear()
            try:
                while data:
                    try:
                        data = data[os.write(self.fd, data) :]
                    except BlockingIOError:
                        # Whoever shares the terminal or pipe may have made it non-blocking.
                        select.select([], [self.fd], [])
            except OSError:
                # The reader left. The engine goes on, and the file has its log.
                with self._changed:
                    self.limit_bytes = -1
            with self._changed:
                self._queued = 0 if not self._chunks else sum(map(len, self._chunks))

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Give the reader up to ``timeout_s`` for what is queued."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)


class LogPump:
    """Reads ``fd`` when told that it is readable and hands the bytes on.

    ``write`` gets the bytes as they are; ``on_line`` gets each line as text,
    where a carriage return ends a line as well, since progress bars use it.
    """

    def __init__(self, fd: int, file: LogFile, write: Callable[[bytes], None], on_line: Callable[[str], None]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.file = file
        self.write = write
        self.on_line = on_line
        self.total_bytes = 0
        self._rest = b""

    def read(self) -> bool:
        """Take what is there now; false at the end of the log."""
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            self._flush()
            return False
        self.total_bytes += len(data)
        self.file.write(data)
        self.write(data)
        first, *lines = data.replace(b"\r", b"\n").split(b"\n")
        # A line that never ends costs no more than one that does: what is beyond the cut is not even looked at.
        if len(self._rest) < LINE_BYTES:
            self._rest += first[: LINE_BYTES - len(self._rest)]
        if lines:
            last = lines.pop()
            for line in (self._rest, *lines):
                self.on_line(line[:LINE_BYTES].decode(errors="replace"))
            self._rest = last[:LINE_BYTES]
        return True

    def _flush(self) -> None:
        if self._rest:
            self.on_line(self._rest.decode(errors="replace"))
            self._rest = b""
