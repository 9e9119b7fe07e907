"""A guest for a person: a root shell on its serial line, or commands that come through a pipe."""

from __future__ import annotations

import os
import secrets
import select
import shlex
import shutil
import socket
import tempfile
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rigappliance.vmtest.machine import Machine
from rigappliance.vmtest.origin import Origin

CHUNK_BYTES = 65536
POLL_S = 0.2
LINE = "/dev/ttyS0"
SCRIPT = "/run/vmtest-script"
HINT = "a guest of your own: `exit` or Ctrl-D ends it, and what it wrote is gone then\n"


def run_script(origin: Origin, script: bytes, out: BinaryIO, errors: BinaryIO) -> int:
    """Run commands in a guest as a script; its exit status. Its output comes when it has ended."""
    with Machine(origin) as machine, tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "script"
        file.write_bytes(script)
        machine.copy_from_host(str(file), SCRIPT)
        status, output = machine.execute(f"bash {SCRIPT}", timeout=None)
        out.write(output.encode())
        errors.write(machine.last_errors().encode())
        return status


def sit_down(origin: Origin, terminal: int = 0, screen: int = 1) -> None:
    """Connect a terminal to a shell in a guest until that ends. Raises ``GuestError`` where it does not come up."""
    near, far = socket.socketpair()
    with near, far, Machine(origin, serial=far) as machine:
        line = Line(near, screen)
        machine.connect()
        os.write(screen, HINT.encode())
        with raw(terminal):
            # As a unit: a shell's background command would ignore Ctrl-C, and all below it too.
            machine.succeed(f"systemd-run --quiet --collect bash -c {shlex.quote(shell_on_line(line.mark))}")
            line.show()
            line.pass_on(terminal, lambda: machine.pid is not None and Path(f"/proc/{machine.pid}").exists())


def shell_on_line(mark: bytes) -> str:
    """Command that puts a login shell on the serial line, and says when it has ended."""
    size = shutil.get_terminal_size()
    term = os.environ.get("TERM", "vt100")
    # A line that nobody has open forgets its size.
    session = f"stty sane clocal rows {size.lines or 24} columns {size.columns or 80}; exec bash --login"
    lines = (
        # The kernel and systemd write there too, over what one types.
        "dmesg --console-off; kill -s RTMIN+21 1",
        f"env --chdir=/root HOME=/root TERM={shlex.quote(term)} setsid --ctty --wait bash -c {shlex.quote(session)} "
        f"<{LINE} >{LINE} 2>&1 || true",
        f"printf %s {shlex.quote(mark.decode())} >{LINE}",
    )
    return "; ".join(lines)


class Line:
    """The near end of a guest's serial line: always read, since a full one would hold up the guest."""

    def __init__(self, connection: socket.socket, screen: int) -> None:
        self._connection = connection
        self._screen = screen
        self._shown = False
        self._ended = threading.Event()
        # A control sequence that no terminal shows and no program writes.
        self.mark = f"\x1b]vmtest;{secrets.token_hex(8)}\a".encode()
        threading.Thread(target=self._read, daemon=True).start()

    def show(self) -> None:
        """From now on, what comes is for the screen."""
        self._shown = True

    def pass_on(self, terminal: int, running: Callable[[], bool]) -> None:
        """Send what is typed, until the shell or the guest has ended, or the terminal is closed."""
        while not self._ended.is_set() and running():
            if select.select([terminal], [], [], POLL_S)[0]:
                typed = os.read(terminal, CHUNK_BYTES)
                if not typed:
                    return
                self._connection.sendall(typed)

    def _read(self) -> None:
        held = b""
        while True:
            try:
                data = self._connection.recv(CHUNK_BYTES)
            except OSError:
                data = b""
            if not data:
                break
            shown, found, _ = (held + data).partition(self.mark)
            held = b"" if found else shown[beginning(shown, self.mark) :]
            self._write(shown[: len(shown) - len(held)])
            if found:
                break
        self._ended.set()

    def _write(self, data: bytes) -> None:
        if self._shown and data:
            os.write(self._screen, data)


def beginning(text: bytes, mark: bytes) -> int:
    """Where in ``text`` its end begins to be ``mark``; its length where it does not."""
    starts = (len(text) - length for length in range(min(len(text), len(mark) - 1), 0, -1))
    return next((start for start in starts if mark.startswith(text[start:])), len(text))


@contextmanager
def raw(terminal: int) -> Iterator[None]:
    """Every key goes to the guest, Ctrl-C too."""
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
