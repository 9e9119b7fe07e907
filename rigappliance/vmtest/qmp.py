"""QEMU's machine protocol, as far as a test machine needs it: one command at a time."""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any

from rigappliance.vmtest.errors import EmulatorError, GuestGoneError

REPLY_TIMEOUT_S = 120.0
POLL_S = 0.02


class Monitor:
    """QEMU's control connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = bytearray()

    def open(self, timeout_s: float) -> None:
        """Wait for QEMU's greeting, and enter command mode. Raises ``EmulatorError``, ``GuestGoneError``."""
        deadline = time.monotonic() + timeout_s
        if "QMP" not in self._message(deadline):
            raise EmulatorError("QEMU's first message is no greeting", "the machine protocol (QMP)")
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: object) -> Any:
        """Run a command; its result. Raises ``EmulatorError`` when QEMU refuses, ``GuestGoneError`` when it is gone."""
        request = {"execute": name, "arguments": arguments} if arguments else {"execute": name}
        deadline = time.monotonic() + REPLY_TIMEOUT_S
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise GuestGoneError("QEMU has ended", f"it carries out {name}") from error
        while True:
            message = self._message(deadline)
            if "error" in message:
                raise EmulatorError(f"QEMU refused {name}: {message['error'].get('desc')}")
            if "return" in message:
                return message["return"]

    def status(self) -> str:
        """QEMU's word for what the guest does: ``running``, ``paused``, ``internal-error``, ``io-error`` ..."""
        return str(self.command("query-status")["status"])

    def go_on(self, timeout_s: float) -> None:
        """Let a guest that is being restored run once it is there. Raises ``EmulatorError``."""
        deadline = time.monotonic() + timeout_s
        while self.status() == "inmigrate":
            if time.monotonic() > deadline:
                raise EmulatorError("QEMU does not finish reading a saved state", f"it does within {timeout_s:.0f} s")
            time.sleep(POLL_S)
        self.command("cont")

    def close(self) -> None:
        self._connection.close()

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._received:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([self._connection], [], [], left_s)[0]:
                raise EmulatorError("QEMU does not answer its monitor", f"an answer within {REPLY_TIMEOUT_S:.0f} s")
            try:
                data = self._connection.recv(65536)
            except OSError:
                data = b""
            if not data:
                raise GuestGoneError("QEMU has ended", "it answers its monitor")
            self._received += data
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        message: dict[str, Any] = json.loads(line)
        return message
