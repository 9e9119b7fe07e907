"""systemd's notification protocol, sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

# Only these two messages are worth waiting for.
PATIENCE_S = 5.0


class Notifier:
    """Sends nothing where ``NOTIFY_SOCKET`` is not set."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self.address = environ.get("NOTIFY_SOCKET", "")
        watchdog_pid = environ.get("WATCHDOG_PID")
        mine = watchdog_pid is None or watchdog_pid == str(os.getpid())
        usec = environ.get("WATCHDOG_USEC", "") if mine else ""
        # systemd asks for a sign of life at least every half of the time that it allows.
        self.watchdog_interval_s = int(usec) / 2e6 if usec.isdigit() and self.address else None

    @property
    def active(self) -> bool:
        return bool(self.address)

    def send(self, **fields: str | int) -> None:
        """Send ``FIELD=value`` lines; an unreachable socket is not the engine's problem and is passed over."""
        if not self.address:
            return
        # A leading @ stands for the NUL of Linux's abstract socket names.
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        message = "\n".join(
            f"{name}={str(value).splitlines()[0] if value else value}" for name, value in fields.items()
        )
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                # A listener that does not read must not hold up the watching of the engine.
                sock.settimeout(PATIENCE_S if {"READY", "STOPPING"} & fields.keys() else 0.0)
                sock.connect(address)
                sock.sendall(message.encode(errors="replace"))
        except OSError:
            return

    def ready(self, status: str) -> None:
        self.send(READY=1, STATUS=status)

    def status(self, text: str) -> None:
        self.send(STATUS=text)

    def stopping(self, status: str) -> None:
        self.send(STOPPING=1, STATUS=status)

    def extend(self, seconds: float) -> None:
        """Move the start or stop deadline to ``seconds`` from now."""
        self.send(EXTEND_TIMEOUT_USEC=int(seconds * 1e6))

    def watchdog(self) -> None:
        self.send(WATCHDOG=1)
