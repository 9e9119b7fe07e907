"""A machine in a directory: its own /proc, its own swapon and swapoff, and real files.

Only the kernel's swap is a stand-in, since enabling it takes root. What the two
programs print when they fail was recorded from util-linux 2.38 on Linux 6.18.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rigappliance.swapfile import Declared, Machine, Output, allocate, disable, enable
from rigappliance.swapfile.declared import PAGE_BYTES, partial_of
from rigappliance.units import SIZE_UNITS

MIB = SIZE_UNITS["MiB"]

SWAPON = """#!/bin/sh
echo "swapon $*" >> {log}
if grep -q "^$3	" {swaps}; then echo "swapon: $3: swapon failed: Device or resource busy" >&2; exit 255; fi
printf '%s\\tfile\\t%d\\t0\\t%d\\n' "$3" $(( $(stat -c %s "$3") / 1024 - {page_kib} )) "$2" >> {swaps}
"""
SWAPOFF = """#!/bin/sh
echo "swapoff $*" >> {log}
grep -v "^$1	" {swaps} > {swaps}.new; mv {swaps}.new {swaps}
"""


class Host:
    """``file`` is the declared swap file, in a directory of its own below ``root``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.monkeypatch = monkeypatch
        self.machine = Machine(root, os.geteuid())
        self.directory = root / "disk"
        self.directory.mkdir()
        self.file = self.directory / "rig.swap"
        self.partial = partial_of(self.file)
        self.lines: list[str] = []
        self.statuses: list[str] = []
        self.swaps = root / "proc/swaps"
        self.log = root / "log"
        self.log.touch()
        (root / "proc/self").mkdir(parents=True)
        self.swaps.write_text("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
        (root / "proc/meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n")
        self.mount("ext4")
        (root / "bin").mkdir()
        self.install("swapon", SWAPON)
        self.install("swapoff", SWAPOFF)
        monkeypatch.setenv("PATH", f"{root / 'bin'}:{os.environ['PATH']}")

    def install(self, name: str, script: str) -> None:
        program = self.root / "bin" / name
        program.write_text(script.format(log=self.log, swaps=self.swaps, page_kib=PAGE_BYTES // 1024))
        program.chmod(0o755)

    def mount(self, filesystem: str, source: str = "/dev/sda1") -> None:
        """Below the swap file lies ``filesystem``, as far as the mount table says."""
        (self.root / "proc/self/mountinfo").write_text(
            "22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n"
            f"40 22 8:1 / {self.directory} rw,relatime shared:2 master:1 - {filesystem} {source} rw\n"
        )

    def small_steps(self) -> None:
        """So that a few MiB are as many steps as the rig's 128 GiB."""
        self.monkeypatch.setattr(allocate, "PREALLOCATE_BYTES", MIB)
        self.monkeypatch.setattr(allocate, "SYNC_BYTES", MIB)
        self.monkeypatch.setattr(allocate, "PIECE_BYTES", MIB // 4)

    def declared(self, size_bytes: int = 8 * MIB, priority: int = 10) -> Declared:
        return Declared(self.file, size_bytes, priority)

    def on(self, size_bytes: int = 8 * MIB, priority: int = 10) -> str:
        output = Output(self.lines.append, self.statuses.append)
        return enable(self.declared(size_bytes, priority), self.machine, output)

    def off(self, *, delete: bool = False) -> str:
        return disable(self.declared(), self.machine, delete=delete)

    def reboot(self) -> None:
        """Files stay; nothing is active any more."""
        self.swaps.write_text("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
        self.log.write_text("")
        self.lines.clear()

    def active(self) -> list[str]:
        return [device.path for device in self.machine.swaps]

    def programs(self) -> list[str]:
        """The calls of swapon and swapoff, without the file's directory."""
        return self.log.read_text().replace(f"{self.directory}/", "").splitlines()


def fingerprint(path: Path) -> tuple[object, ...]:
    """What changes when somebody writes to a file, replaces it, or cuts it."""
    status = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_blocks, digest


@contextmanager
def untouched(path: Path) -> Iterator[None]:
    before = fingerprint(path)
    yield
    assert fingerprint(path) == before


def in_child(work: Callable[[], object]) -> int:
    """The process id of a fork that does ``work`` and leaves with 0, or with 1 where that raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended_by(pid: int) -> int:
    """How it ended, as subprocess counts: an exit status, or minus a signal's number."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
