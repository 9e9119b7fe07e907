"""How ``multiprocessing`` starts a process: by the template, where the stock engine spawns one.

To the engine nothing changes: its start method is called ``spawn``, the process object is pickled as for a spawned
process, and pid, sentinel and exit code are what a spawned one would have.
"""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import context, popen_fork, reduction, resource_tracker, spawn, util
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from rigappliance.enginestart import environment, request, template
from rigappliance.enginestart.say import say

# The template reaps a child as soon as its pidfd is readable; this is for a machine that swaps.
CODE_WAIT_S = 30.0
# What multiprocessing's own fork server says of a child whose end nobody saw.
CODE_UNKNOWN = 255


class TemplateGoneError(Exception):
    """Nothing forks any more."""


class Place:
    """Stands for a descriptor in a pickled process: its place in the list that came with the request."""

    def __init__(self, place: int) -> None:
        self.place = place

    def detach(self) -> int:
        return template.inherited[self.place]


class SharedPopen(popen_fork.Popen):
    method = "spawn"
    DupFd = Place

    def __init__(self, process: BaseProcess, change: environment.Change) -> None:
        self._change = change
        self._fds: list[int] = []
        self._lock = threading.Lock()
        super().__init__(process)

    def duplicate_for_child(self, fd: int) -> int:
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process: BaseProcess) -> None:
        buffer = io.BytesIO()
        context.set_spawning_popen(self)  # type: ignore[arg-type]
        try:
            reduction.dump(spawn.get_preparation_data(process.name), buffer)
            reduction.dump(process, buffer)
        finally:
            context.set_spawning_popen(None)
        tracker = resource_tracker.getfd()
        if tracker is None:
            raise TemplateGoneError("there is no resource tracker")
        data_read, data_write = os.pipe2(os.O_CLOEXEC)
        self._status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ask([data_read, theirs.fileno(), *template.client, tracker, *self._fds])
            theirs.close()
            os.close(data_read)
            data_read = -1
            self.pid, self.sentinel = started(self._status)
        except BaseException:
            self._status.close()
            os.close(data_write)
            raise
        finally:
            theirs.close()
            if data_read >= 0:
                os.close(data_read)
        # The child takes the end of this pipe for the end of its parent, so it stays open.
        self.finalizer = util.Finalize(self, close_all, (data_write, self.sentinel, self._status))
        with open(data_write, "wb", closefd=False) as pipe:
            pipe.write(request.pack(self._change))
            pipe.write(buffer.getbuffer())

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        with self._lock:
            if self.returncode is None and wait([self.sentinel], 0 if flag == os.WNOHANG else None):
                self.returncode = exit_code(self._status)
            return self.returncode


def ask(fds: list[int]) -> None:
    """Raises ``TemplateGoneError``."""
    with socket.socket(fileno=os.dup(template.client[0])) as requests:
        try:
            socket.send_fds(requests, [request.FORK], fds)
        except OSError as error:
            raise TemplateGoneError(str(error)) from error


def retire() -> None:
    """No more processes are wanted from the template; any that is started later is spawned. Without one, nothing."""
    if not template.client:
        return
    with socket.socket(fileno=os.dup(template.client[0])) as requests, suppress(OSError):
        requests.send(request.RETIRE)


def started(status: socket.socket) -> tuple[int, int]:
    """Pid and pidfd of the child. Raises ``TemplateGoneError``."""
    message, fds, _, _ = socket.recv_fds(status, request.NUMBER.size, 1)
    if not message or not fds:
        raise TemplateGoneError("it has left")
    return request.NUMBER.unpack(message)[0], fds[0]


def exit_code(status: socket.socket) -> int:
    status.settimeout(CODE_WAIT_S)
    try:
        message = status.recv(request.NUMBER.size)
    except OSError:
        return CODE_UNKNOWN
    return int(request.NUMBER.unpack(message)[0]) if message else CODE_UNKNOWN


def close_all(data_write: int, sentinel: int, status: socket.socket) -> None:
    os.close(data_write)
    os.close(sentinel)
    status.close()


def why_not(process: Any, executable: bytes | str) -> str | None:
    """Why ``process`` has to be spawned; an empty text where that is nobody's concern."""
    if not getattr(process._target, "__module__", "").startswith("vllm."):
        # Somebody else's helper, which may count on a fresh interpreter.
        return ""
    if os.fsencode(spawn.get_executable()) != os.fsencode(executable):
        return "another program is to run it"
    return None


def install(base: Mapping[str, str]) -> Callable[[], None]:
    """Start processes by the template from now on, here and in whatever is forked; what is returned undoes it.

    ``base``: the template's variables.
    """
    stock: Callable[[BaseProcess], popen_fork.Popen] = context.SpawnProcess._Popen
    executable = spawn.get_executable()

    def start(process: BaseProcess) -> popen_fork.Popen:
        reason = why_not(process, executable)
        if reason is None:
            change = environment.change(base, os.environ)
            if isinstance(change, str):
                reason = f"{change} was set after the imports"
            else:
                try:
                    return SharedPopen(process, change)
                except TemplateGoneError as error:
                    reason = f"nothing to fork it from: {error}"
        if reason:
            say(f"{process.name} is spawned as by the stock engine: {reason}")
        return stock(process)

    context.SpawnProcess._Popen = staticmethod(start)  # type: ignore[assignment,method-assign]

    def undo() -> None:
        context.SpawnProcess._Popen = staticmethod(stock)  # type: ignore[assignment,method-assign]

    return undo
