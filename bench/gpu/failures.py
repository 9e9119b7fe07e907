"""Real CUDA failures, made to happen, and what `why` says of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.gpu.cases import BASE, INT8, Case, layers
from bench.gpu.running import run
from rigappliance.launch.proctree import command_line

HOLDER = """
import time, torch
held = torch.empty(60 << 30, dtype=torch.uint8, device="cuda")
print("held", flush=True)
time.sleep(600)
"""


def kill_part(title: str) -> Any:
    def kill(config: Path, state: dict[str, Any], processes: list[Any]) -> str:
        for stat in processes:
            if command_line(stat.pid).startswith(title):
                os.kill(stat.pid, signal.SIGKILL)
                time.sleep(12)
                return f"killed {title} {stat.pid}"
        return "nothing to kill"

    return kill


def failures(work: Path, python: Path, logs: Path) -> Iterator[dict[str, Any]]:
    """Each with the cause that a person would name."""
    tools, bare = without_compiler(work), work / "bare-state"
    yield run(
        case("no compiler", "jit-no-compiler"), work, python, logs, 50, state=bare,
        environment={"PATH": str(tools), "CC": "", "CXX": "", "VLLM_CACHE_ROOT": str(bare / "cache")},
    )  # fmt: skip
    with subprocess.Popen([str(python), "-c", HOLDER], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield run(case("another process holds 60 GiB of the card", "card-memory-taken"), work, python, logs, 53)
        finally:
            holder.kill()


def case(name: str, cause: str) -> Case:
    return Case(name, INT8, layers(8), {**BASE, "gpu_memory_utilization": 0.6}, fits=False, cause=cause)


def without_compiler(work: Path) -> Path:
    """A PATH that has everything but compilers."""
    directory = work / "no-compiler-bin"
    directory.mkdir(exist_ok=True)
    for folder in ("/usr/bin", "/bin", "/usr/local/bin"):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            name = program.name
            if any(word in name for word in ("gcc", "g++", "clang", "nvcc", "c++", "cc1")) or name in (
                "cc",
                "c89",
                "c99",
            ):
                continue
            link = directory / name
            if not link.exists():
                link.symlink_to(program)
    link = directory / Path(sys.executable).name
    if not link.exists():
        link.symlink_to(sys.executable)
    return directory
