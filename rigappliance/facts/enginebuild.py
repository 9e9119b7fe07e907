"""For which CUDA the engine's wheels were built, by the metadata that pip leaves."""

from __future__ import annotations

import re
from pathlib import Path

# The local version of a wheel of PyTorch's index, or the runtime that a wheel of PyPI depends on.
LOCAL = re.compile(r"(?:torch|vllm)-[^-]*\+cu(\d+)\d\.dist-info")
RUNTIME = re.compile(r"nvidia_cuda_runtime(?:_cu\d+)?-(\d+)\.[^-]*\.dist-info")


def cuda_major(python: Path) -> int | None:
    """13 for CUDA 13; ``None`` where nothing says so, as for a CPU build. Raises nothing."""
    names = sorted(directory.name for directory in python.parent.parent.glob("lib*/python3*/*-packages/*.dist-info"))
    for pattern in (LOCAL, RUNTIME):
        for name in names:
            if match := pattern.fullmatch(name):
                return int(match[1])
    return None
