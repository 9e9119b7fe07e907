"""Real CUDA failures, made to happen, and what `why` says of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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


def failures(work: Path, python: Path, logs: Path) -> list[dict[str, Any]]:
    """Each with the cause that a person would name."""
    found = []

    def one(expected: str, name: str, number: int, engine: dict[str, Any] | None = None, **more: Any) -> None:
        case = Case(name, INT8, layers(8), {**BASE, "gpu_memory_utilization": 0.6, **(engine or {})}, fits=False)
        told = run(case, work, python, logs, number, **more)
        told["expected_cause"] = expected
        found.append(told)

    tools = without_compiler(work)
    one(
        "jit-no-compiler", "no compiler", 50, state=work / "bare-state",
        environment={"PATH": str(tools), "CC": "", "CXX": "", "VLLM_CACHE_ROOT": str(work / "bare-state" / "cache")},
    )  # fmt: skip
    one("part-killed", "a worker is killed while it serves", 51, during=kill_part("VLLM::Worker"))
    one("core-dead", "the core is killed while it serves", 52, during=kill_part("VLLM::EngineCore"))
    with subprocess.Popen([str(python), "-c", HOLDER], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        one("card-memory-taken", "another process holds 60 GiB of the card", 53)
        holder.kill()
    return found


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
