"""The processes of a stand-in, and who of them says which line."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

from . import part, work
from .arguments import Arguments
from .recording import Line, Translation, worker_name


class Engine:
    """API server (this process), core, workers and resource tracker; the last three appear as the log goes on."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments
        self.core = part.Handle("core", 0, "EngineCore")
        self.workers = [part.Handle("worker", rank, worker_name(arguments, rank)) for rank in range(arguments.workers)]
        self.memory = [f"psm_{random.randrange(1 << 32):08x}", f"sem.mp-{random.randrange(1 << 32):08x}"]  # noqa: S311
        self.sockets: list[Path] = []
        # One order at a time: an answer belongs to the last one.
        self.lock = threading.RLock()
        # What only the API server has: a real child starts without it.
        self.private: list[socket.socket] = []
        self.serving = False
        self._alive: int | None = None

    @property
    def parts(self) -> list[part.Handle]:
        return [self.core, *self.workers]

    def pids(self, rank: int = 0) -> dict[str, int]:
        return {"api": os.getpid(), "core": self.core.pid, "worker": self.workers[rank].pid}

    def start_core(self) -> None:
        if self.core.pid:
            return
        self._start_tracker()
        self.core.pid = os.fork()
        if self.core.pid == 0:
            self._close_private()
            part.core(self.core, self.workers)
        for one in self.parts:
            one.there.close()

    def _start_tracker(self) -> None:
        read, self._alive = os.pipe()
        if os.fork() == 0:
            os.close(self._alive)
            self._close_private()
            for one in self.parts:
                part.close_others(one, self.parts)
                one.there.close()
            part.tracker(read, self.memory)
        os.close(read)

    def _close_private(self) -> None:
        for sock in self.private:
            sock.close()

    def start_workers(self, shm_bytes: int) -> None:
        if self.workers[0].pid:
            return
        self.start_core()
        directory = os.environ.get("VLLM_RPC_BASE_PATH") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
        for _ in range(2):
            self._listen(Path(directory))
        self.core.call("share", name=self.memory[0], size=shm_bytes)
        self.core.call("share", name=self.memory[1], size=32)
        for one, pid in zip(self.workers, self.core.call("start"), strict=True):
            one.pid = pid
        for one in self.workers:
            one.call("share", name=self.memory[0], size=shm_bytes)

    def _listen(self, directory: Path) -> None:
        digits = f"{random.getrandbits(128):032x}"
        name = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        sock = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            sock.bind(str(directory / name))
            sock.listen()
            self.sockets.append(directory / name)
            work.kept.append(sock)

    def say(self, line: Line, translate: Translation) -> None:
        """Let whose line it is say it: every worker for a worker's line."""
        with self.lock:
            if line.speaker == "worker" and self.workers[0].pid:
                for one in self.workers if line.rank is None else self.workers[line.rank : line.rank + 1]:
                    one.say(line.fd, translate(line.data, self.pids(one.rank), one.rank) + b"\n")
            elif line.speaker == "core" and self.core.pid:
                self.core.say(line.fd, translate(line.data, self.pids()) + b"\n")
            else:
                work.say(line.fd, translate(line.data, self.pids()) + b"\n")

    def ended(self) -> part.Handle | None:
        """A part that is gone, the core before its workers."""
        return next((one for one in self.parts if one.ended()), None)

    def kill(self) -> None:
        """End core and workers, as vLLM does when it leaves in order."""
        for one in reversed(self.parts):
            if one.pid:
                with suppress(OSError):
                    os.kill(one.pid, signal.SIGKILL)
        for path in self.sockets:
            with suppress(OSError):
                path.unlink()

    def who(self, fault: dict[str, object]) -> tuple[int, part.Handle | None]:
        """Pid and handle of the process that a fault names."""
        name = fault.get("who", "worker")
        if name == "api":
            return os.getpid(), None
        rank = fault.get("rank", 0)
        one = self.core if name == "core" else self.workers[rank if isinstance(rank, int) else 0]
        return one.pid, one
