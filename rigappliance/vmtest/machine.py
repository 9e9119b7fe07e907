"""A Debian guest under QEMU that answers to the machine API."""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, cast

from rigappliance.errors import UsageError
from rigappliance.vmtest import cache, qemu, transfer
from rigappliance.vmtest.api import LIMIT_S, MachineApi
from rigappliance.vmtest.console import Console
from rigappliance.vmtest.errors import AwaitedError, BootError, CommandError, GuestError, GuestGoneError, GuestHungError
from rigappliance.vmtest.origin import MEMORY, Origin
from rigappliance.vmtest.programs import program, run
from rigappliance.vmtest.rundir import RunDirectory, log_directory
from rigappliance.vmtest.shell import Answer, Shell
from rigappliance.vmtest.transcript import Transcript

# Software emulation on two busy cores takes ten times what an idle machine takes.
BOOT_TIMEOUT_S = 600.0
WAKE_TIMEOUT_S = 120.0
SHUTDOWN_TIMEOUT_S = 300.0
SAVE_TIMEOUT_S = 300.0
GONE_TIMEOUT_S = 1.0
COPY_TIMEOUT_S = 900.0
CONSOLE_LINES = 60
POLL_S = 0.05
# A tar stream up to this size needs no file of its own.
IN_MEMORY_BYTES = 16 * 1024**2

E = TypeVar("E", bound=GuestError)

# What QEMU calls a guest that will never go on.
STUCK = ("internal-error", "io-error", "guest-panicked")


class Machine(MachineApi):
    """One guest, over a disk of its own that lasts until ``release``.

    The first start wakes up the origin's saved state where it has one; every
    later one boots the disk as the last crash or shutdown left it.  As with
    NixOS's driver, a command starts a machine that is off.  ``serial`` is one
    end of a connection whose other end somebody reads.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        name: str = "machine",
        out_dir: Path | None = None,
        serial: socket.socket | None = None,
    ) -> None:
        self.name = name
        self.origin = origin
        self._holds = [cache.hold(path) for path in origin.entries]
        self._run = RunDirectory()
        self._logs = log_directory(name)
        self._out = out_dir
        self._serial = serial
        self._keep_logs = False
        self._transcript = Transcript(self._logs / "shell.log")
        self.console = Console(self._logs / "console.log")
        self._disk = self._run.path / "disk.qcow2"
        self._create_disk()
        self._emulator: qemu.Emulator | None = None
        self._shell: Shell | None = None
        self._connected = False
        self._asleep = origin.memory is not None and not origin.cold
        self._waking = False
        self._allow_reboot = False
        self._errors = ""
        atexit.register(self.release)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release(keep_logs=kind is not None)

    # Power

    @property
    def booted(self) -> bool:
        """Whether the machine has power."""
        return self._emulator is not None

    @property
    def pid(self) -> int | None:
        """QEMU's process."""
        return None if self._emulator is None else self._emulator.process.pid

    def is_up(self) -> bool:
        return self.booted and self._connected

    def start(self, allow_reboot: bool = False) -> None:
        """Give it power, without waiting for it to come up. Without ``allow_reboot`` a reboot ends it."""
        if self._emulator is not None:
            return
        self._allow_reboot = allow_reboot
        options = [] if allow_reboot else ["-no-reboot"]
        self._waking = self._asleep
        if self._waking and self.origin.memory is not None:
            options += ["-incoming", f"exec:cat {shlex.quote(str(self.origin.memory))}"]
        self._asleep = False
        self.console.begin()
        if self._waking and self.origin.console is not None:
            # What the guest said while it booted, as if it had done it here.
            shutil.copyfile(self.origin.console, self._logs / "console.log")
        self.log("the machine starts" + (" from its saved state" if self._waking else ""))
        arguments = qemu.machine_arguments(self.origin.image, self.origin.hardware, self.origin.accelerator)
        try:
            connections = qemu.Connections(self._disk, self._logs / "console.log", self._serial)
            self._emulator = qemu.start(arguments, connections, self._logs / "qemu.log", options)
            if self._waking:
                self._emulator.monitor.go_on(WAKE_TIMEOUT_S)
        except GuestError as error:
            raise self._explained(error) from error
        self._shell = Shell(self._emulator.shell, self._watch)

    def connect(self) -> None:
        """Wait until the root shell answers, starting the machine where it is off. Raises ``BootError``."""
        self.start()
        if self._connected or self._shell is None:
            return
        began = time.monotonic()
        try:
            if self._waking:
                # Its clock went on where it was saved.
                self._shell.run(f"date --set=@{time.time():.3f}; {self.origin.on_wake}", WAKE_TIMEOUT_S)
            else:
                self._shell.wait_ready(BOOT_TIMEOUT_S)
        except GuestHungError as error:
            raise self._failure(BootError, f"no root shell after {time.monotonic() - began:.0f} s") from error
        except GuestError as error:
            raise self._explained(error) from error
        self._connected = True
        self.log(f"root shell after {time.monotonic() - began:.2f} s")

    def crash(self) -> None:
        """Cut its power: what the guest did not sync to its disk may be lost."""
        if self._emulator is None:
            return
        self.log("power is cut")
        self._emulator.kill()
        self._off()

    def shutdown(self) -> None:
        """Power it off in order, and wait for that. Raises ``AwaitedError`` when it does not end."""
        if self._emulator is None:
            return
        self.execute("sleep 0.3; systemctl poweroff", check_output=False)
        self.wait_for_shutdown()

    def wait_for_shutdown(self) -> None:
        """Wait until the guest has powered itself off. Raises ``AwaitedError``."""
        if self._emulator is None:
            return
        if not self._emulator.wait(SHUTDOWN_TIMEOUT_S):
            raise self._failure(AwaitedError, f"the guest still runs after {SHUTDOWN_TIMEOUT_S:.0f} s", "it is off")
        self._emulator.close()
        self._off()
        self.log("the machine is off")

    def reboot(self) -> None:
        """Restart the guest in order; the next command waits for it. It must have started with ``allow_reboot``."""
        if not self._allow_reboot:
            raise self._failure(GuestError, "the machine may not reboot", "start(allow_reboot=True) before")
        self.execute("sleep 0.3; systemctl reboot", check_output=False)
        self._connected = False
        self._waking = False

    def release(self, *, keep_logs: bool | None = None) -> None:
        """End the guest and remove what it wrote; the logs stay where ``keep_logs`` or an earlier error says so."""
        atexit.unregister(self.release)
        if self._emulator is not None:
            self._emulator.kill()
            self._off()
        self._run.remove()
        self._transcript.close()
        while self._holds:
            os.close(self._holds.pop())
        if not (self._keep_logs if keep_logs is None else keep_logs):
            shutil.rmtree(self._logs, ignore_errors=True)

    def save(self, directory: Path) -> None:
        """Keep the guest as it is now as ``memory`` and ``disk.qcow2``; the machine is released then."""
        self.succeed("sync")
        emulator = self._emulator
        if emulator is None:
            raise self._failure(GuestGoneError, "the guest has ended", "a running guest to save")
        monitor = emulator.monitor
        monitor.command("stop")
        monitor.command("migrate-set-parameters", **{"max-bandwidth": 2**40})
        monitor.command("migrate", uri=f"exec:cat > {shlex.quote(str(directory / MEMORY))}")
        deadline = time.monotonic() + SAVE_TIMEOUT_S
        while (status := monitor.command("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled") or time.monotonic() > deadline:
                raise self._failure(GuestError, f"saving the guest: {status}", "completed")
            time.sleep(POLL_S)
        with suppress(GuestGoneError):
            monitor.command("quit")
        if not emulator.wait(SHUTDOWN_TIMEOUT_S):
            raise self._failure(GuestError, "QEMU does not end after its guest was saved", "it has ended")
        emulator.close()
        self._off()
        shutil.move(self._disk, directory / "disk.qcow2")
        shutil.copyfile(self._logs / "console.log", directory / "console.log")
        self.release()

    # Commands

    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: int | None = LIMIT_S
    ) -> tuple[int, str]:
        if not check_output:
            # One shell runs one command at a time, so what is not waited for goes to the background.
            command = f"setsid bash -euo pipefail -c {shlex.quote(command)} </dev/null >/dev/null 2>&1 &"
        answer = self._ask(command, timeout)
        if not check_output:
            return (-2, "")
        return (answer.status if check_return else -1, answer.output.decode(errors="replace"))

    def last_errors(self) -> str:
        return self._errors

    # Files

    @property
    def out_dir(self) -> Path:
        """Where ``copy_from_machine`` puts things: the directory given, or a new one."""
        if self._out is None:
            self._out = Path(tempfile.mkdtemp(prefix=f"rigappliance-{self.name}-"))
        return self._out

    def copy_from_host(self, source: str, target: str) -> None:
        """Copy a file or a directory to the path ``target``, into it where it is a directory already.

        Mode bits stay, links are followed, and all belongs to root.
        """
        path = Path(source)
        where = PurePosixPath(target)
        if self.execute(f"test -d {shlex.quote(target)}")[0] == 0:
            where = where / path.name
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            stream = cast(BinaryIO, spool)
            try:
                transfer.pack(path, where.name, stream)
            except OSError as error:
                raise UsageError(
                    f"cannot read {error.filename or source}: {error.strerror}", "a file to copy"
                ) from error
            size_bytes = stream.tell()
            stream.seek(0)
            command = transfer.unpack_command(str(where.parent))
            answer = self._ask(command, COPY_TIMEOUT_S, stream, size_bytes)
        self._check_copied(answer, f"copying {source} to {target}")

    def copy_from_machine(self, source: str, target_dir: str = "") -> None:
        """Copy a file or a directory of the guest to its name below ``out_dir/target_dir``; links are followed."""
        answer = self._ask(transfer.pack_command(source), COPY_TIMEOUT_S)
        self._check_copied(answer, f"copying {source} from the guest")
        transfer.unpack(answer.output, self.out_dir / target_dir)

    def copy_from_vm(self, source: str, target_dir: str = "") -> None:
        """Older name of ``copy_from_machine``."""
        self.copy_from_machine(source, target_dir)

    # Console and logs

    def wait_for_console_text(self, regex: str, timeout: int | None = None) -> None:
        """Wait for console lines, later than those an earlier wait matched, that match. Raises ``AwaitedError``."""
        self.log(f"waiting for {regex} on the console")
        limit_s = LIMIT_S if timeout is None else timeout
        if not self.console.wait_for(regex, limit_s, self._watch):
            raise self._failure(AwaitedError, f"not on the console after {limit_s} s", f"a match of {regex}")

    def get_console_log(self) -> str:
        """The console since the guest was booted."""
        return self.console.text()

    def log(self, msg: str) -> None:
        self._transcript.note(msg)

    def logs(self) -> Path:
        self._keep_logs = True
        return self._logs

    # Inside

    def _create_disk(self) -> None:
        base = ["-b", str(self.origin.disk), "-F", self.origin.disk_format]
        argv = [program("qemu-img"), "create", "-q", "-f", "qcow2", *base, str(self._disk)]
        run(argv, doing="making the guest's overlay", timeout_s=60)

    def _ask(self, command: str, limit_s: float | None, data: BinaryIO | None = None, size_bytes: int = 0) -> Answer:
        self.connect()
        if self._shell is None:
            raise self._failure(GuestGoneError, "the machine is off", "a running guest")
        self._transcript.command(command)
        try:
            answer = self._shell.run(command, limit_s, data, size_bytes)
        except GuestError as error:
            self.log(error.found)
            raise self._explained(error, f"`{command}`") from error
        self._errors = answer.errors
        self._transcript.answer(answer)
        return answer

    def _check_copied(self, answer: Answer, doing: str) -> None:
        if answer.status != 0:
            raise CommandError(
                f"{doing} ended with status {answer.status}: {answer.errors.strip()}",
                "status 0",
                f"see {self.logs()}",
                status=answer.status,
                output="",
                errors=answer.errors,
            )

    def _watch(self) -> None:
        """Raises ``GuestGoneError`` when the guest cannot go on."""
        emulator = self._emulator
        if emulator is None:
            raise GuestGoneError("the machine is off", "a running guest")
        if not emulator.running():
            raise GuestGoneError(f"QEMU left with status {emulator.process.returncode}", "the guest runs")
        status = emulator.monitor.status()
        if status in STUCK:
            raise GuestGoneError(f"QEMU stopped the guest: {status}", "the guest runs")

    def _off(self) -> None:
        self._emulator = None
        self._shell = None
        self._connected = False

    def _explained(self, error: GuestError, during: str = "") -> GuestError:
        """The same error with the console's last lines and QEMU's own words, and where the logs are."""
        found = f"{during}: {error.found}" if during else error.found
        emulator = self._emulator
        # Its sockets close a moment before it is gone.
        if emulator is not None and isinstance(error, GuestGoneError) and emulator.wait(GONE_TIMEOUT_S):
            emulator.close()
            self._off()
        return self._failure(type(error), found, error.expected)

    def _failure(self, kind: type[E], found: str, expected: str = "") -> E:
        parts = [found]
        messages = self._logs / "qemu.log"
        if messages.exists() and (text := messages.read_text(encoding="utf-8", errors="replace").strip()):
            parts.append(f"--- QEMU\n{text[-1000:]}")
        if console := self.console.tail(CONSOLE_LINES):
            parts.append(f"--- the console's last lines\n{console}\n---")
        return kind("\n".join(parts), expected, f"see {self.logs()}")
