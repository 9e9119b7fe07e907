"""``rigappliance-vmtest shell``, as a person at a terminal and as a program with a pipe meet it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from rigappliance.vmtest.interactive import beginning

PROGRAM = [sys.executable, "-m", "rigappliance.vmtest.cli", "shell"]
# A guest that has to be made first is a matter of minutes.
LIMIT_S = 600
ANSWER_S = 60


class Terminal:
    """A terminal of its own with the program at it."""

    def __init__(self, *arguments: str) -> None:
        self.near, far = pty.openpty()
        self.far = far
        self.process = subprocess.Popen([*PROGRAM, *arguments], stdin=far, stdout=far, stderr=far, close_fds=True)
        self.seen = b""

    def type(self, text: str) -> None:
        os.write(self.near, text.encode())

    def wait_for(self, pattern: bytes, limit_s: float = ANSWER_S) -> bytes:
        """What matches ``pattern`` behind what an earlier wait matched."""
        deadline = time.monotonic() + limit_s
        while not (match := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, self.seen
            self.read()
        self.seen = self.seen[match.end() :]
        return match[0]

    def read(self) -> None:
        if select.select([self.near], [], [], 0.5)[0]:
            self.seen += os.read(self.near, 65536)

    def wait(self) -> int:
        deadline = time.monotonic() + ANSWER_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        return self.process.wait(1)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    with suppress(ProcessLookupError):
        made.process.kill()
    made.process.wait()
    os.close(made.near)
    os.close(made.far)


@pytest.mark.vm
def test_a_person_has_a_root_shell_and_ends_it(terminal: Terminal) -> None:
    before = termios.tcgetattr(terminal.far)
    terminal.wait_for(rb"ends it", LIMIT_S)
    terminal.wait_for(rb"root@machine:~# ")
    terminal.type("id --user; tty; stty size\r")
    terminal.wait_for(rb"\r0\r\n/dev/ttyS0\r\n24 80\r\n")
    # A key that would end the program is the guest's.
    terminal.type("sleep 1000\r")
    time.sleep(2)
    terminal.type("\x03")
    terminal.wait_for(rb"\^C[^#]*root@machine:~# ")
    terminal.type("echo $((40 + 2))\r")
    terminal.wait_for(rb"\r42\r\n")
    terminal.type("exit\r")
    assert terminal.wait() == 0
    assert b"vmtest;" not in terminal.seen
    assert termios.tcgetattr(terminal.far) == before


@pytest.mark.vm
def test_a_pipe_is_a_script_whose_status_is_handed_on() -> None:
    done = subprocess.run(
        PROGRAM, input="id --user\necho no >&2\nexit 3\n", capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert (done.returncode, done.stdout) == (3, "0\n")
    assert "no\n" in done.stderr


def test_a_mark_is_found_however_it_is_cut() -> None:
    mark = b"\x1b]vmtest;ab\a"
    assert beginning(b"text", mark) == 4
    assert beginning(b"text" + mark[:1], mark) == 4
    assert beginning(b"text" + mark[:-1], mark) == 4
    assert beginning(b"\x1b[0m", mark) == 4
    assert beginning(b"", mark) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--memory", "lots"], "--memory lots"),
        (["--memory", "1MiB"], "256MiB or more"),
        (["--run", "service", "--memory", "2GiB"], "one of both"),
        (["--run", "sevrice"], "did you mean 'service'?"),
    ],
)
def test_a_wrong_command_line_says_so(arguments: list[str], said: str) -> None:
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr
