"""From the open port to the end: faults, the death of a part, and an orderly stop."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from . import work
from .app import App
from .faults import EndError
from .http import Request, Server
from .part import Handle, PartGoneError
from .recording import Line, Translation
from .start import Start

POLL_S = 0.2
# vLLM looks this often whether its engine has died, and leaves if so.
WATCHDOG_S = 5.0
# Answers that are on their way when the server leaves.
ANSWERS_S = 2.0
STOP_S = 0.2


class TerminatedError(Exception):
    """SIGTERM or SIGINT came."""


class Serving:
    """A server after its start."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.engine = start.engine
        self.settings = start.settings
        self.app = App(start.arguments, start.settings, start.engine, start.recording)
        self.server = Server(start.bound(), self.app, self.log)
        self.app.stop_listening = self.server.close
        self.next_look_s = 0.0
        self.told = False
        self.recording = start.recording

    def log(self, request: Request, status: int) -> None:
        if request.path not in self.start.arguments.silent:
            reason = {200: "OK", 401: "Unauthorized", 404: "Not Found", 500: "Internal Server Error"}.get(status, "")
            work.say(1, f'INFO:     {request.peer} - "{request.method} {request.target} HTTP/1.1" {status} {reason}\n'
                     .encode())  # fmt: skip

    def run(self) -> None:
        """Raises ``EndError`` when the server leaves."""
        self.next_look_s = time.monotonic() + WATCHDOG_S
        self.start.phase = "serving"
        try:
            # First: whoever sees the port open may tell it to stop.
            self.engine.serving = True
            self.server.start()
            self.start.take(int((self.settings.get("take") or {}).get("serving", 0)))
            while True:
                self.settings.refresh()
                self.start.faults.serving()
                self.look()
                self.app.leave.wait(POLL_S)
        except PartGoneError as gone:
            self.died(gone.part)
            self.leave()
        except TerminatedError:
            self.stop()

    def look(self) -> None:
        """Has a part ended, and is it time to leave for that?"""
        gone = self.engine.ended()
        if gone is not None and not self.told:
            self.died(gone)
        if self.app.leave.is_set():
            self.leave()
        if time.monotonic() >= self.next_look_s:
            self.next_look_s += WATCHDOG_S
            if self.app.dead and not self.settings.get("stay"):
                self.leave()

    def died(self, gone: Handle) -> None:
        """What core and API server say of a dead part; the core goes with its worker."""
        self.told = True
        self.app.dead = True
        self.recording = self.start.find("core-killed" if gone.role == "core" else "worker-killed")
        self.start.tell(self.with_exit_code(self.recording.death(), gone), self.start.translate_of(self.recording))
        if self.engine.core.pid and not self.settings.get("stay"):
            with suppress(OSError):
                os.kill(self.engine.core.pid, signal.SIGKILL)

    def with_exit_code(self, lines: list[Line], gone: Handle) -> list[Line]:
        """The core's word on how its worker ended."""
        if gone.role == "worker":
            with suppress(PartGoneError), self.engine.lock:
                code = self.engine.core.call("exit_code", pid=gone.pid)
                for line in lines:
                    line.data = line.data.replace(b"(exit code: None)", f"(exit code: {code})".encode())
                    line.data = line.data.replace(b"VllmWorker-0 died", f"VllmWorker-{gone.rank} died".encode())
        return lines

    def leave(self) -> None:
        """The end after a death: status 0, as the real one."""
        self.server.close()
        until = time.monotonic() + ANSWERS_S
        while self.server.answering and time.monotonic() < until:
            time.sleep(0.01)
        if not self.told:
            self.died(self.engine.ended() or self.engine.core)
        self.tell(self.recording.leaving(), self.start.translate_of(self.recording))
        raise EndError(0)

    def stop(self) -> None:
        """SIGTERM while serving: requests drain for as long as was declared."""
        until = time.monotonic() + self.start.arguments.drain_s
        while self.app.running and time.monotonic() < until:
            time.sleep(0.02)
        drain_s = int(self.start.arguments.drain_s)
        lines = self.start.recording.shutdown()
        for line in lines:
            if drain_s:
                line.data = line.data.replace(b"mode=abort timeout=0s", b"mode=drain timeout=%ds" % drain_s)
                line.data = line.data.replace(b"start timeout=0s", b"start timeout=%ds" % drain_s)
        self.tell(lines, self.start.translate)
        # It still answers while its processes go.
        time.sleep(STOP_S)
        raise EndError(0)

    def tell(self, lines: list[Line], translate: Translation) -> None:
        """Last lines, without waiting for a part that may be stopped or busy."""
        for line in lines:
            work.say(line.fd, translate(line.data, self.engine.pids()) + b"\n")
