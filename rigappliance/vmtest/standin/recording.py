"""A recorded log as lines that can be said again by other processes, about another model, at another time."""

from __future__ import annotations

import re
import time
from pathlib import Path

from .arguments import Arguments

SPEAKER = re.compile(rb"^\((APIServer|EngineCore|VllmWorker-\d+|Worker\w*) pid=(\d+)\)")
RANKED = re.compile(rb"\((?:VllmWorker-|Worker_TP)(\d+) pid=(\d+)\)")
CLOCK = re.compile(rb"\b(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\b")
LISTENING = b"Application startup complete."
BAR = b"Loading safetensors checkpoint shards:"
FAILURE = re.compile(
    rb" ERROR |^Traceback |^Process \w|^[\w.]*: error: |[A-Za-z]Error: |Can't find Python.h|Failed to import from"
)
ACCESS = b"INFO:     127."
# How the recorded starts ended whose log does not tell: a wrong option, and an engine that went on waiting for ever.
STATUSES = {"unknown-option": 2}
HUNG = ("cache-disk-full", "worker-stopped", "api-server-killed")


class Line:
    """One line without its newline. ``at_s`` is its recorded time of day, where it has one."""

    __slots__ = ("at_s", "bar", "data", "fd", "rank", "speaker")

    def __init__(self, data: bytes) -> None:
        self.data = data
        match = SPEAKER.match(data)
        self.speaker = {b"A": "api", b"E": "core"}.get(match[1][:1], "worker") if match else "api"
        # vLLM logs to standard output, uvicorn its requests too; bars, warnings and tracebacks go to standard error.
        self.fd = 1 if match or data.startswith(ACCESS) else 2
        # Of a worker among several, as far as its name says; None for what each of them would say.
        self.rank: int | None = None
        self.bar = BAR in data
        clock = CLOCK.search(data[:120])
        hours, minutes, seconds = (int(clock[i]) for i in (3, 4, 5)) if clock else (0, 0, 0)
        self.at_s = hours * 3600 + minutes * 60 + seconds if clock else None


class Recording:
    """``start`` until it listens (or to the end of a failed start), ``after`` the rest."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        self.lines = [Line(line) for line in data.removesuffix(b"\n").split(b"\n")]
        self._rank(data)
        self.serves = LISTENING in data
        ready = next((i for i, line in enumerate(self.lines) if LISTENING in line.data), len(self.lines) - 1)
        self.start = self.lines[: ready + 1]
        self.after = self.lines[ready + 1 :]
        self.status = STATUSES.get(path.stem, 0 if self.serves else 1)
        self.hung = path.stem in HUNG

    def _rank(self, data: bytes) -> None:
        """Whose lines the workers' are, where several were recorded."""
        ranks = {match[2]: int(match[1]) for match in RANKED.finditer(data)}
        if max(ranks.values(), default=0) > 0:
            for line in self.lines:
                match = SPEAKER.match(line.data)
                line.rank = ranks.get(match[2]) if match else None

    def failure(self) -> list[Line]:
        """From the first error on; after the start where that went well."""
        if self.serves:
            return [line for line in self.after if not line.data.startswith(ACCESS)]
        wrong = (FAILURE.search(line.data) and b"Too many open files`" not in line.data for line in self.start)
        return self.start[next((i for i, found in enumerate(wrong) if found), len(self.start)) :]

    def death(self) -> list[Line]:
        """What a server whose core died says until it leaves."""
        return [line for line in self.failure() if not line.data.startswith(b"INFO:")][: self._leaves()]

    def leaving(self) -> list[Line]:
        return self.failure()[self._leaves() :]

    def _leaves(self) -> int:
        return next((i for i, line in enumerate(self.failure()) if line.data.startswith(b"INFO:     Shutting")), 0)

    def shutdown(self) -> list[Line]:
        return [line for line in self.after if not line.data.startswith(ACCESS)]


def found(pattern: bytes, data: bytes) -> bytes:
    match = re.search(pattern, data)
    return match[1] if match else b""


class Translation:
    """Makes a recorded line one of this start: pids, model, port, paths and the time of day."""

    def __init__(self, lines: list[Line], arguments: Arguments) -> None:
        text = b"\n".join(line.data for line in lines)
        self.arguments = arguments
        self.pids: dict[bytes, str] = {}
        for match in re.finditer(rb"\((APIServer|EngineCore|VllmWorker-\d+|Worker\w*) pid=(\d+)\)", text):
            role = {b"A": "api", b"E": "core"}.get(match[1][:1], "worker")
            self.pids.setdefault(match[2], role)
        args = found(rb"non-default args: (\{.*\})", text)
        model = found(rb"'model': '([^']+)'", args)
        port = found(rb"'port': (\d+)", args)
        cache = found(rb"(/[^ '\"]*?)/torch_compile_cache/", text)
        # Longer texts first, so that a path is not taken for its beginning.
        pairs = [(model, arguments.model.encode()), (cache, arguments.cache.encode())]
        self.pairs = sorted(((old, new) for old, new in pairs if old), key=lambda pair: -len(pair[0]))
        self.port = port
        self.length = found(rb"'max_model_len': (\d+)", args)
        self.names = re.compile(rb"\b(" + b"|".join(self.pids) + rb")\b") if self.pids else None

    def __call__(self, line: bytes, pids: dict[str, int], rank: int = 0) -> bytes:
        arguments = self.arguments
        if b"non-default args: {" in line:
            head = line.split(b"non-default args: ")[0]
            line = head + f"non-default args: {arguments.non_default()}".encode()
        for old, new in self.pairs:
            line = line.replace(old, new)
        if self.port:
            line = line.replace(b":" + self.port, f":{arguments.port}".encode())
        if self.length:
            line = line.replace(b"max model len " + self.length, b"max model len %d" % arguments.max_model_len)
        if self.names:
            line = self.names.sub(lambda match: self._pid(match[1], pids), line)
        if arguments.workers > 1:
            line = self._ranks(line, rank)
        return CLOCK.sub(lambda _: time.strftime("%m-%d %H:%M:%S").encode(), line, count=1)

    def _pid(self, old: bytes, pids: dict[str, int]) -> bytes:
        return str(pids.get(self.pids[old]) or old.decode()).encode()

    def _ranks(self, line: bytes, rank: int) -> bytes:
        arguments = self.arguments
        line = line.replace(b"(Worker pid=", f"({worker_name(arguments, rank)} pid=".encode())
        line = line.replace(b"(VllmWorker-0 ", f"(VllmWorker-{rank} ".encode())
        line = line.replace(b"world_size=1 rank=0 local_rank=0", b"world_size=%d rank=%d local_rank=%d"
                            % (arguments.workers, rank, rank))  # fmt: skip
        line = line.replace(b"rank 0 in world size 1", b"rank %d in world size %d" % (rank, arguments.workers))
        line = line.replace(b"world_size=1, local_world_size=1", b"world_size=%d, local_world_size=%d"
                            % (arguments.workers, arguments.workers))  # fmt: skip
        return line.replace(b"tensor_parallel_size=1,", b"tensor_parallel_size=%d," % arguments.tensor_parallel)


def worker_name(arguments: Arguments, rank: int) -> str:
    """As vLLM calls the worker of a rank in its log and in its title."""
    name = "Worker"
    if arguments.pipeline_parallel > 1:
        name += f"_PP{rank // arguments.tensor_parallel}"
    if arguments.tensor_parallel > 1:
        name += f"_TP{rank % arguments.tensor_parallel}"
    return name
