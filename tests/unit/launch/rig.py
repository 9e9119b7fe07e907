"""Whole runs of `rigappliance launch` on the stand-in for the engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rigappliance.demo.checkpoint import write_checkpoint
from rigappliance.launch.engineprocess import RUN_ID
from rigappliance.launch.failures import Failure, peek_failures
from rigappliance.launch.proctree import with_environment
from rigappliance.launch.state import StateDirectory
from rigappliance.vmtest.standin.layout import lay_out
from tests.unit.launch.processes import wait_until
from tests.unit.launch.recordings import DIRECTORY

LIMIT_S = 30.0


def make_engine(directory: Path) -> None:
    """An environment of the stand-in and a checkpoint, which many rigs can share."""
    lay_out(directory / "engine", sys.executable, DIRECTORY)
    write_checkpoint(directory / "checkpoint")


class Rig:
    """One configuration with a state directory of its own, below ``root``."""

    def __init__(self, root: Path, engine: Path) -> None:
        self.root = root
        self.told = root / "standin.json"
        self.python = engine / "engine/bin/python"
        self.processes: list[subprocess.Popen[str]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.content: dict[str, Any] = {
            "profile": "demo",
            "state_dir": str(root / "state"),
            "model": {"path": str(engine / "checkpoint")},
            "engine": {
                "python": str(self.python),
                "environment": {"RIGAPPLIANCE_STANDIN": str(self.told)},
            },
            "server": {"port": port},
            "launch": {
                "probe_interval": "500ms", "probe_timeout": "2s", "drain_timeout": "0s", "stop_timeout": "5s",
            },
        }  # fmt: skip
        self.tell()

    @property
    def directory(self) -> StateDirectory:
        return StateDirectory(self.root / "state")

    def tell(self, *faults: dict[str, object], **keys: object) -> None:
        """What the stand-in does from now on."""
        self.told.write_text(json.dumps({"pace": 0.0, **keys, "faults": faults}))

    def start(self, verb: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        config = self.root / "rig.json"
        config.write_text(json.dumps(self.content))
        with (self.root / f"{verb}.err").open("w") as errors, (self.root / f"{verb}.out").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "rigappliance", verb, "-c", str(config), *arguments],
                stdout=output,
                stderr=errors,
                text=True,
                env={**os.environ, **environment},
            )
        self.processes.append(process)
        return process

    def run(self, verb: str, *arguments: str, **environment: str) -> int:
        """The exit code of a verb that ends by itself."""
        return self.start(verb, *arguments, **environment).wait(LIMIT_S)

    def errors(self, verb: str = "launch") -> str:
        return (self.root / f"{verb}.err").read_text()

    def output(self, verb: str) -> str:
        return (self.root / f"{verb}.out").read_text()

    def started_ids(self) -> str:
        """Changes with every start of the engine, and with nothing else."""
        state = self.directory.peek()
        return state.run_id if state else ""

    def failures(self) -> list[Failure]:
        return peek_failures(self.directory)

    def why(self) -> dict[str, Any]:
        assert self.run("why", "--json") == 0, self.errors("why")
        content: dict[str, Any] = json.loads(self.output("why"))
        return content

    def wait_ready(self, process: subprocess.Popen[str]) -> None:
        def ready() -> bool:
            state = self.directory.peek()
            mine = state is not None and state.supervisor_pid == process.pid and state.ready is not None
            return mine or process.poll() is not None

        assert wait_until(ready, LIMIT_S), self.errors()
        assert process.poll() is None, self.errors()

    def stop(self, process: subprocess.Popen[str]) -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(LIMIT_S)

    def stop_in(self, process: subprocess.Popen[str], phase: str) -> int:
        def there() -> bool:
            state = self.directory.peek()
            return state is not None and state.supervisor_pid == process.pid and state.phase == phase

        assert wait_until(there, LIMIT_S), self.errors()
        return self.stop(process)

    def get_ready_and_stop(self, *arguments: str) -> None:
        process = self.start("launch", *arguments)
        try:
            self.wait_ready(process)
            assert self.stop(process) == 0, self.errors()
        finally:
            process.kill()
            process.wait()

    def end(self) -> None:
        """For teardown, whatever the test did: a killed supervisor's guard ends the engine."""
        for process in self.processes:
            process.kill()
            process.wait()
        if run_id := self.started_ids():
            assert wait_until(lambda: not with_environment(f"{RUN_ID}={run_id}"), LIMIT_S), run_id

    def edit_state(self, **fields: object) -> None:
        content = json.loads(self.directory.state_file.read_text())
        self.directory.state_file.write_text(json.dumps({**content, **fields}))

    def elapsed_s(self, verb: str, *arguments: str) -> tuple[int, float]:
        begin_s = time.monotonic()
        code = self.run(verb, *arguments)
        return code, time.monotonic() - begin_s
