"""The process that all others are forked from. It has one thread, runs none of the engine's code, and reports ends.

A request is one packet with the descriptors of :class:`Request`.  The answer comes on the request's own status socket:
the child's pid with a pidfd, and, when the child has ended, its exit code as ``multiprocessing`` counts it (-9 for
SIGKILL).  When no process is left that could ask, the requests' socket reads end-of-file, and the template leaves.
When told that no more processes are wanted it retires (reaper.py).
"""

from __future__ import annotations

import atexit
import gc
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing import resource_tracker, spawn
from pathlib import Path
from types import FrameType
from typing import Any

from rigappliance.enginestart import environment
from rigappliance.enginestart.request import FORK, NUMBER, RETIRE, Request, unpack

# The kernel takes 253 descriptors in one packet (SCM_MAX_FD, unix(7)).
DESCRIPTORS_MAX = 253
NAME = "enginestart"
REAPER = Path(__file__).with_name("reaper.py")


class Template:
    """Runs in the forked process for good; :meth:`serve` returns only in a child."""

    def __init__(self, requests: socket.socket) -> None:
        self.requests = requests
        self.children: dict[int, socket.socket] = {}
        self.wake_read, self.wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.handlers: dict[int, Any] = {}

    def serve(self) -> Request | None:
        """The request that this process, now a child, has to run; None in the template itself, when all is over."""
        # A signal to the whole group is for the engine's processes; their ends are still to be reported.
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.handlers[signum] = signal.signal(signum, signal.SIG_IGN)
        self.handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, nothing)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        while True:
            watched: list[Any] = [self.requests, self.wake_read]
            ready, _, _ = select.select(watched, [], [])
            if self.wake_read in ready:
                os.read(self.wake_read, 4096)
                self.reap()
            if self.requests in ready:
                message, fds, _, _ = socket.recv_fds(self.requests, len(FORK), DESCRIPTORS_MAX)
                if not message:
                    return None
                if message == RETIRE:
                    self.retire()
                data, status, requests, tracker, *inherited = fds
                request = Request(data, status, requests, tracker, tuple(inherited))
                if self.fork(request):
                    return request

    def fork(self, request: Request) -> bool:
        """True in the child."""
        pid = os.fork()
        if pid == 0:
            self.leave(request)
            return True
        status = socket.socket(fileno=request.status)
        # Until it is reaped here, no other process can have this pid.
        pidfd = os.pidfd_open(pid)
        try:
            socket.send_fds(status, [NUMBER.pack(pid)], [pidfd])
        except OSError:
            # Who asked is gone; the child finds its own pipe closed.
            status.close()
        else:
            self.children[pid] = status
        os.close(pidfd)
        for fd in (request.data, request.requests, request.tracker, *request.inherited):
            os.close(fd)
        return False

    def leave(self, request: Request) -> None:
        """In the child: let go of what is the template's alone."""
        signal.set_wakeup_fd(-1)
        for signum, handler in self.handlers.items():
            signal.signal(signum, handler)
        self.requests.close()
        for status in self.children.values():
            status.close()
        for fd in (self.wake_read, self.wake_write, request.status):
            os.close(fd)

    def retire(self) -> None:
        """Never returns: this process goes on as the reaper. Whoever asks afterwards finds the socket closed."""
        # Descriptors that came in a packet stay open in the next program; those of our own do not.
        pairs = [f"{pid}:{status.fileno()}" for pid, status in self.children.items()]
        # No site, no variables: nothing of the engine's environment is imported.
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-B", str(REAPER), *pairs])  # noqa: S606 no shell

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            who = self.children.pop(pid, None)
            if who is not None:
                # Who asked may be gone, and with it the one who wanted to know.
                with suppress(OSError):
                    who.send(NUMBER.pack(os.waitstatus_to_exitcode(status)))
                who.close()


def nothing(signum: int, frame: FrameType | None) -> None:
    """SIGCHLD has to have a handler, or it would not wake the loop."""


def run(request: Request) -> int:
    """In the child: what ``multiprocessing.spawn.spawn_main`` does in a fresh interpreter; the exit code."""
    change = unpack(request.data)
    environment.apply(change)
    reseed()
    resource_tracker._resource_tracker._fd = request.tracker  # type: ignore[attr-defined]
    inherited[:] = request.inherited
    client[:] = [request.requests]
    code: int = spawn._main(request.data, os.dup(request.data))
    return code


def reseed() -> None:
    """Python's own generator is seeded anew after a fork; numpy's would be the same in every process."""
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()


# In each process: the socket on which to ask the template, and the descriptors that came with the process.
client: list[int] = []
inherited: list[int] = []


def become(requests: socket.socket) -> None:
    """Be the template, and later the children that it forks; never returns."""
    set_name(NAME)
    template = Template(requests)
    request = template.serve()
    if request is None:
        os._exit(0)
    code = 1
    try:
        gc.enable()
        code = run(request)
    except BaseException:
        # What a fresh interpreter would print.
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def set_name(name: str) -> None:
    """For whoever lists processes."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as comm:  # noqa: PTH123 no import only for this
            comm.write(name)
    except OSError:
        return
