"""Runs a program on an emulated processor and says which instruction of which library ended it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.noavx.processor import Processor

HERE = Path(__file__).resolve().parent
# Binds the file over /proc/cpuinfo for this program and its children alone.
OWN_CPUINFO = 'mount --bind "$1" /proc/cpuinfo && shift && exec "$@"'
REPORT = re.compile(r"^SIGILL ([0-9a-f]+) ([0-9a-f]+) (.+)$", flags=re.MULTILINE)
SHELL_SIGILL = 128 + signal.SIGILL


@dataclass(frozen=True)
class Death:
    """An illegal instruction. ``offset`` counts bytes from the start of ``library``."""

    library: str
    offset: int
    instruction: str


@dataclass(frozen=True)
class Ended:
    """How a program ended; ``code`` is ``None`` where it took longer than it may."""

    code: int | None
    output: str
    errors: str
    seconds: float
    death: Death | None


def build(source: Path, to: Path, *options: str) -> Path:
    """The program or library of a C source. Raises CalledProcessError with the compiler's words on stderr."""
    subprocess.run(["cc", "-O1", "-Wall", "-Wextra", *options, "-o", str(to), str(source)], check=True)
    return to


def disassemble(code: bytes) -> str:
    """The first instruction of ``code``, with its bytes."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(code)
        file.flush()
        command = ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "--insn-width=15", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = re.search(r"^\s+0:\t([0-9a-f ]+?)\s*\t(.+)$", text, flags=re.MULTILINE)
    return f"{re.sub(' +', ' ', line[2]).strip()} ({line[1].replace(' ', '')})" if line else code.hex()


class Emulator:
    """Starts programs on ``processor``, or on this machine where that is ``None``, one at a time."""

    def __init__(self, processor: Processor | None, work: Path) -> None:
        self.processor = processor
        self.where = build(HERE / "where.c", work / "where.so", "-shared", "-fPIC")
        self.prefix: list[str] = []
        if processor is None:
            return
        program = shutil.which("qemu-x86_64")
        if not program:
            raise SystemExit("no qemu-x86_64 here: apt-get install qemu-user")
        cpuinfo = work / f"cpuinfo-{len(processor.told)}"
        cpuinfo.write_text(processor.cpuinfo)
        namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
        self.qemu = [program, "-cpu", processor.model]
        if processor.plugin:
            options = ("-shared", "-fPIC", "-fvisibility=hidden")
            plugin = build(HERE / processor.plugin, work / f"{processor.plugin}.so", *options)
            self.qemu += ["-plugin", str(plugin)]
        self.prefix = [*namespace, "sh", "-c", OWN_CPUINFO, "sh", str(cpuinfo)]

    def wrapper(self, program: str, at: Path) -> Path:
        """A script that runs ``program`` as the emulated one would, for those that start it by name."""
        words = [*self.qemu, program] if self.processor else [program]
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        at.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
        at.chmod(0o755)
        return at

    def run(
        self, command: Sequence[str | Path], environment: Mapping[str, str], directory: Path, limit_s: float
    ) -> Ended:
        """Raises nothing for whatever the program does; it and its children are gone afterwards."""
        guest = {**environment, "LD_PRELOAD": str(self.where)}
        words = [str(word) for word in command]
        if self.processor:
            settings = [word for name, value in guest.items() for word in ("-E", f"{name}={value}")]
            words = [*self.prefix, *self.qemu, *settings, *words]
        started = time.monotonic()
        # A group of its own: whatever it started ends with it.
        process = subprocess.Popen(
            words,
            env={**os.environ, **(environment if self.processor else guest)},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        code: int | None
        try:
            output, errors = process.communicate(timeout=limit_s)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            code = None
        report = REPORT.search(errors)
        killed = code in (SHELL_SIGILL, -signal.SIGILL)
        death = death_of(report) if report else Death("unknown", 0, "unknown") if killed else None
        return Ended(code, output, errors, time.monotonic() - started, death)


def death_of(report: re.Match[str]) -> Death:
    return Death(report[3], int(report[2], 16), disassemble(bytes.fromhex(report[1])))
