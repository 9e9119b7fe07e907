"""A start: the recorded log said again, with the work that the real engine does meanwhile."""

from __future__ import annotations

import errno
import os
import random
import socket
import sys
import time

from . import checkpoint, weights
from .arguments import Arguments
from .engine import Engine
from .part import PartGoneError
from .phases import entered
from .recording import Line, Translation
from .settings import Settings
from .telling import Telling

MIB = 1 << 20
NO_WEIGHTS = "RuntimeError: Cannot find any model weights with `{}`"


class Start(Telling):
    """One start, until it listens or fails."""

    def __init__(self, arguments: Arguments, settings: Settings, engine: Engine) -> None:
        super().__init__(arguments, settings, engine)
        self.phase = "process start"
        self.recording = self.find(str(settings.get("recording", "first-start")))
        self.translate = Translation(self.recording.lines, arguments)
        self.loaded = False
        self._at_s: float | None = None
        self._sock: socket.socket | None = None

    def bound(self) -> socket.socket:
        """The port, taken at once and listened on only when all is ready; raises ``EndError`` where it is taken."""
        if self._sock is None:
            family = socket.AF_INET6 if ":" in self.arguments.host else socket.AF_INET
            self._sock = socket.socket(family, socket.SOCK_STREAM)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.engine.private.append(self._sock)
            try:
                self._sock.bind((self.arguments.host, self.arguments.port))
            except OSError as error:
                self.fail_as_recorded("address-missing" if error.errno == errno.EADDRNOTAVAIL else "port-taken")
        return self._sock

    def run(self) -> None:
        """Raises ``EndError`` where the start fails."""
        try:
            self.choose()
            self.faults.line("", "process start")
            for line in self.recording.start:
                self.line(line)
        except PartGoneError as gone:
            self.part_gone(gone)
        if not self.recording.serves:
            self.end_as(self.recording)

    def choose(self) -> None:
        """A checkpoint that the real engine refuses: its recorded refusal instead of the start."""
        if self.settings.get("check", True) and self.recording.serves:
            name = checkpoint.problem(self.arguments)
            if name == "weights-missing":
                self.faults.told.append(
                    {"do": "fail", "at": "weights", "text": NO_WEIGHTS.format(self.arguments.model)}
                )
            elif name is not None:
                self.recording = self.find(name)
                self.translate = Translation(self.recording.lines, self.arguments)

    def meet(self, problem: str | None) -> None:
        """A checkpoint that is spoilt by the time its weights are read."""
        if problem == "weights-missing":
            self.fail(NO_WEIGHTS.format(self.arguments.model))
        if problem is not None:
            self.fail_as_recorded(problem)

    def line(self, line: Line) -> None:
        self.pause(line)
        if line.bar and self.recording.serves:
            if not self.loaded:
                self.loaded = True
                weights.load(self)
            return
        if not line.data and self.loaded and self.phase == "weights":
            return
        self.say(line)

    def say(self, line: Line) -> None:
        if line.speaker == "core":
            self.engine.start_core()
        elif line.speaker == "worker":
            try:
                self.engine.start_workers(int(self.settings.get("shm_bytes", MIB)))
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    self.fail_as_recorded("shm-too-small")
                self.fail(f"OSError: [Errno {error.errno}] {error.strerror}", "core")
        self.engine.say(line, self.translate)
        self.after(line.data.decode(errors="replace"))

    def after(self, text: str) -> None:
        """What belongs to a line that was just said: the phase that it begins, and faults."""
        before, self.phase = self.phase, entered(self.phase, text)
        if self.phase != before:
            self.faults.line(text, self.phase)
            self.enter()
        else:
            self.faults.line(text, None)

    def enter(self) -> None:
        if self.phase == "config":
            self.bound()
        if not self.recording.serves:
            return
        if self.phase == "compile":
            self.compile()
        if self.phase != "weights":
            self.take(int((self.settings.get("take") or {}).get(self.phase, 0)))

    def take(self, size: int) -> None:
        if size > 0:
            try:
                for one in self.engine.workers:
                    one.call("take", size=size)
            except OSError as error:
                self.fail(f"MemoryError: {error.strerror}")

    def pause(self, line: Line) -> None:
        """The recorded pause, scaled; faults that are due come in between."""
        recorded_s = 0.0
        if line.at_s is not None:
            # Midnight may lie between two lines.
            recorded_s = (line.at_s - (line.at_s if self._at_s is None else self._at_s)) % 86400
            self._at_s = line.at_s
            recorded_s = 0.0 if recorded_s > 43200 else recorded_s
        self.sleep(recorded_s * self.factor() * float(self.settings.get("pace", 0.05)))
        self.sleep(float(self.settings.get("pause_s", 0)) * self.factor())

    def factor(self) -> float:
        jitter = float(self.settings.get("jitter", 0))
        slow = float((self.settings.get("slow") or {}).get(self.phase, 1))
        return slow * (1 + jitter * random.uniform(-1, 1))  # noqa: S311

    def sleep(self, for_s: float) -> None:
        until = time.monotonic() + for_s
        while for_s > 0 and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            self.faults.poll()

    def compile(self) -> None:
        """Needs a compiler where that is told, and room for what it writes."""
        if self.settings.get("compiler"):
            self.probe_compiler()
        size = int(self.settings.get("cache_bytes", MIB))
        try:
            for one in self.engine.workers:
                one.call("helpers", count=int(self.settings.get("helpers", 0)), for_s=self.settings.get("helper_s", 1))
                one.call("write_cache", directory=self.arguments.cache, rank=one.rank, size=size)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self.fail_as_recorded("cache-disk-full")
            self.fail(f"OSError: [Errno {error.errno}] {error.strerror}")

    def probe_compiler(self) -> None:
        # Of no use to other starts, and slow to import.
        import shutil
        import subprocess

        compiler = shutil.which(os.environ.get("CC") or "cc")
        if compiler is None:
            self.fail_as_recorded("no-compiler")
        include = f"/usr/include/python{sys.version_info[0]}.{sys.version_info[1]}"
        command = [str(compiler), "-I", include, "-x", "c", "-", "-c", "-o", os.devnull]
        done = subprocess.run(command, input=b"#include <Python.h>\n", capture_output=True, check=False)
        if done.returncode:
            if b"Python.h" in done.stderr:
                self.fail_as_recorded("no-python-headers")
            last = done.stderr.decode(errors="replace").strip().splitlines()[0]
            os.write(2, last.encode() + b"\n")
            self.fail(f"subprocess.CalledProcessError: Command '{command}' returned non-zero exit status 1.")
