"""Phases of a start and the texts that begin them, as `rigappliance.launch.phases` reads them from the log."""

from __future__ import annotations

ORDER = (
    "process start",
    "config",
    "workers",
    "weights",
    "compile",
    "profiling",
    "KV cache",
    "graph capture",
    "HTTP",
    "serving",
)
# A copy, because a guest's stand-in is these few files alone; a test compares it with the original.
MARKERS = (
    ("config", "non-default args:"),
    ("workers", "Initializing a V1 LLM engine"),
    ("weights", "Starting to load model "),
    ("weights", "Loading model from scratch..."),
    ("weights", "Loading safetensors checkpoint shards:"),
    ("weights", "rigappliance loader: read "),
    ("compile", "Warming up model for the compilation"),
    ("compile", "Starting torch.compile"),
    ("compile", "Dynamo bytecode transform time"),
    ("compile", "Directly load the compiled graph"),
    ("compile", "Directly load AOT compilation"),
    ("compile", "torch.compile took"),
    ("profiling", "Initial profiling/warmup run took"),
    ("profiling", "Profiling CUDA graph memory"),
    ("profiling", "Estimated CUDA graph memory"),
    ("profiling", "Capturing CUDA graphs"),
    ("KV cache", "Available KV cache memory"),
    ("KV cache", "for KV cache on node"),
    ("KV cache", " KV cache size: "),
    ("graph capture", "JIT kernel warmup starting"),
    ("graph capture", "Capturing CUDA graphs"),
    ("HTTP", "init engine (profile, create kv cache, warmup model) took"),
    ("HTTP", "Starting vLLM server on"),
    ("HTTP", "Application startup complete."),
)


def entered(phase: str, line: str) -> str:
    """The phase after ``line``; it never goes back."""
    for name, text in MARKERS:
        if text in line and ORDER.index(name) > ORDER.index(phase):
            phase = name
    return phase
