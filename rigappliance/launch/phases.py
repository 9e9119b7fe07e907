"""Phases of a start, read from the engine's log.

The markers are those of vLLM 0.32.0; beside each stands the module that prints
it.  The tracker takes lines in any quality, never raises, and only moves
forward: a late line of an early phase does not take a start back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum


class Phase(IntEnum):
    """Parts of a start, in order."""

    PROCESS = 0
    CONFIG = 1
    WORKERS = 2
    WEIGHTS = 3
    COMPILE = 4
    PROFILE = 5
    KV_CACHE = 6
    GRAPHS = 7
    HTTP = 8
    READY = 9

    @property
    def label(self) -> str:
        return LABELS[self]


LABELS = {
    Phase.PROCESS: "process start",
    Phase.CONFIG: "config",
    Phase.WORKERS: "workers",
    Phase.WEIGHTS: "weights",
    Phase.COMPILE: "compile",
    Phase.PROFILE: "profiling",
    Phase.KV_CACHE: "KV cache",
    Phase.GRAPHS: "graph capture",
    Phase.HTTP: "HTTP",
    Phase.READY: "ready",
}


@dataclass(frozen=True)
class Marker:
    """``text`` begins ``phase``, some only once the KV cache is ``sized``."""

    phase: Phase
    text: str
    sized: bool = False


# A marker begins its phase. Plain substrings: this runs on every line of the log.
MARKERS = (
    Marker(Phase.CONFIG, "non-default args:"),  # entrypoints/utils
    Marker(Phase.WORKERS, "Initializing a V1 LLM engine"),  # v1/engine/core
    Marker(Phase.WEIGHTS, "Starting to load model "),  # v1/worker/gpu_model_runner, cpu_model_runner
    Marker(Phase.WEIGHTS, "Loading model from scratch..."),  # v1/worker/gpu/model_runner
    Marker(Phase.WEIGHTS, "Loading safetensors checkpoint shards:"),  # model_loader/weight_utils
    Marker(Phase.WEIGHTS, "rigappliance loader: read "),  # rigappliance/loader/reader
    Marker(Phase.COMPILE, "Warming up model for the compilation"),  # v1/worker/cpu_model_runner
    Marker(Phase.COMPILE, "Starting torch.compile"),  # compilation/monitor
    Marker(Phase.COMPILE, "Dynamo bytecode transform time"),  # compilation/backends
    Marker(Phase.COMPILE, "Directly load the compiled graph"),  # compilation/backends
    Marker(Phase.COMPILE, "Directly load AOT compilation"),  # compilation/decorators
    Marker(Phase.COMPILE, "torch.compile took"),  # compilation/monitor
    Marker(Phase.PROFILE, "Initial profiling/warmup run took"),  # compilation/monitor
    Marker(Phase.PROFILE, "Profiling CUDA graph memory"),  # v1/worker/gpu_model_runner
    Marker(Phase.PROFILE, "Estimated CUDA graph memory"),  # v1/worker/gpu_model_runner
    # Twice: the first capture is thrown away, and says what to leave for the second.
    Marker(Phase.PROFILE, "Capturing CUDA graphs"),  # v1/worker/gpu/cudagraph_utils, profile_cudagraph_memory
    Marker(Phase.KV_CACHE, "Available KV cache memory"),  # v1/worker/gpu_worker
    Marker(Phase.KV_CACHE, "for KV cache on node"),  # v1/worker/cpu_worker
    Marker(Phase.KV_CACHE, " KV cache size: "),  # v1/core/kv_cache_utils
    Marker(Phase.GRAPHS, "JIT kernel warmup starting"),  # model_executor/warmup/kernel_warmup
    Marker(Phase.GRAPHS, "Capturing CUDA graphs", sized=True),  # v1/worker/gpu/cudagraph_utils
    Marker(Phase.HTTP, "init engine (profile, create kv cache, warmup model) took"),  # v1/engine/core
    Marker(Phase.HTTP, "Starting vLLM server on"),  # entrypoints/launchers/api_server/entry
    Marker(Phase.HTTP, "Application startup complete."),  # uvicorn
)

_BAR = re.compile(r"(\d{1,9})/(\d{1,9}) \[")
_READ = re.compile(r"rigappliance loader: read (\d{1,15}) of (\d{1,15}) bytes")
_KV_TOKENS = re.compile(r"KV cache size: ([\d,]{1,20}) tokens")


@dataclass
class Bar:
    """Progress that the engine tells: ``done`` of ``total`` shards, graphs or bytes."""

    done: int
    total: int
    in_bytes: bool = False


class PhaseTracker:
    """Feed it lines; read ``phase``, ``bar``, ``kv_tokens`` and ``listening``."""

    def __init__(self) -> None:
        self.phase = Phase.PROCESS
        self.bar: Bar | None = None
        self.weights_loaded = False
        self.listening = False
        self.kv_tokens: int | None = None

    def feed(self, line: str) -> bool:
        """Take one line of the log, in text; true if anything that is shown has changed."""
        changed = False
        for marker in MARKERS:
            if marker.phase >= self.phase and marker.text in line and not (marker.sized and self.kv_tokens is None):
                changed = self._enter(marker.phase) or changed
        # The bars of a capture that is thrown away are no measure of how far profiling is.
        if (self.phase is Phase.WEIGHTS and "shards:" in line) or (self.phase is Phase.GRAPHS and "Capturing" in line):
            changed = self._read_bar(line) or changed
        if self.phase is Phase.WEIGHTS and "rigappliance loader: read " in line:
            changed = self._read_bytes(line) or changed
        if "Loading weights took" in line:
            self.weights_loaded = changed = True
        if "Application startup complete." in line:
            self.listening = changed = True
        if "KV cache size: " in line and (match := _KV_TOKENS.search(line)):
            self.kv_tokens = int(match[1].replace(",", "") or 0)
            changed = True
        return changed

    def ready(self) -> None:
        """A completion has succeeded."""
        self._enter(Phase.READY)

    def http_answers(self) -> None:
        """The port answers, whatever the log said."""
        if self.phase < Phase.HTTP:
            self._enter(Phase.HTTP)
        self.listening = True

    def _enter(self, phase: Phase) -> bool:
        if phase <= self.phase:
            return False
        self.phase = phase
        self.bar = None
        return True

    def _read_bar(self, line: str) -> bool:
        match = _BAR.search(line)
        if not match or (self.bar and self.bar.in_bytes):
            return False
        done, total = int(match[1]), int(match[2])
        if total == 0 or done > total:
            return False
        self.bar = Bar(done, total)
        return True

    def _read_bytes(self, line: str) -> bool:
        """Finer than shards, and told all the time: from now on it is the bar."""
        match = _READ.search(line)
        if not match or not 0 <= int(match[1]) <= int(match[2]) or int(match[2]) == 0:
            return False
        self.bar = Bar(int(match[1]), int(match[2]), in_bytes=True)
        return True
