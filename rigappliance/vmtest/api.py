"""What test scripts do with a machine: names, parameters and meaning as NixOS's test driver has them.

A script that uses nothing else runs on both.  As there, commands run under
``set -euo pipefail``, their standard output is returned and everything that
holds it open is waited for; unlike there, an error shows output and standard
error, and names where the logs are.
"""

from __future__ import annotations

import re
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rigappliance.vmtest.errors import AwaitedError, CommandError

LIMIT_S = 900
RETRY_INTERVAL_S = 1.0
SHOWN_CHARACTERS = 4000
TIMED_OUT_STATUS = 124

PROPERTY = re.compile(r"^([^=\n]+)=(.*)$", re.MULTILINE)


class MachineApi(ABC):
    """Everything that can be said with commands alone."""

    name: str

    @abstractmethod
    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: int | None = LIMIT_S
    ) -> tuple[int, str]:
        """Run a command; its exit status and standard output.

        The status is 124 after ``timeout`` seconds.  Without ``check_output``
        nothing is waited for and the result is ``(-2, "")``; without
        ``check_return`` the status is -1.
        """

    @abstractmethod
    def last_errors(self) -> str:
        """End of the standard error of the last command."""

    @abstractmethod
    def logs(self) -> Path:
        """Directory of the console's log and the shell's transcript; it is kept from now on."""

    @abstractmethod
    def log(self, msg: str) -> None:
        """Write a line into the transcript."""

    @contextmanager
    def nested(self, msg: str, attrs: dict[str, str] | None = None) -> Iterator[None]:
        """Write what a block of the script is about into the transcript."""
        self.log(msg)
        started = time.monotonic()
        yield
        self.log(f"({msg}: {time.monotonic() - started:.2f} s)")

    def succeed(self, *commands: str, timeout: int | None = None) -> str:
        """Run commands that must end with status 0; their standard output. Raises ``CommandError``."""
        return "".join(self._expect(command, timeout, success=True) for command in commands)

    def fail(self, *commands: str, timeout: int | None = None) -> str:
        """Run commands that must end with another status than 0; their standard output. Raises ``CommandError``."""
        return "".join(self._expect(command, timeout, success=False) for command in commands)

    def wait_until_succeeds(self, command: str, timeout: int = LIMIT_S) -> str:
        """Repeat a command every second until it succeeds; its output. Raises ``AwaitedError`` after ``timeout`` s."""
        return self._repeat(command, timeout, success=True)

    def wait_until_fails(self, command: str, timeout: int = LIMIT_S) -> str:
        """Repeat a command every second until it fails; its output. Raises ``AwaitedError`` after ``timeout`` s."""
        return self._repeat(command, timeout, success=False)

    def sleep(self, secs: int) -> None:
        """Let seconds pass by the guest's clock."""
        self.succeed(f"sleep {secs}")

    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """Run ``systemctl``, or ``systemctl --user`` as a user; status and output."""
        if user is None:
            return self.execute(f"systemctl {q}")
        inner = f'XDG_RUNTIME_DIR=/run/user/"$(id --user)" systemctl --user {q}'
        return self.execute(f"su --login {shlex.quote(user)} --shell /bin/sh --command {shlex.quote(inner)}")

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """A unit's properties as ``systemctl show`` has them."""
        return dict(PROPERTY.findall(self._show(unit, "", user)))

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:  # noqa: A002 the driver's name
        """One property of a unit."""
        found: list[tuple[str, str]] = PROPERTY.findall(self._show(unit, f" --property={shlex.quote(property)}", user))
        for name, value in found:
            if name == property:
                return value
        raise self._awaited(f"unit {unit} has no property {property}", "a property that systemctl show prints")

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Raises ``AwaitedError`` where a unit's ``ActiveState`` is another now."""
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise self._awaited(f"unit {unit} is {state}", f"it is {require_state}", unit=unit)

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: int = LIMIT_S) -> None:
        """Wait until a unit is active.

        Raises ``AwaitedError`` at once when it failed, or is inactive with
        nothing left to start it, with the unit's status and last journal lines.
        """

        def active() -> bool:
            state = self.get_unit_property(unit, "ActiveState", user)
            if state == "failed" or (state == "inactive" and self._stays_inactive(unit, user)):
                raise self._awaited(f"unit {unit} is {state}", "it becomes active", unit=unit, user=user)
            return state == "active"

        self._until(active, timeout, f"unit {unit} is active", unit=unit, user=user)

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Start a unit; status and output of systemctl."""
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Stop a unit; status and output of systemctl."""
        return self.systemctl(f"stop {jobname}", user)

    def wait_for_file(self, filename: str, timeout: int = LIMIT_S) -> None:
        """Wait until a path exists. Raises ``AwaitedError``."""
        self._until(
            lambda: self.execute(f"test -e {shlex.quote(filename)}")[0] == 0, timeout, f"the file {filename} is there"
        )

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: int = LIMIT_S) -> None:
        """Wait until something listens on a TCP port. Raises ``AwaitedError``."""
        self._until(lambda: self._port_open(port, addr), timeout, f"TCP port {port} of {addr} is open")

    def wait_for_closed_port(self, port: int, addr: str = "localhost", timeout: int = LIMIT_S) -> None:
        """Wait until nothing listens on a TCP port. Raises ``AwaitedError``."""
        self._until(lambda: not self._port_open(port, addr), timeout, f"TCP port {port} of {addr} is closed")

    def _expect(self, command: str, timeout: int | None, *, success: bool) -> str:
        status, output = self.execute(command, timeout=timeout)
        if (status == 0) == success:
            return output
        found = f"`{command}` succeeded"
        if status == TIMED_OUT_STATUS and timeout is not None:
            found = f"`{command}` did not end within {timeout} s"
        elif status != 0:
            found = f"`{command}` ended with status {status}"
        errors = self.last_errors()
        raise CommandError(
            _with_output(found, output, errors),
            "status 0" if success else "another status than 0",
            f"see {self.logs()}",
            status=status,
            output=output,
            errors=errors,
        )

    def _repeat(self, command: str, timeout: int, *, success: bool) -> str:
        output = ""

        def as_wanted() -> bool:
            nonlocal output
            status, output = self.execute(command, timeout=timeout)
            return (status == 0) == success

        self._until(as_wanted, timeout, f"`{command}` {'succeeds' if success else 'fails'}", last=lambda: output)
        return output

    def _until(
        self,
        condition: Callable[[], bool],
        timeout: int,
        expected: str,
        *,
        unit: str | None = None,
        user: str | None = None,
        last: Callable[[], str] = str,
    ) -> None:
        self.log(f"waiting until {expected}")
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() >= deadline:
                found = _with_output(f"not so after {timeout} s", last(), self.last_errors())
                raise self._awaited(found, expected, unit=unit, user=user)
            time.sleep(RETRY_INTERVAL_S)

    def _awaited(self, found: str, expected: str, *, unit: str | None = None, user: str | None = None) -> AwaitedError:
        if unit is not None:
            found += "\n" + self.systemctl(f"--no-pager --full --lines=30 status {shlex.quote(unit)}", user)[1].rstrip()
        return AwaitedError(found, expected, f"see {self.logs()}")

    def _stays_inactive(self, unit: str, user: str | None) -> bool:
        if "No jobs" not in self.systemctl("list-jobs --full 2>&1", user)[1]:
            return False
        # Its job may have ended between the two questions.
        return self.get_unit_property(unit, "ActiveState", user) == "inactive"

    def _show(self, unit: str, options: str, user: str | None) -> str:
        status, text = self.systemctl(f"--no-pager show {shlex.quote(unit)}{options}", user)
        if status != 0:
            raise self._awaited(
                _with_output(f"systemctl show {unit} ended with status {status}", text, self.last_errors()),
                "a unit's properties",
            )
        return text

    def _port_open(self, port: int, addr: str) -> bool:
        # bash's own network redirection: nc is in no minimal system.
        return self.execute(f"exec 3<>/dev/tcp/{addr}/{port}", timeout=10)[0] == 0


def _with_output(found: str, output: str, errors: str) -> str:
    parts = [found]
    for title, text in (("output", output), ("standard error", errors)):
        if text.strip():
            parts.append(f"--- {title}\n{text.strip()[-SHOWN_CHARACTERS:]}")
    if len(parts) > 1:
        parts.append("---")
    return "\n".join(parts)
