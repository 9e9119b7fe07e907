"""The guest's root shell as the host sees it; ``guest/shell`` is the other end and describes the protocol."""

from __future__ import annotations

import base64
import binascii
import itertools
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from rigappliance.errors import UsageError
from rigappliance.vmtest.errors import GuestGoneError, GuestHungError

READY = b"ready "
CHUNK_BYTES = 1024 * 1024
# How often somebody looks whether the guest still runs while its shell is silent.
WATCH_INTERVAL_S = 2.0
# The guest ends a command that exceeds its limit; this much later it is the guest that hangs.
ANSWER_GRACE_S = 90.0
# How long a command may take for which no limit was asked.
LONGEST_S = 3600.0
# The kernel takes no longer single argument (MAX_ARG_STRLEN), and bash wants some of it.
LONGEST_COMMAND_BYTES = 120_000

Watch = Callable[[], None]


@dataclass(frozen=True)
class Answer:
    """Exit status (124 after a timeout), standard output, and the end of standard error."""

    status: int
    output: bytes
    errors: str


class Shell:
    """Commands in the guest, one at a time. ``watch`` is called while waiting and raises when the guest is gone."""

    def __init__(self, connection: socket.socket, watch: Watch) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._watch = watch
        self._received = bytearray()
        self._tokens = itertools.count(1)
        self._hung = False

    def wait_ready(self, timeout_s: float) -> None:
        """Wait for the shell's first line. Raises ``GuestHungError``, ``GuestGoneError``."""
        deadline = time.monotonic() + timeout_s
        while not self._line(deadline).startswith(READY):
            pass

    def run(self, command: str, limit_s: float | None, data: BinaryIO | None = None, size_bytes: int = 0) -> Answer:
        """Run a command, with ``size_bytes`` from ``data`` as its standard input.

        ``limit_s`` None means an hour. Raises ``GuestHungError`` when no answer
        comes, ``GuestGoneError`` when the guest ended or restarted meanwhile.
        """
        if self._hung:
            raise GuestHungError(
                "the guest's shell did not answer earlier", "a shell that answers", "crash() and start() the machine"
            )
        text = command.encode()
        if len(text) > LONGEST_COMMAND_BYTES:
            raise UsageError(
                f"a command of {len(text)} bytes",
                f"at most {LONGEST_COMMAND_BYTES} bytes",
                "copy a script into the guest and run that",
            )
        token = f"{next(self._tokens)}".encode()
        deadline = time.monotonic() + (LONGEST_S if limit_s is None else limit_s) + ANSWER_GRACE_S
        # The guest takes 0 as no limit at all.
        limit_of_guest = 0 if limit_s is None else max(1, round(limit_s))
        request = b"%b %d %d %d\n%b" % (token, limit_of_guest, len(text), size_bytes, text)
        try:
            self._send(request, deadline)
            left_bytes = size_bytes
            while data is not None and left_bytes > 0:
                chunk = data.read(min(left_bytes, CHUNK_BYTES))
                if not chunk:
                    raise UsageError(f"{left_bytes} bytes of input are missing", f"{size_bytes} bytes")
                left_bytes -= len(chunk)
                self._send(chunk, deadline)
            return self._answer(token, deadline)
        except GuestHungError:
            self._hung = True
            raise

    def _answer(self, token: bytes, deadline: float) -> Answer:
        lines: list[bytes] = []
        while True:
            line = self._line(deadline)
            if line.startswith(READY):
                raise GuestGoneError("the guest restarted during a command", "the command ends first")
            if line.startswith(token + b" "):
                break
            lines.append(line)
        _, status, errors = (*line.split(b" "), b"")[:3]
        return Answer(int(status), _decoded(b"".join(lines)), _decoded(errors).decode(errors="replace"))

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(writing=True, deadline=deadline)
            try:
                view = view[self._connection.send(view) :]
            except BlockingIOError:
                continue
            except OSError as error:
                self._watch()
                raise GuestGoneError("the guest has ended", "it takes a command") from error

    def _line(self, deadline: float) -> bytes:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            self._wait(writing=False, deadline=deadline)
            try:
                data = self._connection.recv(CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._watch()
                raise GuestGoneError("the guest has ended", "it answers a command")
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def _wait(self, *, writing: bool, deadline: float) -> None:
        ours = [self._connection]
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise GuestHungError("the guest's shell does not answer", "an answer before the limit")
            readable, writable, _ = select.select(
                [] if writing else ours, ours if writing else [], [], min(left_s, WATCH_INTERVAL_S)
            )
            if readable or writable:
                return
            self._watch()


def _decoded(data: bytes) -> bytes:
    """Base64 to bytes; a collector that was ended in the middle leaves a last group that is cut off."""
    whole = len(data) - len(data) % 4
    try:
        return base64.b64decode(data[:whole])
    except binascii.Error:
        return b""
