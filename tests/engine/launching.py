"""Starting `rigappliance launch` on the real engine, and looking for what it leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rigappliance.endpoint import Endpoint, port_open
from rigappliance.launch.leftovers import SHARED_MEMORY, inodes_in_use, shared_memory_names
from rigappliance.launch.proctree import ProcessStat, command_line, descendants, with_environment

# A start takes 40 s on two idle cores, and several minutes on busy ones.
START_LIMIT_S = 600.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def run_directories() -> set[str]:
    """Of launches; another check on this machine may be compiling its probe meanwhile."""
    base = Path(os.environ.get("TMPDIR", "/tmp"))
    return {path.name for path in base.glob("rigappliance-*") if not path.name.startswith("rigappliance-probe-")}


@dataclass
class EngineHome:
    """A checkpoint and a state directory whose caches all launches share, so that only the first one compiles."""

    root: Path
    python: Path
    checkpoint: Path
    port: int = field(default_factory=free_port)

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    def config(self, name: str = "rig.toml", **launch: str) -> Path:
        path = self.root / name
        times = {"probe_interval": "2s", "probe_timeout": "6s", "drain_timeout": "10s", **launch}
        lines = [
            'profile = "demo"',
            f'state_dir = "{self.state_dir}"',
            "[model]",
            f'path = "{self.checkpoint}"',
            "[engine]",
            f'python = "{self.python}"',
            "[server]",
            f"port = {self.port}",
            "[launch]",
            *(f'{key} = "{value}"' for key, value in times.items()),
        ]
        path.write_text("\n".join(lines) + "\n")
        return path

    def state(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.state_dir / "state.json").read_text())
        return content

    def records(self, name: str) -> list[dict[str, Any]]:
        """Of history.jsonl or failures.jsonl; a line that is torn is an error here."""
        try:
            text = (self.state_dir / name).read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    def set_aside(self) -> list[str]:
        """Files of the state directory that a launch could not make sense of."""
        return sorted(path.name for path in self.state_dir.glob("*.corrupt-*"))


class Launch:
    """One running `rigappliance launch`."""

    def __init__(self, home: EngineHome, config: Path, *arguments: str, environment: dict[str, str] | None = None):
        self.home = home
        self.memory_before = shared_memory_names()
        self.directories_before = run_directories()
        self.history_before = home.records("history.jsonl")
        self.failures_before = home.records("failures.jsonl")
        self.out = (home.root / "launch.out").open("wb")
        self.err_path = home.root / "launch.err"
        self.err = self.err_path.open("wb")
        self.started_s = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rigappliance", "launch", "-c", str(config), *arguments],
            stdout=self.out,
            stderr=self.err,
            env={**os.environ, **(environment or {})},
        )

    def own_state(self) -> dict[str, Any] | None:
        """The state file, once it is this launch's."""
        try:
            state = self.home.state()
        except (OSError, ValueError):
            return None
        return state if state["supervisor_pid"] == self.process.pid else None

    def wait_state(self, condition: Any, limit_s: float = START_LIMIT_S) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            state = self.own_state()
            if state and condition(state):
                return state
            if self.process.poll() is not None:
                raise AssertionError(f"launch ended early with {self.process.returncode}: {self.errors()}")
            time.sleep(0.02)
        raise AssertionError(f"not reached in {limit_s} s: {self.errors()}")

    def wait_ready(self) -> dict[str, Any]:
        return self.wait_state(lambda state: state["ready"] is not None)

    def wait_phase(self, phase: str) -> dict[str, Any]:
        return self.wait_state(lambda state: any(record["name"] == phase for record in state["phases"]))

    def processes(self) -> list[ProcessStat]:
        return descendants(self.process.pid)

    def part(self, name: str) -> int:
        """Pid of the engine's part whose title begins with ``VLLM::name``."""
        found = [stat.pid for stat in self.processes() if command_line(stat.pid).startswith(f"VLLM::{name}")]
        assert len(found) == 1, [command_line(stat.pid) for stat in self.processes()]
        return found[0]

    def stop(self, signum: int = signal.SIGTERM, limit_s: float = 60.0) -> int:
        self.process.send_signal(signum)
        return self.process.wait(limit_s)

    def errors(self) -> str:
        return self.err_path.read_text(errors="replace")

    def leftovers(self, limit_s: float = 0.0) -> dict[str, list[str]]:
        """What is left of this launch; empty lists are what one wants to see. Asked again for ``limit_s``."""
        deadline = time.monotonic() + limit_s
        while True:
            state = self.own_state()
            run_id = state["run_id"] if state else "none"
            found = {
                "processes": [command_line(s.pid) for s in with_environment(f"RIGAPPLIANCE_RUN_ID={run_id}")],
                "shared memory": self.shared_memory_left(),
                "directories": sorted(run_directories() - self.directories_before),
                "port": [str(self.home.port)] if port_open(Endpoint("127.0.0.1", self.home.port), 0.2) else [],
            }
            if not any(found.values()) or time.monotonic() >= deadline:
                return found
            time.sleep(0.1)

    def shared_memory_left(self) -> list[str]:
        """New names that no process uses; another engine of this machine may come and go meanwhile."""
        left = []
        used = inodes_in_use()
        for name in sorted(shared_memory_names() - self.memory_before):
            with suppress(FileNotFoundError):
                if (SHARED_MEMORY / name).stat().st_ino not in used:
                    left.append(name)
        return left

    def end(self) -> None:
        """For teardown, whatever the test did."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.out.close()
        self.err.close()


NOTHING: dict[str, list[str]] = {"processes": [], "shared memory": [], "directories": [], "port": []}
