"""What an engine says when it fails, by whoever of its processes is still there."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from .arguments import Arguments
from .engine import Engine
from .faults import EndError, Faults
from .part import PartGoneError
from .recording import Line, Recording, Translation
from .settings import Settings

# What stands for any exception of a worker or of the core, and where its own words are in it.
WORKER_FAILURE = "truncated-shard"
CORE_FAILURE = "too-few-numa-nodes"
TEMPLATE_CAUSE = re.compile(rb"(?:safetensors\._safetensors_rust\.SafetensorError|AssertionError): .*")


class Telling:
    """The recordings, and failures told from them; all of these end with ``EndError``."""

    def __init__(self, arguments: Arguments, settings: Settings, engine: Engine) -> None:
        self.arguments = arguments
        self.settings = settings
        self.engine = engine
        self.faults = Faults(self)

    def find(self, name: str) -> Recording:
        """A recording by its name or path. Raises ``EndError`` where there is none."""
        directory = self.settings.recordings
        for path in (Path(name), directory / name, directory / f"{name}.log", directory / "failures" / f"{name}.log"):
            if path.is_file():
                return Recording(path)
        os.write(2, f"stand-in: no recording {name} in {directory}\n".encode())
        raise EndError(64)

    def fail_as_recorded(self, name: str, status: int | None = None) -> NoReturn:
        """Say what a recorded failure says from its first error on, and leave as it did."""
        recording = self.find(name)
        self.tell(recording.failure(), self.translate_of(recording))
        if status is not None:
            raise EndError(status)
        self.end_as(recording)

    def end_as(self, recording: Recording) -> NoReturn:
        """Leave, or go on waiting, as the recorded engine did."""
        while recording.hung:
            # On an emulated processor, looking more often would be work enough not to count as hung.
            time.sleep(1)
            self.faults.poll()
        raise EndError(recording.status)

    def fail(self, cause: str, who: str = "worker") -> NoReturn:
        """An exception of a worker or of the core, told as vLLM tells them; ``cause`` is its last line."""
        recording = self.find(WORKER_FAILURE if who == "worker" else "too-few-numa-nodes")
        lines = recording.failure()
        for line in lines:
            line.data = TEMPLATE_CAUSE.sub(lambda _: cause.encode(), line.data)
        self.tell(lines, self.translate_of(recording))
        raise EndError(recording.status)

    def part_gone(self, gone: PartGoneError) -> NoReturn:
        """A worker or the core ended during the start."""
        time.sleep(0.1)
        recording = self.find("worker-killed-loading")
        lines = recording.failure()
        if gone.part.role == "core":
            # All that is said then comes from the API server.
            last = max(i for i, line in enumerate(lines) if line.data.startswith(b"Traceback "))
            lines = lines[last:]
            for line in lines:
                line.data = line.data.replace(b"core proc(s): {}", b"core proc(s): {'EngineCore': -9}")
        self.tell(lines, self.translate_of(recording))
        raise EndError(1)

    def translate_of(self, recording: Recording) -> Translation:
        return Translation(recording.lines, self.arguments)

    def tell(self, lines: list[Line], translate: Translation) -> None:
        """Lines by whoever of them is still there."""
        for line in lines:
            with suppress(PartGoneError):
                self.engine.say(line, translate)
