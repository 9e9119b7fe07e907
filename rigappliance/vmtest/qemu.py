"""QEMU: which machine it emulates, and a process that cannot outlive this one."""

from __future__ import annotations

import functools
import os
import re
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rigappliance.errors import UsageError
from rigappliance.vmtest.image import Image
from rigappliance.vmtest.programs import program, run
from rigappliance.vmtest.qmp import Monitor

MIB = 1024**2

# Name of the port below /dev/virtio-ports; the guest's unit waits for it.
SHELL_PORT = "vmtest"

ACCELERATOR_VARIABLE = "RIGAPPLIANCE_VMTEST_ACCEL"
KVM = Path("/dev/kvm")
CPUINFO = Path("/proc/cpuinfo")

# Software emulation of AVX is slow and, in QEMU 7.2, wrong now and then (a guest with `-cpu max` fails to
# mount what it mounts). The rig's processor has none either: this is x86-64-v2.
EMULATED_CPU = "qemu64,-svm,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16"

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Hardware:
    """The emulated machine. ``arguments`` are handed to QEMU as they are, for disks and devices beyond the usual."""

    cpus: int = 2
    memory_bytes: int = 1024 * MIB
    arguments: tuple[str, ...] = ()


def accelerator() -> str:
    """``kvm`` where it works, else ``tcg``. ``RIGAPPLIANCE_VMTEST_ACCEL`` decides where it is set.

    A /dev/kvm without the processor's own support (some cloud machines offer
    one) runs firmware and stops at the first instruction that it cannot emulate.
    """
    wanted = os.environ.get(ACCELERATOR_VARIABLE, "")
    if wanted in ("kvm", "tcg"):
        return wanted
    if wanted:
        raise UsageError(
            f"{ACCELERATOR_VARIABLE} is {wanted!r}", "kvm or tcg", f"set {ACCELERATOR_VARIABLE} to either, or unset it"
        )
    with suppress(OSError):
        virtualises = re.search(r"^flags\s*:.*\b(vmx|svm)\b", CPUINFO.read_text(encoding="ascii"), re.MULTILINE)
        if virtualises and os.access(KVM, os.R_OK | os.W_OK):
            return "kvm"
    return "tcg"


@functools.cache
def version() -> str:
    """First line of QEMU's ``--version``: another QEMU may not read what this one saved."""
    argv = [program("qemu-system-x86_64"), "--version"]
    return run(argv, doing="asking QEMU's version", timeout_s=60).splitlines()[0]


def machine_arguments(image: Image, hardware: Hardware, kind: str) -> list[str]:
    """The emulated machine without its disk and connections: what a saved state depends on."""
    accelerated = ["-accel", "kvm", "-cpu", "host"] if kind == "kvm" else ["-accel", "tcg,thread=multi"]
    if kind != "kvm":
        accelerated += ["-cpu", EMULATED_CPU]
    return [
        *accelerated,
        "-machine",
        "q35,sata=off,smbus=off",
        "-smp",
        str(hardware.cpus),
        "-m",
        f"{hardware.memory_bytes // MIB}M",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-nic",
        "none",
        "-kernel",
        str(image.kernel),
        "-initrd",
        str(image.initrd),
        # A panic ends the guest, so that nobody waits for it.
        "-append",
        "console=ttyS0 panic=-1 systemd.log_color=0 systemd.show_status=1 root=/dev/vda",
        *hardware.arguments,
    ]


@dataclass(frozen=True)
class Connections:
    """What ties the machine to this process; ``serial`` is the far end of its serial line where somebody sits there."""

    disk: Path
    console: Path
    serial: socket.socket | None = None


def connection_arguments(own: Connections, shell: socket.socket, monitor: socket.socket) -> list[str]:
    """Sockets are inherited: no path to clean up or to be too long."""
    console = f"file,id=console,append=on,path={_escaped(own.console)}"
    if own.serial is not None:
        console = f"socket,id=console,fd={own.serial.fileno()},logfile={_escaped(own.console)},logappend=on"
    return [
        "-drive",
        # Flushes reach the disk: a power cut keeps what the guest synced, and owes it no more.
        f"if=none,id=root,format=qcow2,cache=writeback,discard=unmap,file={_escaped(own.disk)}",
        "-device",
        "virtio-blk-pci,drive=root",
        "-device",
        "virtio-rng-pci",
        "-chardev",
        console,
        "-serial",
        "chardev:console",
        "-device",
        "virtio-serial-pci",
        "-chardev",
        f"socket,id=shell,fd={shell.fileno()}",
        "-device",
        f"virtserialport,chardev=shell,name={SHELL_PORT}",
        "-chardev",
        f"socket,id=monitor,fd={monitor.fileno()}",
        "-mon",
        "chardev=monitor,mode=control",
    ]


@dataclass(frozen=True)
class Emulator:
    """A running QEMU."""

    process: subprocess.Popen[bytes]
    shell: socket.socket
    monitor: Monitor

    def running(self) -> bool:
        return self.process.poll() is None

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended by itself in time."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)
        return not self.running()

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        self.process.kill()
        self.process.wait(END_TIMEOUT_S)
        self.close()

    def close(self) -> None:
        self.shell.close()
        self.monitor.close()


def start(machine: list[str], connections: Connections, errors: Path, options: list[str]) -> Emulator:
    """Start QEMU; its messages go to the file ``errors``.

    Raises ``EmulatorError`` or ``GuestGoneError`` where it does not come up.
    """
    shell, shell_of_guest = socket.socketpair()
    monitor, monitor_of_guest = socket.socketpair()
    argv = [
        # The kernel ends it with this process, also after SIGKILL; in truth with the thread that comes by here.
        program("setpriv"),
        "--pdeathsig",
        "KILL",
        program("qemu-system-x86_64"),
        *machine,
        *connection_arguments(connections, shell_of_guest, monitor_of_guest),
        *options,
    ]
    inherited = [shell_of_guest.fileno(), monitor_of_guest.fileno()]
    if connections.serial is not None:
        inherited.append(connections.serial.fileno())
    with errors.open("ab") as messages, shell_of_guest, monitor_of_guest:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=messages,
            pass_fds=inherited,
            # Ctrl-C is for the test, which then ends the guest in order.
            start_new_session=True,
        )
    emulator = Emulator(process, shell, Monitor(monitor))
    try:
        emulator.monitor.open(START_TIMEOUT_S)
    except BaseException:
        emulator.kill()
        raise
    return emulator


def _escaped(path: Path) -> str:
    """A path as a value among QEMU's options, where a comma separates."""
    return str(path).replace(",", ",,")
