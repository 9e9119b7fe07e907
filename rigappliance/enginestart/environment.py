"""Variables of the engine's processes: set before the imports, changed afterwards, applied in a forked child.

A spawned process reads its variables when it imports.  A forked one has imported already, so a variable that changes
between the fork of the template and the start of a process counts only where it is known to be read late, or where
what it does can be done to the child directly.  Anything else means: spawn, as the stock engine does.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# What vLLM 0.32.0 sets between the start of the API server and that of its processes (platforms/cpu.py,
# entrypoints/serve/utils/api_utils.py, v1/executor/multiproc_executor.py, config/vllm.py) and what is read when it is
# used: through vllm.envs, by a library that is initialised in the worker, or not at all.
READ_LATE = frozenset(
    {
        "LOCAL_WORLD_SIZE",
        "NCCL_GRAPH_REGISTER",
        "NUMEXPR_MAX_THREADS",
        "VLLM_DISABLE_SHARED_EXPERTS_STREAM",
        "VLLM_OMP_NUM_THREADS_SET_BY_VLLM",
        "VLLM_SSM_CONV_STATE_LAYOUT",
        "VLLM_USE_BREAKABLE_CUDAGRAPH",
        "VLLM_WORKER_MULTIPROC_METHOD",
    }
)
THREADS = "OMP_NUM_THREADS"
# As vLLM writes them (utils/ompmultiprocessing.py): GOMP_CPU_AFFINITY "0 1", OMP_PLACES "{0,1}".
AFFINITY = {"GOMP_CPU_AFFINITY": re.compile(r"(\d+(?: \d+)*)"), "OMP_PLACES": re.compile(r"\{(\d+(?:,\d+)*)\}")}
BINDING = "OMP_PROC_BIND"

# What platforms/cpu.py sets for its workers and torch._inductor.config reads when it is imported.
CPU_BUILD = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1"}
# A worker's few threads gain nothing from eight arenas a core, and each keeps what it freed.
ARENAS = {"MALLOC_ARENA_MAX": "2"}
OPENMP_LIBRARIES = ("libomp", "libgomp", "libiomp")


def torch_directory() -> Path | None:
    """Where torch is installed, without importing it."""
    found = importlib.util.find_spec("torch")
    return Path(found.origin).parent if found and found.origin else None


def is_cpu_build(torch: Path) -> bool:
    """``torch/version.py`` says ``cuda = None`` (with a type annotation since 2.1)."""
    try:
        text = (torch / "version.py").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"^cuda(?::[^=\n]*)? *= *None$", text, re.MULTILINE) is not None


def before_imports(environ: Mapping[str, str], torch: Path | None) -> dict[str, str]:
    """Variables that have to be set before this interpreter starts: it is executed again where they are not.

    On the CPU the workers are started with torch's own OpenMP in LD_PRELOAD (the stock engine adds it just before it
    spawns them), and a library cannot be put in front of others later.
    """
    wanted = {name: value for name, value in ARENAS.items() if name not in environ}
    if torch is None or not is_cpu_build(torch):
        return wanted
    wanted |= {name: value for name, value in CPU_BUILD.items() if environ.get(name) != value}
    preload = environ.get("LD_PRELOAD", "")
    if not any(name in preload for name in OPENMP_LIBRARIES):
        directories = (torch.parent / "torch.libs", torch / "lib")
        libraries = [str(path) for directory in directories for path in directory.glob("libgomp*.so*")]
        if libraries:
            wanted["LD_PRELOAD"] = ":".join(filter(None, (preload, libraries[0])))
    return wanted


@dataclass(frozen=True)
class Change:
    """What a child does to itself before it runs anything: all its variables, its threads, its CPUs."""

    environ: dict[str, str]
    threads: int | None
    cpus: tuple[int, ...]


def change(base: Mapping[str, str], now: Mapping[str, str]) -> Change | str:
    """How to get from the template's variables ``base`` to ``now``, or the name of one that cannot be changed late."""
    differing = {name for name in base.keys() | now.keys() if base.get(name) != now.get(name)} - READ_LATE
    threads: int | None = None
    cpus: tuple[int, ...] = ()
    for name in sorted(differing):
        value = now.get(name, "")
        pattern = AFFINITY.get(name)
        if name == THREADS and value.isdecimal() and int(value) > 0:
            threads = int(value)
        elif pattern is not None and (match := pattern.fullmatch(value)):
            cpus = tuple(int(number) for number in re.findall(r"\d+", match[1]))
        elif not (name == BINDING and "OMP_PLACES" in differing):
            return name
    return Change(dict(now), threads, cpus)


def apply(wanted: Change) -> None:
    """In the forked child, while it has one thread; those that it starts inherit its CPUs. Raises ``OSError``."""
    for name in os.environ.keys() - wanted.environ.keys():
        del os.environ[name]
    for name, value in wanted.environ.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    if wanted.cpus:
        os.sched_setaffinity(0, wanted.cpus)
    if wanted.threads is not None:
        torch = importlib.import_module("torch")
        torch.set_num_threads(wanted.threads)
