"""A process of the engine beside the API server: core or worker. It does what it is told over a socket, one at a time.

So a part that was killed, stopped or never scheduled holds up the start exactly as the real one does.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import work
from .title import set_title

CHUNK_BYTES = 60_000


class PartGoneError(Exception):
    """A part has ended; ``part`` is which."""

    def __init__(self, part: Handle) -> None:
        super().__init__(part.name)
        self.part = part


class Handle:
    """The API server's end of a part."""

    def __init__(self, role: str, rank: int, name: str) -> None:
        self.role = role
        self.rank = rank
        self.name = name
        self.pid = 0
        self.gone = False
        # Message boundaries, and an end of file as soon as the other process is gone.
        self.here, self.there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def call(self, order: str, **values: Any) -> Any:
        """Tell the part to do something and wait until it has; raises ``PartGoneError``, or ``OSError`` of its own."""
        self.send(order, **values)
        return self.receive()

    def send(self, order: str, **values: Any) -> None:
        """Without waiting for the end of it."""
        with suppress(OSError):
            self.here.send(marshal.dumps((order, values)))

    def receive(self) -> Any:
        """The result of an order that was sent; raises what ``call`` does."""
        try:
            answer = self.here.recv(CHUNK_BYTES)
        except OSError:
            answer = b""
        if not answer:
            self.gone = True
            raise PartGoneError(self)
        kind, value = marshal.loads(answer)  # noqa: S302 from our own child
        if kind == "error":
            raise OSError(*value)
        return value

    def say(self, fd: int, data: bytes) -> None:
        for start in range(0, len(data) or 1, CHUNK_BYTES // 2):
            self.call("say", fd=fd, data=data[start : start + CHUNK_BYTES // 2])

    def ended(self) -> bool:
        """Whether the process is gone, without waiting."""
        if not self.gone and self.pid:
            poll = select.poll()
            poll.register(self.here, select.POLLRDHUP)
            self.gone = bool(poll.poll(0))
        return self.gone


def live(there: socket.socket, orders: dict[str, Callable[..., Any]], parent_fd: int | None) -> None:
    """The loop of a part: until its parent part is gone. The API server's end is not noticed, as with the real one."""
    poll = select.poll()
    poll.register(there, select.POLLIN)
    if parent_fd is not None:
        poll.register(parent_fd, select.POLLHUP)
    while True:
        for fd, event in poll.poll():
            if fd == parent_fd:
                os._exit(0)
            message = there.recv(CHUNK_BYTES * 2) if event & select.POLLIN else b""
            if not message:
                poll.unregister(there)
                continue
            order, values = marshal.loads(message)  # noqa: S302 from our own parent
            try:
                answer = ("done", orders[order](**values))
            except OSError as error:
                answer = ("error", (error.errno, error.strerror))
            except MemoryError:
                answer = ("error", (12, "Cannot allocate memory"))
            there.send(marshal.dumps(answer))


def worker(handle: Handle, others: list[Handle], core_fd: int) -> None:
    """Body of a worker's process; never returns."""
    close_others(handle, others)
    set_title(f"VLLM::{handle.name}")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    live(handle.there, work.orders(), core_fd)


def core(handle: Handle, workers: list[Handle]) -> None:
    """Body of the core's process, which starts the workers; never returns."""
    set_title("VLLM::EngineCore")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    alive_read, alive_write = os.pipe()

    def start() -> list[int]:
        pids = []
        for one in workers:
            pid = os.fork()
            if pid == 0:
                os.close(alive_write)
                worker(one, [handle, *workers], alive_read)
            pids.append(pid)
        for one in workers:
            one.there.close()
        return pids

    handle.here.close()
    for one in workers:
        one.here.close()
    live(handle.there, {**work.orders(), "start": start, "exit_code": exit_code}, None)


def exit_code(pid: int) -> int | None:
    """How a worker ended, as multiprocessing says it: minus the signal's number."""
    with suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
    return None


def close_others(mine: Handle, others: list[Handle]) -> None:
    """A socket that a brother holds open too would hide the end of its owner."""
    for one in others:
        for end in (one.here, one.there):
            if end is not mine.there and end.fileno() >= 0:
                end.close()


def tracker(read_fd: int, memory: list[str]) -> None:
    """The resource tracker: outlives the others, and removes the shared memory that they left; never returns."""
    set_title("python3 -c from multiprocessing.resource_tracker import main;main(5)", "python3")
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
    os.read(read_fd, 1)
    time.sleep(0.05)
    for name in memory:
        work.remove(name)
    os._exit(0)
