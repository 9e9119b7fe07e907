"""Running the stand-in engine in tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rigappliance.launch.leftovers import remove_shared_memory, shared_memory_names
from rigappliance.launch.proctree import ProcessStat, command_line, descendants, send, with_environment
from tests.transcript import Ask, ask, free_port

RECORDINGS = Path(__file__).resolve().parent / "recordings"
PACKAGE = Path(__file__).resolve().parent.parent / "rigappliance/vmtest/standin"
LIMIT_S = 20.0


def wait_until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not reached in {limit_s} s"
        time.sleep(0.01)


class Standin:
    """One stand-in with a checkpoint, below ``root``. ``told`` is its JSON file's content; pauses are left out."""

    def __init__(self, root: Path, checkpoint: Path, *options: str, **environment: str) -> None:
        self.root = root
        self.file = root / "standin.json"
        self.port = free_port()
        self.log_file = root / "log"
        self.temporary = root / "tmp"
        self.cache = root / "cache"
        self.arguments = [
            "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint), "--served-model-name", "tiny",
            "--max-model-len", "1024", "--host", "127.0.0.1", "--port", str(self.port), *options,
        ]  # fmt: skip
        self.environment = {
            **os.environ, "RIGAPPLIANCE_STANDIN": str(self.file), "RIGAPPLIANCE_STANDIN_RECORDINGS": str(RECORDINGS),
            "VLLM_CACHE_ROOT": str(self.cache), "TMPDIR": str(self.temporary), **environment,
        }  # fmt: skip
        self.temporary.mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.tree: list[ProcessStat] = []
        self.memory_before = shared_memory_names()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def tell(self, **keys: Any) -> None:
        """Write the file anew, whole."""
        temporary = self.file.with_suffix(".new")
        temporary.write_text(json.dumps({"pace": 0, **keys}))
        temporary.replace(self.file)

    def start(self, **keys: Any) -> Standin:
        self.tell(**keys)
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PACKAGE), *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True,
            )  # fmt: skip
        return self

    def ready(self, **keys: Any) -> Standin:
        """Start it and wait until it listens."""
        self.start(**keys)
        wait_until(lambda: self.listens() or self.ended())
        assert not self.ended(), self.log()[-2000:]
        self.tree = descendants(self.pid)
        return self

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def status(self, limit_s: float = LIMIT_S) -> int:
        """Its exit status, once it has left."""
        assert self.process is not None
        return self.process.wait(limit_s)

    def listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_log(self, text: str) -> None:
        wait_until(lambda: text in self.log())

    def parts(self, name: str = "") -> list[int]:
        """Pids of the processes whose titles begin with ``VLLM::name``."""
        return [one.pid for one in descendants(self.pid) if command_line(one.pid).startswith(f"VLLM::{name}")]

    def get(self, path: str, timeout_s: float = 5.0) -> dict[str, Any]:
        return ask(self.port, Ask("GET", path), timeout_s)

    def complete(self, timeout_s: float = 5.0, **keys: Any) -> dict[str, Any]:
        content = {"model": "tiny", "prompt": "Hi", "max_tokens": 2, **keys}
        return ask(self.port, Ask("POST", "/v1/completions", content), timeout_s)

    def memory(self) -> frozenset[str]:
        """What it has in /dev/shm; other engines of this machine come and go with other names meanwhile."""
        return frozenset(name for name in shared_memory_names() - self.memory_before if name in self.log_names())

    def log_names(self) -> set[str]:
        found = set()
        for one in [*self.tree, *(descendants(self.pid) if not self.ended() else [])]:
            with suppress(OSError):
                maps = Path(f"/proc/{one.pid}/maps").read_text()
                found |= {Path(line.split()[-1]).name for line in maps.splitlines() if "/dev/shm/" in line}
        return found

    def end(self) -> None:
        if self.process is None:
            return
        # Orphans too: their environment is what they keep.
        for one in with_environment(f"RIGAPPLIANCE_STANDIN={self.file}"):
            send(one, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        # Of those that left by themselves nobody can be asked any more.
        wait_until(lambda: not with_environment(f"RIGAPPLIANCE_STANDIN={self.file}"))
        remove_shared_memory(self.memory_before)
