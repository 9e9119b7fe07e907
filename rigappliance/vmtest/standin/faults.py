"""Faults that the settings ask for: when, and what."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from . import work
from .phases import ORDER

if TYPE_CHECKING:
    from .telling import Telling


class EndError(Exception):
    """The stand-in leaves with ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Faults:
    """The faults of one start. ``line`` and ``poll`` are called all the time and do what is due."""

    def __init__(self, start: Telling) -> None:
        self.start = start
        # Those of the stand-in's own making.
        self.told: list[dict[str, Any]] = []
        self.seen: set[str] = set()
        self.due: list[tuple[float, dict[str, Any]]] = []

    def line(self, text: str, phase: str | None) -> None:
        """After a line of the log; ``phase`` is the one that it began."""
        for fault in self._unseen():
            at = str(fault.get("at", "serving"))
            if at == phase or (at not in ORDER and at in text):
                self._schedule(fault)
        self.poll()

    def serving(self) -> None:
        """Again and again from the moment on at which it listens."""
        for fault in self._unseen():
            if fault.get("at", "serving") == "serving":
                self._schedule(fault)
        self.poll()

    def poll(self) -> None:
        now = time.monotonic()
        while self.due and self.due[0][0] <= now:
            self.perform(self.due.pop(0)[1])

    def _unseen(self) -> list[dict[str, Any]]:
        return [fault for fault in [*self.told, *self.start.settings.faults] if json.dumps(fault) not in self.seen]

    def _schedule(self, fault: dict[str, Any]) -> None:
        self.seen.add(json.dumps(fault))
        self.due.append((time.monotonic() + float(fault.get("after_s", 0)), fault))
        self.due.sort(key=lambda one: one[0])

    def perform(self, fault: dict[str, Any]) -> None:
        action = getattr(self, "do_" + str(fault.get("do", "")).replace("-", "_"), None)
        if action is None:
            work.say(2, f"stand-in: no fault is called {fault.get('do')!r}\n".encode())
            raise EndError(64)
        action(fault)

    def do_exit(self, fault: dict[str, Any]) -> None:
        sys.stdout.flush()
        # Nobody is killed first: the others see that it is gone, and leave.
        os._exit(int(fault.get("status", 1)))

    def do_kill(self, fault: dict[str, Any]) -> None:
        pid, _ = self.start.engine.who(fault)
        signum = signal.Signals[str(fault.get("signal", "SIGKILL"))]
        if pid == os.getpid():
            signal.signal(signum, signal.SIG_DFL) if signum not in (signal.SIGKILL, signal.SIGSTOP) else None
        if pid:
            os.kill(pid, signum)

    def do_fail(self, fault: dict[str, Any]) -> None:
        self.start.fail(str(fault.get("text", "RuntimeError: told to")), str(fault.get("who", "worker")))

    def do_log(self, fault: dict[str, Any]) -> None:
        status = fault.get("status")
        self.start.fail_as_recorded(str(fault["recording"]), None if status is None else int(status))

    def do_say(self, fault: dict[str, Any]) -> None:
        _, part = self.start.engine.who({"who": "api", **fault})
        data = str(fault.get("text", "")).encode() + b"\n"
        if part is not None and part.pid:
            with self.start.engine.lock:
                part.say(1, data)
        else:
            work.say(1, data)

    def do_hang(self, fault: dict[str, Any]) -> None:
        while True:
            if fault.get("busy"):
                work.spin(0.2)
            else:
                signal.pause()

    def do_wait(self, fault: dict[str, Any]) -> None:
        time.sleep(float(fault.get("for_s", 1)))

    def do_line(self, fault: dict[str, Any]) -> None:
        left = int(fault.get("bytes", 10_000_000))
        while left > 0:
            work.say(1, b"x" * min(left, 1 << 16))
            left -= 1 << 16
        work.say(1, b"\n")

    def do_noise(self, fault: dict[str, Any]) -> None:
        work.say(1, random.randbytes(int(fault.get("bytes", 65536))) + b"\n")  # noqa: S311

    def do_unended(self, fault: dict[str, Any]) -> None:
        every_s = float(fault.get("every_s", 1))
        until = time.monotonic() + float(fault.get("for_s", 60))
        while time.monotonic() < until:
            work.say(1, b".")
            time.sleep(every_s)
        work.say(1, b"\n")

    def do_grow(self, fault: dict[str, Any]) -> None:
        values: dict[str, Any] = {
            "step_bytes": int(fault.get("step_bytes", 16 << 20)),
            "every_s": float(fault.get("every_s", 0.05)),
            "limit": None if fault.get("bytes") is None else int(fault["bytes"]),
        }
        _, part = self.start.engine.who(fault)
        if part is None:
            work.grow(**values)
        else:
            try:
                with self.start.engine.lock:
                    part.call("grow", **values)
            except OSError as error:
                self.start.fail(f"MemoryError: {error.strerror}")

    def do_fill(self, fault: dict[str, Any]) -> None:
        where = str(fault.get("where", "cache"))
        work.fill(self.start.arguments.cache if where == "cache" else where, int(fault.get("leave_bytes", 0)))

    def do_set(self, fault: dict[str, Any]) -> None:
        self.start.settings.changed.update(fault.get("keys", {}))
