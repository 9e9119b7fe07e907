"""A hub on this machine, and a rig that fetches from it with the engine's own `hf`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import VARIABLE
from tests.unit.fetch.hub import REPOSITORY, Hub, content_of
from tests.unit.place import ROOT, checkpoint

LIMIT_S = 60.0


class Rig:
    """A declaration below ``root``, and calls of the program for it."""

    def __init__(self, root: Path, hub: Hub, python: Path) -> None:
        self.root = root
        self.hub = hub
        self.python = python
        self.model = root / "model"
        self.config = root / "rig.json"
        self.started: list[subprocess.Popen[str]] = []
        self.declare()

    def declare(self, **model: str) -> None:
        tree = {
            "profile": "demo",
            "state_dir": "state",
            "model": {"path": "model", "repository": REPOSITORY, **model},
            "engine": {"python": str(self.python)},
        }
        self.config.write_text(json.dumps(tree))

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "rigappliance", "fetch", "-c", str(self.config), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.root / "home"),
                "PYTHONPATH": str(ROOT),
                "HF_ENDPOINT": self.hub.url,
                # As the engine's own environment has it; a fetch has to get rid of it.
                "HF_HUB_OFFLINE": "1",
                **environ,
            },
        )
        self.started.append(process)
        return process

    def fetch(self, *arguments: str, **environ: str) -> Result:
        return Result(self.start(*arguments, **environ))

    def fetched(self, *arguments: str, **environ: str) -> dict[str, Any]:
        """What a fetch that succeeds prints for programs."""
        result = self.fetch("--json", *arguments, **environ)
        assert result.code == 0, result.err
        tree: dict[str, Any] = json.loads(result.out)
        return tree

    def hf(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.python.parent / "hf"), *arguments],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.root / "home"),
                "HF_ENDPOINT": self.hub.url,
                "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            },
        )

    def files(self) -> dict[str, bytes]:
        """The checkpoint without what hf and we note beside it."""
        here = content_of(self.model)
        return {path: data for path, data in here.items() if not path.startswith((".cache/", ".rigappliance-"))}

    def partial(self) -> list[Path]:
        return sorted((self.model / ".cache").rglob("*.incomplete"))

    def shard(self, number: int) -> Path:
        return self.model / f"model-0000{number}-of-00003.safetensors"

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()


class Result:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.out, self.err = process.communicate(timeout=LIMIT_S)
        self.code = process.returncode
        # Whatever goes wrong, a traceback is a defect.
        assert "Traceback" not in self.err, self.err


def wait_until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "not reached"
        time.sleep(0.01)


@pytest.fixture
def hub() -> Iterator[Hub]:
    files = {**content_of(checkpoint()), "extra/notes on it.txt": b"one directory further down\n", "empty": b""}
    hub = Hub(files)
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture
def rig(tmp_path: Path, hub: Hub) -> Iterator[Rig]:
    """With the engine's real `hf`. Its absence is a failure, not a reason to skip."""
    python = Path(os.environ.get(VARIABLE) or ROOT / ".engine" / "bin" / "python")
    if not os.access(python.parent / "hf", os.X_OK):
        pytest.fail(f"no hf beside {python}: install the engine, or leave these tests out with -m 'not engine'", False)
    rig = Rig(tmp_path, hub, python)
    yield rig
    rig.end()
