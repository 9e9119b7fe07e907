"""The engine's guard: a small process between supervisor and engine that leaves nothing behind.

    supervisor ── guard ── engine (API server) ── core ── workers

The guard is a *subreaper*: whatever the engine's processes do, their orphans
become its children, so it can always find and end all of them.  It does so when
the engine's main process has left, when the supervisor asks for it, and when
the supervisor is gone: the control pipe reads end-of-file then, also after
SIGKILL.  Nothing but the standard library is imported, since this process
stays for as long as the engine does.

Called as ``guard.py CONTROL_FD STATUS_FD RUN_DIRECTORY TEMPORARY ENGINE_ARGUMENT...``.
Both directories are the engine's alone and are emptied at the end.

Control: ``t`` sends SIGTERM to the engine, ``k`` kills everything.  Status: one
JSON object a line: ``started``, ``exited``, ``orphan`` (of an engine that has not left, a process whose parent
had gone), ``swept``, ``error``.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rigappliance.launch.leftovers import (
    clean_temporary,
    remove_run_directory,
    remove_shared_memory,
    shared_memory_names,
)
from rigappliance.launch.proctree import become_subreaper, descendants, kill_tree, wait_gone

# Helpers such as multiprocessing's resource tracker clean up by themselves once
# the engine is gone; this is the time they get.
STRAGGLER_GRACE_S = 1.0
# An orphaned engine gets this long to leave by itself.
ORPHAN_GRACE_S = 2.0


class Guard:
    def __init__(self, control_fd: int, status_fd: int, run_directory: Path, temporary: Path, argv: list[str]) -> None:
        self.control_fd = control_fd
        self.status_fd = status_fd
        self.run_directory = run_directory
        self.temporary = temporary
        self.argv = argv
        self.engine_pid = 0
        self.engine_gone = False
        self.sweeping = False
        self.wake_read, self.wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def report(self, **event: object) -> None:
        line = json.dumps(event) + "\n"
        try:
            os.write(self.status_fd, line.encode())
        except OSError:
            # The supervisor is gone; the work goes on without it.
            return

    def spawn(self) -> None:
        self.engine_pid = os.fork()
        if self.engine_pid == 0:
            try:
                # A session of its own keeps a terminal's Ctrl-C from reaching the
                # engine: stopping it is the supervisor's decision alone.
                os.setsid()
                # The core of one process would be as large as its memory and fill the disk.
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
                    signal.signal(signum, signal.SIG_DFL)
                os.execvp(self.argv[0], self.argv)  # noqa: S606 no shell is wanted here
            except OSError as error:
                self.report(error=f"cannot start {self.argv[0]}: {error.strerror}")
            os._exit(127)
        # The engine alone holds the log pipe, so that its end is the log's end.
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        self.report(started=self.engine_pid)

    def reap(self) -> None:
        """Collect what has exited; zombies of adopted orphans would otherwise pile up."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.engine_pid:
                self.engine_gone = True
                self.report(exited=os.waitstatus_to_exitcode(status))
            elif not self.sweeping:
                self.report(orphan=pid, status=os.waitstatus_to_exitcode(status))

    def terminate(self) -> None:
        if not self.engine_gone:
            os.kill(self.engine_pid, signal.SIGTERM)

    def wait_engine(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.engine_gone and time.monotonic() < deadline:
            time.sleep(0.02)
            self.reap()

    def serve(self) -> None:
        """Return when the engine's tree has to go."""
        while not self.engine_gone:
            ready, _, _ = select.select([self.control_fd, self.wake_read], [], [])
            if self.wake_read in ready:
                os.read(self.wake_read, 512)
                self.reap()
            if self.control_fd in ready:
                command = os.read(self.control_fd, 16)
                if command == b"":
                    self.terminate()
                    self.wait_engine(ORPHAN_GRACE_S)
                    return
                if b"k" in command:
                    return
                self.terminate()

    def sweep(self, before: frozenset[str]) -> None:
        """End every process of the tree and remove what it left."""
        self.sweeping = True
        if self.engine_gone:
            wait_gone(descendants(os.getpid()), STRAGGLER_GRACE_S)
        killed = kill_tree(os.getpid(), self.reap)
        self.reap()
        removed = remove_shared_memory(before)
        remove_run_directory(self.run_directory)
        clean_temporary(self.temporary)
        self.report(swept={"killed": killed, "removed": removed})

    def run(self) -> int:
        become_subreaper()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(signum, signal.SIG_IGN)
        before = shared_memory_names()
        self.spawn()
        self.serve()
        self.sweep(before)
        return 0


def main() -> int:
    control_fd, status_fd = int(sys.argv[1]), int(sys.argv[2])
    for fd in (control_fd, status_fd):
        os.set_inheritable(fd, False)
    return Guard(control_fd, status_fd, Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:]).run()


if __name__ == "__main__":
    sys.exit(main())
