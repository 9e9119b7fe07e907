"""What makes a start fail on a real card: parts that are killed, no compiler, another process that holds the memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rigappliance.launch.proctree import command_line

# What is left is less than any configuration of bench.gpu.cases asks for.
HOLDER = """
import time, torch
held = torch.empty(int(torch.cuda.mem_get_info()[1] * 0.75), dtype=torch.uint8, device="cuda")
print("held", flush=True)
time.sleep(600)
"""


def kill_part(title: str) -> Callable[[Path, dict[str, Any], list[Any]], str]:
    def kill(config: Path, state: dict[str, Any], processes: list[Any]) -> str:
        for stat in processes:
            if command_line(stat.pid).startswith(title):
                os.kill(stat.pid, signal.SIGKILL)
                # The supervisor notices and stops the rest meanwhile.
                time.sleep(3)
                return f"killed {title} {stat.pid}"
        return "nothing to kill"

    return kill


@contextmanager
def held(python: Path) -> Iterator[None]:
    with subprocess.Popen([str(python), "-c", HOLDER], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()


def without_compiler(work: Path) -> dict[str, str]:
    """Changes of the environment: a PATH that has everything but compilers. What is empty is to be unset."""
    directory = work / "no-compiler-bin"
    directory.mkdir(exist_ok=True)
    for folder in ("/usr/bin", "/bin", "/usr/local/bin"):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            link = directory / program.name
            if not is_compiler(program.name) and not link.exists():
                link.symlink_to(program)
    link = directory / Path(sys.executable).name
    if not link.exists():
        link.symlink_to(sys.executable)
    return {"PATH": str(directory), "CC": "", "CXX": ""}


def is_compiler(name: str) -> bool:
    return name in ("cc", "c89", "c99") or any(word in name for word in ("gcc", "g++", "clang", "nvcc", "c++", "cc1"))
